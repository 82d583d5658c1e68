"""Quantizing a stored model: more builds of it under the same name, made of the best one that there is.

name -> package -> source (GGUF, else safetensors, which are converted for the moment) -> types -> is there
room -> files -> manifests -> index -> name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.errors import DoesNotFit, NameTaken, NotFound, UsageError
from registry.manifest import Descriptor
from registry.names import ModelRef, short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Session, Store
from runtimes.quantize.quantize import Prepared
from slmctl.app.bringing import blobs_of, bring
from slmctl.app.events import OnEvent, ignore
from slmctl.app.listing import names_with
from slmctl.app.made_here import CREATED_HERE
from slmctl.app.making import MadeFile, Maker, describe_files, stored_path
from slmctl.app.package import Package, Variant, check_unpacked, default_id, variant_id
from slmctl.app.packaging import Build, build_of, write_model, write_variants
from slmctl.app.planning.made_of import is_convertible, is_unquantized
from slmctl.app.wanted import Recipe

_BEST_FIRST = ("F32", "BF16", "F16")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeCall:
    """`labels` are quantizations by their names (Q4_K_M). With `max_size` in bytes the first of them is made
    whose file is no larger, and no other. `source` is the variant to start from, None for the best. What is
    there already is an error, but with `force` it is made anew, and with `if_absent` left as it is."""

    name: ModelRef
    labels: tuple[str, ...]
    recipe: Recipe = field(default_factory=Recipe)
    max_size: int | None = None
    source: str | None = None
    force: bool = False
    if_absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """`made` are the new variants' ids with the bytes of their weights; `variants` all there are now,
    `variant` the one that runs without a wish, `of` the one that was started from. `there` are those that
    were asked for and are there already: nothing is made then."""

    entry: Entry
    made: tuple[tuple[str, int], ...]
    there: tuple[str, ...] = ()
    of: str
    variant: str
    variants: tuple[str, ...]


def quantize(
    store: Store,
    call: QuantizeCall,
    *,
    now: str,
    environ: Mapping[str, str],
    on_event: OnEvent = ignore,
    reader: StoreReader | None = None,
) -> Quantized:
    """Make builds of a stored model and add them to it; the name moves last.

    `reader` is where the model is looked for, if that is more than the store: what lies elsewhere is copied.
    Raises UsageError, NotFound, DoesNotFit, MalformedFile for the source, EngineUnavailable, EngineFailed,
    NoSpace, StoreUnusable, NameTaken when the name moved meanwhile.
    """
    reader = reader or store
    entry = reader.resolve(call.name, names_with(reader, call.name, on_event))
    package = Package.of(reader.reader_of(entry), entry)
    source = choose_source(package, call.source, requantize=call.recipe.allow_requantize)
    labels = list(call.labels)
    if call.max_size is None:
        labels = wanted(package, labels, call)
        if not labels:
            return _as_it_is(entry, package, source, call.labels)
    before = blobs_of(reader, entry.descriptor)
    with store.session(f"quantize {package.name}") as session:
        bring(session, store, reader, before, on_event)
        maker = Maker(session, shown=short_name(package.name), environ=environ, on_event=on_event)
        with opened_source(maker, store, package, source) as paths:
            if call.max_size is None:
                prepared = [(label, maker.prepared(paths, label, call.recipe)) for label in labels]
            else:
                prepared = [_first_under(maker, paths, call, package)]
                if not wanted(package, [prepared[0][0]], call):
                    return _as_it_is(entry, package, source, [prepared[0][0]])
            maker.check_room(*(each.size for _, each in prepared))
            made = [maker.quantized(each, label) for label, each in prepared]
        builds = [build_made(source, file) for file in made]
        descriptor, ids = with_builds(session, store, package, builds)
        linked = _link(store, package, entry, descriptor, [build.id for build in builds], now)
    store.free(each.digest for each in before)  # what was kept until now, and is not any more
    return Quantized(
        entry=linked,
        made=tuple((build.id, file.file.size) for build, file in zip(builds, made, strict=True)),
        of=source.id,
        variant=default_id(ids),
        variants=ids,
    )


def _as_it_is(entry: Entry, package: Package, source: Variant, labels: Sequence[str]) -> Quantized:
    ids = tuple(variant.id for variant in package.variants)
    there = tuple(variant_id("gguf", label) for label in labels)
    return Quantized(entry=entry, made=(), there=there, of=source.id, variant=default_id(ids), variants=ids)


def choose_source(package: Package, wanted: str | None, *, requantize: bool) -> Variant:
    """The variant to make others of: the one that is named, else an unquantized GGUF, else safetensors, else,
    with `requantize`, the largest GGUF. Raises UsageError, NotFound, DoesNotFit."""
    if wanted is not None:
        chosen = package.choose(wanted)
        check_unpacked(package, chosen)
        if not chosen.local:
            raise NotFound(
                f"The variant {chosen.id} of {package.name} is not here.",
                hint=f"Pull it: slmctl pull {short_name(package.name)} --variant {chosen.id}",
            )
        return chosen
    here = [each for each in package.variants if each.local and each.packed is None]
    whole = [each for each in here if is_unquantized(each.format, _label(each))]
    if whole:
        return min(whole, key=lambda each: (each.format != "gguf", _BEST_FIRST.index(_label(each))))
    packed = [each for each in here if each.facts is not None and is_convertible(each.facts)]
    if packed:
        return packed[0]
    name = short_name(package.name)
    ggufs = [each for each in here if each.format == "gguf"]
    if not ggufs:
        ids = ", ".join(each.id for each in package.variants)
        raise DoesNotFit(
            f"Nothing of {name} that is here can be quantized: it has {ids}.",
            hint="A GGUF or unquantized safetensors can.",
        )
    best = max(ggufs, key=lambda each: each.size)
    if not requantize:
        raise UsageError(
            f"{name} has no unquantized build here; made of {best.id}, another would lose twice.",
            hint="Pull one in F16, BF16 or safetensors; or add --allow-requantize.",
        )
    return best


def _label(variant: Variant) -> str:
    found = variant.facts.quantization if variant.facts is not None else None
    return (found or variant.quantization or "").upper()


def wanted(package: Package, labels: Sequence[str], call: QuantizeCall) -> list[str]:
    """The quantizations to make of `labels`, each once. Raises UsageError for one that is there already,
    unless the call says what then, NotFound for one that is not here."""
    labels = list(dict.fromkeys(labels))
    ids = {variant.id for variant in package.variants}
    there = [label for label in labels if variant_id("gguf", label) in ids]
    if not there or call.force:
        return labels
    here = {variant.id for variant in package.variants if variant.local}
    away = next((found for label in there if (found := variant_id("gguf", label)) not in here), None)
    if away is not None:
        name = short_name(package.name)
        raise NotFound(
            f"{name} has a variant {away}, which is not here.",
            hint=f"Pull it: slmctl pull {name} --variant {away}; or make it here, with --force.",
        )
    if call.if_absent:
        return [label for label in labels if label not in there]
    raise UsageError(
        f"{short_name(package.name)} has a variant {variant_id('gguf', there[0])} already.",
        hint="--force makes it anew.",
    )


@contextmanager
def opened_source(
    maker: Maker, store: StoreReader, package: Package, source: Variant
) -> Iterator[tuple[Path, ...]]:
    """The files of a GGUF, in order, to quantize from; of safetensors one that is there for now."""
    if source.format == "gguf":
        yield tuple(stored_path(store, file) for file in source.weights)
        return
    if source.format != "safetensors":
        raise DoesNotFit(
            f"The variant {source.id} of {short_name(package.name)} cannot be converted to GGUF.",
            hint="Safetensors can that are not quantized.",
        )
    files = describe_files(store, source.files, short_name(package.name))
    with maker.converted_for_now(files) as path:
        yield (path,)


def _first_under(
    maker: Maker, paths: Sequence[Path], call: QuantizeCall, package: Package
) -> tuple[str, Prepared]:
    """The first of the quantizations that can be made and is small enough. Raises DoesNotFit, and what the
    last one raised where none can be made."""
    sizes: dict[str, int] = {}
    refusal: UsageError | None = None
    for label in call.labels:
        try:
            prepared = maker.prepared(paths, label, call.recipe)
        except UsageError as error:  # its importance matrix lacks a tensor that this type needs it for
            refusal = error
            continue
        if call.max_size is None or prepared.size <= call.max_size:
            return label, prepared
        sizes[label] = prepared.size
    if not sizes and refusal is not None:
        raise refusal
    smallest = min(sizes, key=lambda label: sizes[label])
    raise DoesNotFit(
        f"No quantization of {short_name(package.name)} takes {call.max_size:,} bytes or less: the smallest,"
        f" {smallest}, takes {sizes[smallest]:,}.",
        hint="Smaller ones need an importance matrix: --imatrix FILE.",
    )


def build_made(source: Variant, made: MadeFile) -> Build:
    """The variant that a file makes: with what the source's author said, and what completes a GGUF."""
    kept = build_of(source)
    if source.format == "gguf":
        beside = tuple(file for file in kept.files if file.role != "weights")
    else:
        beside = tuple(file for file in kept.files if file.role == "doc")
    licenses = kept.licenses or ((made.license,) if made.license else ())
    return Build(files=(made.file, *beside), facts=made.facts, licenses=licenses, spec=kept.spec)


