"""Which variant of a repository is meant: by what stands behind the colon, else the usual one.

Without a wish it is as Ollama's names have it: Q4_K_M where there is one, else what comes close.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from registry.errors import DoesNotFit, MalformedFile, NotFound, UsageError
from registry.formats.shards import ShardName
from registry.remotes.base import HubFile
from slmctl.app.hub.ggufs import with_adapter
from slmctl.app.hub.variant import HubVariant

_USUAL = "Q4_K_M"
# fmt: off
_NEXT = (
    _USUAL, "UD-Q4_K_XL", "Q4_K_L", "Q4_K_XL", "Q4_K_S", "Q4_0", "IQ4_NL", "IQ4_XS", "Q4_1", "Q4",
    "MXFP4_MOE", "MXFP4", "Q5_K_M", "UD-Q5_K_XL", "Q5_K_L", "Q5_K_S", "Q5_0", "Q5_1", "Q5",
    "Q6_K", "UD-Q6_K_XL", "Q6_K_L", "Q6", "Q8_0", "Q8", "UD-Q8_K_XL",
    "Q3_K_L", "UD-Q3_K_XL", "Q3_K_M", "IQ3_M", "IQ3_S", "Q3_K_S", "IQ3_XS", "IQ3_XXS",
    "Q2_K", "UD-Q2_K_XL", "Q2_K_L", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS",
    "TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S", "BF16", "F16", "F32",
)
# fmt: on
"""What is taken where nobody says: around four bits first, then better ones, then smaller ones."""

_FORMATS = ("gguf", "onnx", "mlx", "safetensors")
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variant, and what the user should be told about why it is this one: a sentence, or None."""

    variant: HubVariant
    said: str | None = None


def choose(
    variants: Sequence[HubVariant], selector: str | None, repository: str, *, parts: bool = False
) -> Choice:
    """The variant that `selector` means: a quantization, an id, a file, a folder or a format, in any case.

    None and `latest` mean the usual one. With `parts` an unambiguous part of an id will do. A selector that
    names a LoRA adapter means the usual one with it.
    Raises NotFound, UsageError where several fit, DoesNotFit for one that is not whole.
    """
    if selector is None or selector.lower() == "latest":
        return _usual(variants, repository)
    for fits in (_by_file, _by_label, _by_format, *([_by_part] if parts else [])):
        found = [each for each in variants if fits(each, selector)]
        if len(found) > 1:
            found = highest(found)
        if len(found) > 1:
            raise UsageError(
                f"More than one build in hf.co/{repository} fits {selector!r:.120}.",
                hint=f"Name one of {_shown(found)}.",
            )
        if found:
            return Choice(variant=_whole(found[0], repository))
    adapter = _adapter(variants, selector)
    if adapter is not None:
        usual = _usual([each for each in variants if adapter in each.adapters], repository)
        variant = with_adapter(usual.variant, adapter)
        said = f"The adapter {adapter.path} completes {variant.label or variant.name}."
        return Choice(variant=variant, said=said)
    raise NotFound(
        f"The repository hf.co/{repository} has no build {selector!r:.120}.",
        hint=f"It has {_shown(variants)}.",
    )


def _usual(variants: Sequence[HubVariant], repository: str) -> Choice:
    whole = [each for each in variants if each.problem is None]
    if not whole:
        return Choice(variant=_whole(variants[0], repository))
    model_format = min((each.format for each in whole), key=_FORMATS.index)
    candidates = highest([each for each in whole if each.format == model_format])
    best = min(candidates, key=_order)
    equal = [each for each in candidates if each.label == best.label]
    if len(equal) > 1:
        raise UsageError(
            f"The repository hf.co/{repository} holds {len(equal)} builds of the same kind.",
            hint=f"Name one of {_shown(equal)}.",
        )
    said = []
    if len(whole) > 1 and (best.label or "").upper() != _USUAL:
        what = f"no {_USUAL}" if best.format == "gguf" else f"{len(whole)} builds"
        said.append(f"hf.co/{repository} has {what}, so {best.id} is taken.")
    if best.adapters:
        names = ", ".join(file.path for file in best.adapters[:3])
        said.append(f"The adapter {names} is left out; name it behind a colon to have it.")
    return Choice(variant=best, said=" ".join(said) or None)


def _order(variant: HubVariant) -> tuple[int, str]:
    label = (variant.label or "").upper()
    return (_NEXT.index(label) if label in _NEXT else len(_NEXT), variant.id)


def highest(variants: Sequence[HubVariant]) -> list[HubVariant]:
    """For each label, those that lie nearest to the top of the repository."""
    depths: dict[str | None, int] = {}
    for each in variants:
        depth = len(PurePosixPath(each.name).parts)
        depths[each.label] = min(depth, depths.get(each.label, depth))
    return [each for each in variants if len(PurePosixPath(each.name).parts) == depths[each.label]]


def _whole(variant: HubVariant, repository: str) -> HubVariant:
    if variant.problem is not None:
        raise DoesNotFit(
            f"The build {variant.id} in hf.co/{repository} is not whole: {_lower(variant.problem)}",
            hint="Tell its publisher, or choose another build.",
        )
    return variant


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _by_file(variant: HubVariant, selector: str) -> bool:
    wanted = selector.casefold()
    return wanted in _file_names(variant)


def _file_names(variant: HubVariant) -> set[str]:
    """The paths and the names by which a file of the variant's weights, or its folder, may be called."""
    names = {variant.name, PurePosixPath(variant.name).name}
    for file in variant.weights:
        path = PurePosixPath(file.path)
        names |= {file.path, path.name, str(path.with_suffix("")), path.stem}
        if (first := _first_of_set(path)) is not None:
            names |= {first}
    return {name.casefold() for name in names if name}


def _first_of_set(path: PurePosixPath) -> str | None:
    """The name that a sharded set has as if it were one file."""
    try:
        part = ShardName.parse(path.name)
    except MalformedFile:
        return None
    return f"{part.prefix}.gguf" if part else None


def _by_label(variant: HubVariant, selector: str) -> bool:
    wanted = selector.casefold()
    return wanted in {(variant.label or "").casefold(), variant.id}


def _by_part(variant: HubVariant, selector: str) -> bool:
    return selector.casefold() in variant.id


def _by_format(variant: HubVariant, selector: str) -> bool:
    return variant.format == selector.casefold()


def _adapter(variants: Sequence[HubVariant], selector: str) -> HubFile | None:
    wanted = selector.casefold()
    for file in dict.fromkeys(file for each in variants for file in each.adapters):
        path = PurePosixPath(file.path)
        if wanted in {name.casefold() for name in (file.path, path.name, path.stem)}:
            return file
    return None


def _shown(variants: Sequence[HubVariant]) -> str:
    """The selectors of the variants, for a hint."""
    names = []
    labels = [each.label for each in variants]
    for each in variants:
        alone = each.label is not None and labels.count(each.label) == 1
        names.append(str(each.label) if alone else each.name or each.id)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
