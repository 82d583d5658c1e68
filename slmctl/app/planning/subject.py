"""What is to be planned: from a reference, or a description of a model, to the builds it can be had as.

    the store -> slmctl's library -> the place that the name says -> headers by range request

Nothing is asked of anybody for what is in the store or in the library, and no weights are read anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import DoesNotFit, NotFound
from registry.formats.facts import ModelFacts
from registry.formats.folder_facts import facts_from_folder
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.hf_dimensions import facts_from_config
from registry.formats.safetensors import read_header as read_safetensors
from registry.formats.shards import find_shards
from registry.manifest import load_json_object
from registry.names import DEFAULT_TAG, ModelRef, Source, short_name
from registry.store.reader import StoreReader
from runtimes.planning.values import Build
from slmctl.app.events import OnEvent
from slmctl.app.finding import find_package, locate
from slmctl.app.library import LibraryModel, family_of, find_model
from slmctl.app.package import Package, variant_id
from slmctl.app.planning.builds import builds_of_facts, builds_of_model, named_builds
from slmctl.app.planning.made_of import UNQUANTIZED, as_gguf, gguf_facts
from slmctl.app.planning.opened import opened
from slmctl.app.planning.package_builds import builds_of_package

if TYPE_CHECKING:
    from slmctl.app.places import Places
    from slmctl.app.tags import RemoteVariant

_MAX_CONFIG_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`origin` is `store`, `library`, `file` or the place that was asked; `sizes` says that the builds are of
    several models of one family. `package` and its `reader` are a stored one's, `notes` sentences. `named`
    are those builds (model and variant) that the library names; `at_hand` the GGUF files of builds, by their
    keys, or how they begin; `fetched_bytes` came in `requests` ranges, to know what a place has.
    """

    name: str
    builds: tuple[Build, ...]
    origin: str
    sizes: bool = False
    package: Package | None = None
    reader: StoreReader | None = None
    notes: tuple[str, ...] = ()
    named: frozenset[tuple[str, str]] = frozenset()
    at_hand: Mapping[str, Path | bytes] = field(default_factory=dict)
    fetched_bytes: int = 0
    requests: int = 0

    @property
    def only(self) -> str | None:
        """The variant, where there is one."""
        return self.builds[0].variant if len(self.builds) == 1 else None


def subject_of(reader: StoreReader, ref: ModelRef, places: Places | None, on_event: OnEvent) -> Subject:
    """What `ref` names: in the store, else in the library, else where it says. `places` None asks nobody.

    Raises NotFound, DoesNotFit where nothing is known of any build, and as the remotes do.
    """
    if ref.source is Source.FILE:
        return _on_disk(reader, ref, on_event)
    try:
        return of_package(reader, find_package(reader, ref, on_event))
    except NotFound as error:
        missing = error  # the name of an except clause is gone after it
    if ref.source is Source.BARE:
        found = of_library(ref)
        if found is not None:
            return found
    if places is None:
        raise missing
    from slmctl.app.planning.remote_subject import of_place  # requests takes long to import

    return of_place(places, ref, reader, on_event)


def of_package(reader: StoreReader, package: Package) -> Subject:
    builds = builds_of_package(reader, package)
    unknown = [each.id for each in package.variants if each.id not in {build.variant for build in builds}]
    if not builds:
        raise DoesNotFit(
            f"Nothing is known of the builds of {short_name(package.name)}: no facts, and no header to read.",
            hint=f"Pull it again: slmctl pull {short_name(package.name)}",
        )
    notes = (f"Nothing is known of {', '.join(unknown)}.",) if unknown else ()
    name = short_name(package.name)
    if not any(build.facts.format == "gguf" for build in builds):
        facts = gguf_facts(builds, reader, package)
        builds += () if facts is None else builds_of_facts(name, facts)
    return Subject(
        name=name,
        builds=builds,
        origin="store",
        package=package,
        reader=reader,
        notes=notes,
    )


def of_library(ref: ModelRef) -> Subject | None:
    """A model of the library, or all sizes of a family where the name has no tag; None for other names."""
    if ref.tag in (None, DEFAULT_TAG):
        models = family_of(ref.path)
        if not models:
            return None
        builds = tuple(build for model in models for build in builds_of_model(model))
        return Subject(
            name=ref.short_name,
            builds=builds,
            origin="library",
            sizes=len(models) > 1,
            named=_named(models),
        )
    model = find_model(ref.path, ref.tag)
    if model is None:
        return None
    builds = builds_of_model(model)
    return Subject(name=model.entry.name, builds=builds, origin="library", named=_named([model]))


