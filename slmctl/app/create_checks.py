"""What must be true of the parts of a model before the first byte of it is copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from registry.errors import UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader
from registry.manifest import load_json_object
from registry.store.reader import StoreReader
from slmctl.app.completing import check_adapter, check_draft
from slmctl.app.folder_set import FolderSet
from slmctl.app.package import Package, PackageFile, check_unpacked, variant_id
from slmctl.app.packaging import Build
from slmctl.app.sources import FileSet, Sources, facts_of, read_gguf

Base = Package | FileSet | FolderSet

CONFIG = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What the builds of one model have in common. `shown` is the build it was seen in."""

    shown: str = field(compare=False)
    architecture: str
    layers: int | None
    hidden: int | None

    @classmethod
    def of(cls, facts: ModelFacts, shown: str) -> _Shape:
        return cls(shown=shown, architecture=facts.architecture, layers=facts.layers, hidden=facts.hidden)


def check_builds(bases: Sequence[Base], sources: Sources) -> None:
    """Builds of one model, each another one, and an adapter that is made for it. Raises UsageError."""
    first: _Shape | None = None
    seen: dict[str, str] = {}
    for shown, facts, identity in _all_facts(bases):
        shape = _Shape.of(facts, shown)
        first = first or shape
        if shape != first:
            raise UsageError(
                f"{shown} is a build of another model than {first.shown}.",
                hint="The FROM lines of a Modelfile name builds of one model; make two models of them.",
            )
        if identity in seen:
            raise UsageError(
                f"{seen[identity]} and {shown} are both {identity}.",
                hint="A model has one variant of a format and quantization; leave one of them out.",
            )
        seen[identity] = shown
    if first is None:
        what = next((files.shown for files in sources.sets), "")
        raise UsageError(
            f"No FROM names the weights of a model{f'; {what} alone is none' if what else ''}.",
            hint="Name the model that it completes with a FROM of its own.",
        )


def check_extras(store: StoreReader, bases: Sequence[Base], sources: Sources) -> None:
    """That what completes the builds fits each of them that there is; of those that are still to be made
    `check_made` looks. Raises UsageError."""
    adapter, draft = sources.extras.get("adapter"), sources.extras.get("draft")
    if adapter is None and draft is None:
        return
    models: list[Sequence[GgufHeader]] = [files.headers for files in sources.builds]
    others: list[str] = []
    for variant in (each for base in bases if isinstance(base, Package) for each in base.variants):
        if variant.format == "gguf":
            models.append([_stored_header(store, file) for file in variant.weights])
        else:
            others.append(variant.id)
    if not models and not sources.folders:
        what = adapter.shown if adapter else draft.shown if draft else ""
        raise UsageError(f"{what} completes GGUF builds, and {others[0]} is none.")
    for headers in models:
        if adapter is not None:
            check_adapter(adapter.shown, adapter.headers[0], headers)
        if draft is not None:
            check_draft(draft.shown, draft.headers, headers)


def check_made(
    store: StoreReader,
    builds: Sequence[Build],
    adapter: tuple[str, GgufHeader] | None,
    draft: FileSet | None,
) -> None:
    """That what completes the builds fits those that were made. `adapter` is its name and header. Raises
    UsageError, also where there is none that it could complete."""
    ggufs = [build for build in builds if build.facts.format == "gguf"]
    what = adapter[0] if adapter is not None else draft.shown if draft is not None else None
    if what is not None and not ggufs:
        raise UsageError(f"{what} completes GGUF builds, and there is none.", hint="Leave out --only.")
    for build in ggufs:
        headers = [_stored_header(store, file) for file in build.files if file.role == "weights"]
        if adapter is not None:
            check_adapter(*adapter, headers)
        if draft is not None:
            check_draft(draft.shown, draft.headers, headers)


def base_config(store: StoreReader, bases: Sequence[Base], shown: str) -> Mapping[str, object]:
    """The config.json of the model that an adapter in PEFT's format is for, by which its tensors get their
    names. Raises UsageError where no FROM has one, MalformedFile."""
    for base in bases:
        if isinstance(base, FolderSet):
            return base.files.json(CONFIG)
        if isinstance(base, Package):
            files = (file for variant in base.variants for file in variant.files)
            found = next((file for file in files if file.path == CONFIG and store.has(file.digest)), None)
            if found is not None:
                return load_json_object(store.read_blob(found.descriptor), f"The file {CONFIG}")
    raise UsageError(
        f"The adapter {shown} is in PEFT's format, and no FROM has the config.json of the model it is for.",
        hint="Name the folder of that model in FROM, or a model that has it as safetensors.",
    )


def _stored_header(store: StoreReader, file: PackageFile) -> GgufHeader:
    with store.open_blob(file.descriptor) as stream:
        return read_gguf(stream.fileno(), file.path)


def check_ids(builds: Sequence[Build]) -> None:
    """That each build is another one, now that all of them are made. Raises UsageError."""
    ids = [build.id for build in builds]
    twice = next((each for each in ids if ids.count(each) > 1), None)
    if twice is not None:
        raise UsageError(
            f"Two of the builds are {twice}.",
            hint="A model has one variant of a format and quantization; leave one of them out.",
        )


def _all_facts(bases: Sequence[Base]) -> Iterator[tuple[str, ModelFacts, str]]:
    """What each build is called in messages, its facts, and the id that it will have."""
    for base in bases:
        if isinstance(base, FileSet):
            facts = facts_of(base)
            yield base.shown, facts, variant_id(facts.format, facts.quantization)
            continue
        if isinstance(base, FolderSet):
            facts = replace(base.facts, architecture=base.architecture)
            yield base.shown, facts, variant_id(facts.format, facts.quantization)
            continue
        for variant in base.variants:
            check_unpacked(base, variant)
            if variant.facts is None:
                raise UsageError(
                    f"The model {base.name} has no facts to build on.", hint="Make it anew from its file."
                )
            several = len(base.variants) > 1
            yield f"{base.name} ({variant.id})" if several else base.name, variant.facts, variant.id
