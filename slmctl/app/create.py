"""Making a model: what it is built from (files, models in the store) and what its author adds.

Modelfile text -> instructions -> ModelSpec -> sources -> blobs -> manifests -> name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelfiles.builtin import known_renderer
from modelfiles.spec import ModelSpec, merge
from modelfiles.words import printable
from registry.digest import Digest
from registry.errors import OperationFailed, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader
from registry.formats.gguf_facts import facts_from_gguf
from registry.names import ModelRef
from registry.store.index import Entry
from registry.store.ingest import SourceFile
from registry.store.reader import StoreReader
from registry.store.store import Replace, Session, Store, check_replaceable
from slmctl.app.bringing import bring
from slmctl.app.completing import check_adapter, check_draft
from slmctl.app.events import ByteCounter, Note, OnEvent, ignore
from slmctl.app.file_names import file_path
from slmctl.app.finding import find_package
from slmctl.app.made_here import CREATED_HERE
from slmctl.app.ollama import OLLAMA_VERSION, asks_for_newer
from slmctl.app.package import Package, PackageFile, check_unpacked, default_id, variant_id
from slmctl.app.packaging import Build, build_of, write_model
from slmctl.app.sources import FileSet, Sources, facts_of, find_sources, read_gguf, role_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """`bases` are the texts of FROM, or names of models in the store whatever files there are.

    `adapter` and `drafts` are the texts of ADAPTER and DRAFT; `folder` is what a relative path in any of them
    starts from; `move` renames the files into the store. `source` is where the name is noted to come from.
    `stored` are those of the files that are links to blobs of the store, with what they are called there.
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
    are named; a model in the store brings its variants and its author's spec, over which the request's goes.
    `reader` is where models are looked for, if that is more than the store: what lies elsewhere is copied.

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
    _check_builds(bases, sources)  # before a byte is copied
    _check_extras(reader, bases, sources)
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
        take = _Taking(session, opened, sources.sets, request, on_event)
        extras = tuple(file for files in sources.extras.values() for file in take.files(files))
        builds: list[Build] = []
        for each in brought:
            builds += [take.build(each, first)] if isinstance(each, FileSet) else each
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


def _check_builds(bases: Sequence[Package | FileSet], sources: Sources) -> None:
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


def _check_extras(store: StoreReader, bases: Sequence[Package | FileSet], sources: Sources) -> None:
    """That what completes the builds fits each of them. Raises UsageError."""
    adapter, draft = sources.extras.get("adapter"), sources.extras.get("draft")
    if adapter is None and draft is None:
        return
    models: list[Sequence[GgufHeader]] = [files.headers for files in sources.builds]
    for variant in (each for base in bases if isinstance(base, Package) for each in base.variants):
        if variant.format != "gguf":
            what = adapter.shown if adapter else draft.shown if draft else ""
            raise UsageError(f"{what} completes GGUF builds, and {variant.id} is none.")
        models.append([_stored_header(store, file) for file in variant.weights])
    for headers in models:
        if adapter is not None:
            check_adapter(adapter.shown, adapter.headers[0], headers)
        if draft is not None:
            check_draft(draft.shown, draft.headers, headers)


def _stored_header(store: StoreReader, file: PackageFile) -> GgufHeader:
    with store.open_blob(file.descriptor) as stream:
        return read_gguf(stream.fileno(), file.path)


def _all_facts(bases: Sequence[Package | FileSet]) -> Iterator[tuple[str, ModelFacts, str]]:
    """What each build is called in messages, its facts, and the id that it will have."""
    for base in bases:
        if isinstance(base, FileSet):
            facts = facts_of(base)
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


def _check_name_is_free(store: Store, request: CreateRequest) -> None:
    """Say that the name is taken before gigabytes are copied; `link` decides."""
    old = store.names().find(request.name.full_name)
    if old is not None and not request.force:
        stand_in = Entry(name=old.name, descriptor=old.descriptor, source=request.source, linked=None)
        check_replaceable(old, stand_in, Replace.SAME_SOURCE)


class _Taking:
    """Puts files into the store. What is described is what is stored: headers come from our copies."""

    def __init__(
        self,
        session: Session,
        stack: ExitStack,
        sets: Sequence[FileSet],
        request: CreateRequest,
        on_event: OnEvent,
    ) -> None:
        self._session = session
        self._take = session.move if request.move else session.take
        self._stored = request.stored
        self._on_event = on_event
        self._opened = {  # all at once, so that what cannot be opened is said before the first is copied
            path: stack.enter_context(SourceFile(path)) for files in sets for path in files.paths
        }
        self._headers: dict[Path, GgufHeader] = {}

    def build(self, files: FileSet, spec: ModelSpec) -> Build:
        """The variant that a set of weights makes."""
        taken = self.files(files)
        headers = [self._headers[path] for path in files.paths]
        licenses = tuple(header.license for header in headers[:1] if header.license)
        return Build(files=taken, facts=facts_from_gguf(headers), licenses=licenses, spec=spec)

    def files(self, files: FileSet) -> tuple[PackageFile, ...]:
        """Store a set's files. Raises OperationFailed when they turn out to be something else by now."""
        count = len(files.paths)
        stored = tuple(
            PackageFile(
                path=file_path(files.role, number, count),
                role=files.role,
                digest=self._store(path),
                size=self._opened[path].size,
            )
            for number, path in enumerate(files.paths)
        )
        if files.role != "draft" and role_of([self._headers[path] for path in files.paths]) != files.role:
            raise OperationFailed(f"{files.shown} changed while it was read.", hint="Try again.")
        return stored

    def _store(self, path: Path) -> Digest:
        source = self._opened[path]

        def check(fd: int) -> None:
            self._headers[path] = read_gguf(fd, path.name)

        if (digest := self._stored.get(path)) is not None:  # it was verified when it came
            self._session.keep([digest])
            check(source.fd)
            return digest
        counter = ByteCounter(self._on_event, stage="copy", item=path.name, total=source.size)
        return self._take(source, check=check, progress=counter)


def _builds_of(session: Session, package: Package) -> Iterator[Build]:
    """What a model in the store brings to one that is made from it. Its blobs are kept from here on."""
    for variant in package.variants:
        build = build_of(variant)
        session.keep([file.digest for file in build.files])
        yield build


def _completed(build: Build, extras: Sequence[PackageFile]) -> Build:
    """The build with `extras` in place of those of its own that have the same role."""
    replaced = {extra.role for extra in extras}
    kept = tuple(file for file in build.files if file.role not in replaced)
    return replace(build, files=(*kept, *extras))