def _named(models: Sequence[LibraryModel]) -> frozenset[tuple[str, str]]:
    return frozenset((model.entry.name, variant) for model in models for variant in named_builds(model))


def about_choice(subject: Subject, build: Build) -> str | None:
    """What there is to say about where the chosen build is had; None where it is there."""
    if not build.made:
        return f"{build.variant} is not there: it would be made of the unquantized weights."
    if subject.origin == "library" and (build.model, build.variant) not in subject.named:
        return (
            f"The library does not name {build.variant} of {build.model}, but repositories have it as a rule:"
            " 'slmctl pull' looks, and plans again with what is there."
        )
    return None


def of_config(path: Path) -> Subject:
    """A model of which there is a config.json, or a folder with one and the weights. Raises OperationFailed,
    MalformedFile."""
    if path.is_dir():
        return _of_folder(path)
    facts, exact = facts_from_config(_json(path))
    name = path.parent.name or path.stem if path.name == "config.json" else path.stem
    return _described(name, facts, exact=exact)


def of_remote_variants(name: str, place: str, variants: Sequence[RemoteVariant]) -> Subject:
    builds, at_hand = [], {}
    for each in variants:
        if each.facts is not None:
            build = Build(
                model=name,
                variant=each.id,
                facts=each.facts,
                size=each.size,
                quantization=each.quantization,
            )
            builds.append(build)
            if each.head is not None:
                at_hand[build.key] = each.head
    if not builds:
        raise DoesNotFit(f"Nothing is known of what {place} has.", hint="Pull it, and plan it then.")
    return Subject(name=name, builds=tuple(builds), origin=place, at_hand=at_hand)


def _on_disk(reader: StoreReader, ref: ModelRef, on_event: OnEvent) -> Subject:
    path = Path(ref.path).expanduser()
    if path.is_dir() and (path / "config.json").is_file() and not (path / "genai_config.json").is_file():
        return _of_folder(path)
    if path.is_file() and path.name.endswith(".gguf"):
        parts = find_shards(path)
        facts = facts_from_gguf([_gguf_header(part) for part in parts])
        build = Build(
            model=path.name,
            variant=variant_id("gguf", facts.quantization),
            facts=facts,
            size=sum(part.stat().st_size for part in parts),
            quantization=facts.quantization,
            stored=True,
        )
        at_hand = {build.key: path} if len(parts) == 1 else {}
        return Subject(name=path.name, builds=(build,), origin="file", at_hand=at_hand)
    if path.is_file() and path.suffix == ".json":
        return of_config(path)
    found, package = locate(reader, ref, on_event)
    return of_package(found, package)


def _gguf_header(path: Path) -> GgufHeader:
    with opened(path) as stream:
        return read_header(stream)


def _of_folder(path: Path) -> Subject:
    """A folder of safetensors: as it is, and as what could be made of it; one of MLX's as it is."""
    config = _json(path / "config.json")
    files = sorted(each for each in path.iterdir() if each.suffix == ".safetensors")
    name = path.resolve().name
    if not files:
        facts, exact = facts_from_config(config)
        return _described(name, facts, exact=exact)
    headers = []
    for file in files:
        with opened(file) as stream:
            headers.append(read_safetensors(stream))
    found = facts_from_folder(config, headers)
    itself = Build(
        model=name,
        variant=variant_id(found.format, found.quantization),
        facts=found,
        size=sum(file.stat().st_size for file in files),
        quantization=found.quantization,
        stored=True,
    )
    if found.parameters is None or found.quantization not in UNQUANTIZED:
        return Subject(name=name, builds=(itself,), origin="file")
    facts, exact = as_gguf(config, found)
    described = _described(name, facts, exact=exact)
    return replace(described, builds=(itself, *described.builds))


def _described(name: str, facts: ModelFacts, *, exact: bool) -> Subject:
    like = (
        f"The tensors of the architecture {facts.architecture} are not known here: they are taken for those"
        " of a Llama of this size, and every need for 12 % more."
    )
    builds = builds_of_facts(name, facts, guessed=not exact)
    return Subject(name=name, builds=builds, origin="file", notes=() if exact else (like,))


def _json(path: Path) -> dict[str, object]:
    with opened(path) as stream:
        data = stream.read(_MAX_CONFIG_BYTES + 1)
    return load_json_object(data, f"The file {path.name!r:.120}")