def with_builds(
    session: Session, store: StoreReader, package: Package, builds: Sequence[Build]
) -> tuple[Descriptor, tuple[str, ...]]:
    """The model with new builds behind its own, whose manifests stay byte for byte; those of the same id are
    replaced in their places. Gives what a name can be linked to, and the ids in order."""
    new = {build.id: build for build in builds}
    manifests: dict[str, Descriptor] = {}
    for variant in package.variants:
        if variant.id in manifests:
            raise UsageError(
                f"{short_name(package.name)} has two variants that are both {variant.id}.",
                hint="Make a model of one of them: slmctl create NAME --from FILE",
            )
        if variant.id in new:
            manifests[variant.id] = write_model(session, [new.pop(variant.id)])
            continue
        stored = store.manifest_of(variant.digest)
        manifests[variant.id] = Descriptor(
            media_type=stored.media_type, digest=stored.digest, size=len(stored.raw)
        )
    for identity, build in new.items():
        manifests[identity] = write_model(session, [build])
    return write_variants(session, manifests), tuple(manifests)


def _link(
    store: Store, package: Package, entry: Entry, descriptor: Descriptor, new: Sequence[str], now: str
) -> Entry:
    """Move the name. What somebody else has made of it meanwhile is not lost; what came from elsewhere says
    from now on which of its variants did not."""

    def unchanged(old: Entry, _: Entry) -> None:
        if old.descriptor.digest != package.digest:
            raise NameTaken(
                f"The model {short_name(package.name)} changed while it was quantized.", hint="Try again."
            )

    is_replaced_whole = entry.source == CREATED_HERE  # by the next `create`
    made = () if is_replaced_whole else tuple(dict.fromkeys((*entry.made, *new)))
    moved = replace(entry, descriptor=descriptor, linked=now, made=made)
    return store.link_all([moved], unchanged)[0]
