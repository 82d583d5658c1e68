"""Making a model: what it is built from (files, models in the store) and what its author adds.

Modelfile text -> instructions -> ModelSpec -> sources -> blobs -> manifests -> name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelfiles.builtin import known_renderer
from modelfiles.spec import ModelSpec, merge
from modelfiles.words import printable
from registry.digest import Digest
from registry.errors import UsageError
from registry.formats.gguf import GgufHeader
from registry.names import ModelRef, short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Replace, Session, Store, check_replaceable
from slmctl.app.bringing import bring
from slmctl.app.create_checks import (
    Base,
    base_config,
    check_builds,
    check_extras,
    check_ids,
    check_made,
)
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.finding import find_package
from slmctl.app.folder_set import FolderSet
from slmctl.app.made_here import CREATED_HERE
from slmctl.app.ollama import OLLAMA_VERSION, asks_for_newer
from slmctl.app.package import Package, PackageFile, default_id
from slmctl.app.packaging import Build, build_of, write_model
from slmctl.app.sources import FileSet, Sources, find_sources
from slmctl.app.taking import Taking
from slmctl.app.wanted import GGUF, Wanted

if TYPE_CHECKING:
    from slmctl.app.making import Maker


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """`bases` are the texts of FROM, or names of models in the store whatever files there are.

    `adapter` and `drafts` are the texts of ADAPTER and DRAFT; `folder` is what a relative path in any of them
    starts from; `move` renames the files into the store. `source` is where the name is noted to come from.
    `stored` are those of the files that are links to blobs of the store, with what they are called there.
    `wanted` says what is made of safetensors, and what is quantized; what its child's environment is chosen
    from is `environ`.
    """

    name: ModelRef
    bases: Sequence[str | ModelRef]
    folder: Path
    spec: ModelSpec
    adapter: str | None = None
    drafts: Sequence[str] = ()
    move: bool = False
    force: bool = False
    source: str = CREATED_HERE
    stored: Mapping[Path, Digest] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """`variants` are the ids of all builds in order, `variant` that of the one that runs without a wish."""

    entry: Entry
    variant: str
    variants: tuple[str, ...]


def create(
    store: Store,
    request: CreateRequest,
    *,
    now: str,
    on_event: OnEvent = ignore,
    reader: StoreReader | None = None,
) -> Created:
    """Make a model and link its name last. The same input gives the same digest on any machine.

    Each set of weights is a variant of its own, completed by the projector, the adapter and the draft that
    are named; a folder of safetensors is one, and the GGUF made of it another; a model in the store brings
    its variants and its author's spec, over which the request's goes. What is to be quantized gives its place
    to what is made of it. `reader` is where models are looked for, if that is more than the store: what lies
    elsewhere is copied.

    Raises UsageError, NotFound, MalformedFile for the sources, NameTaken, StoreUnusable, NoSpace.
    """
    sources = find_sources(
        request.bases,
        adapter=request.adapter,
        drafts=request.drafts,
        folder=request.folder,
        move=request.move,
    )
    reader = reader or store
    bases = [
        find_package(reader, base, on_event) if isinstance(base, ModelRef) else base for base in sources.bases
    ]
    check_builds(bases, sources)  # before a byte is copied
    _check_wanted(bases, request)
    check_extras(reader, bases, sources)
    config = None if sources.peft is None else base_config(reader, bases, sources.peft.shown)
    _check_name_is_free(store, request)
    with ExitStack() as opened, store.session(f"create {request.name.full_name}") as session:
        packages = [base for base in bases if isinstance(base, Package)]
        if reader is not store:
            files = (file for package in packages for variant in package.variants for file in variant.files)
            bring(session, store, reader, (file.descriptor for file in files), on_event)
        brought = [
            list(_builds_of(session, base)) if isinstance(base, Package) else base for base in bases
        ]  # before the first file is copied, which takes long
        first = packages[0].variants[0].spec if packages else ModelSpec()
        take = Taking(
            session,
            opened,
            [*_paths(sources, request)],
            move=request.move,
            stored=request.stored,
            on_event=on_event,
        )
        extras = [file for files in sources.extras.values() for file in take.files(files)]
        builds: list[Build] = []
        for each in brought:
            if isinstance(each, FolderSet) or (isinstance(each, FileSet) and request.wanted.labels):
                builds += _made(session, store, take, each, request, first, on_event)
            else:
                builds += [take.build(each, first)] if isinstance(each, FileSet) else each
        check_ids(builds)
        if sources.folders or config is not None:
            adapter = _adapter(sources)
            if sources.peft is not None and config is not None:
                file, header = _maker(session, request, on_event).adapter(sources.peft, config)
                extras.append(file)
                adapter = sources.peft.shown, header
            check_made(store, builds, adapter, sources.extras.get("draft"))
        builds = [
            replace(_completed(build, extras), spec=merge(build.spec, request.spec)) for build in builds
        ]
        descriptor = write_model(session, builds)
        entry = store.link(
            request.name.full_name,
            descriptor,
            source=request.source,
            linked=now,
            replace_rule=Replace.ANYTHING if request.force else Replace.SAME_SOURCE,
        )
        for path in session.finish_moves():
            on_event(Note(text=f"{path} is in the store now, but the file could not be removed."))
    _tell(builds[0].spec, request.spec, on_event)
    variants = tuple(build.id for build in builds)
    return Created(entry=entry, variant=default_id(variants), variants=variants)


def _tell(spec: ModelSpec, said: ModelSpec, on_event: OnEvent) -> None:
    """What an author should know of the model that was made."""
    renderer = known_renderer(spec.renderer)
    if renderer is not None and said.renderer is None and said.template is not None:
        on_event(Note(text=f"The base's RENDERER {renderer} writes the prompts; this TEMPLATE is not used."))
    requires = spec.requires
    if requires is not None and asks_for_newer(requires):
        asked = printable(requires)
        on_event(Note(text=f"The model asks for Ollama {asked}; slmctl follows {OLLAMA_VERSION}."))


def _made(
    session: Session,
    store: Store,
    take: Taking,
    base: FolderSet | FileSet,
    request: CreateRequest,
    spec: ModelSpec,
    on_event: OnEvent,
) -> Iterator[Build]:
    """What is converted and quantized. Raises as `Maker` does."""
    from slmctl.app.folder_builds import folder_builds, quantized_builds  # numpy takes long to import

    maker = _maker(session, request, on_event)
    if isinstance(base, FolderSet):
        yield from folder_builds(store, take, maker, base, request.wanted)
    else:
        yield from quantized_builds(maker, base.paths, request.wanted, spec)


def _maker(session: Session, request: CreateRequest, on_event: OnEvent) -> Maker:
    from slmctl.app.making import Maker  # as above

    return Maker(session, shown=request.name.short_name, environ=request.environ, on_event=on_event)


def _adapter(sources: Sources) -> tuple[str, GgufHeader] | None:
    """The adapter that came as GGUF, by its name."""
    files = sources.extras.get("adapter")
    return None if files is None else (files.shown, files.headers[0])


def _check_wanted(bases: Sequence[Base], request: CreateRequest) -> None:
    """Raise UsageError for what cannot be made of these."""
    wanted = request.wanted
    folders = [base for base in bases if isinstance(base, FolderSet)]
    if wanted.labels and len(bases) != 1:
        raise UsageError(
            f"Of {len(bases)} FROM lines it is not clear which is to be quantized.",
            hint="Make the model, and quantize it then: slmctl quantize NAME --to TYPE",
        )
    if wanted.labels and isinstance(bases[0], Package):
        raise UsageError(
            f"{short_name(bases[0].name)} is a model already.",
            hint=f"Quantize it: slmctl quantize {short_name(bases[0].name)} --to {wanted.labels[0].lower()}",
        )
    if wanted.only is not None and not folders:
        raise UsageError(
            f"--only {wanted.only} is said of a folder of safetensors, and FROM names none.",
            hint="Leave it out.",
        )
    if request.move and ((wanted.only == GGUF and folders) or (wanted.labels and not folders)):
        raise UsageError(
            "--move would move what is not kept: only what is made of it is.", hint="Leave out --move."
        )


def _paths(sources: Sources, request: CreateRequest) -> Iterator[Path]:
    """The files that are taken into the store as they are."""
    if not request.wanted.labels:
        yield from (path for files in sources.builds for path in files.paths)
    yield from (path for files in sources.extras.values() for path in files.paths)
    for folder in sources.folders:
        for name, role in folder.roles.items():
            if request.wanted.only != GGUF or role == "doc":
                path = folder.path / name
                if request.move and path.is_symlink():
                    raise UsageError(
                        f"{name!r:.200} is a symbolic link, which --move will not follow.",
                        hint="Leave out --move.",
                    )
                yield folder.files.paths[name]


def _check_name_is_free(store: Store, request: CreateRequest) -> None:
    """Say that the name is taken before gigabytes are copied; `link` decides."""
    old = store.names().find(request.name.full_name)
    if old is not None and not request.force:
        stand_in = Entry(name=old.name, descriptor=old.descriptor, source=request.source, linked=None)
        check_replaceable(old, stand_in, Replace.SAME_SOURCE)


def _builds_of(session: Session, package: Package) -> Iterator[Build]:
    """What a model in the store brings to one that is made from it. Its blobs are kept from here on."""
    for variant in package.variants:
        build = build_of(variant)
        session.keep([file.digest for file in build.files])
        yield build


def _completed(build: Build, extras: Sequence[PackageFile]) -> Build:
    """The build with `extras` in place of those of its own that have the same role; they complete GGUF."""
    if build.facts.format != GGUF:
        return build
    replaced = {extra.role for extra in extras}
    kept = tuple(file for file in build.files if file.role not in replaced)
    return replace(build, files=(*kept, *extras))
