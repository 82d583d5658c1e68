"""Making a model: a base (a GGUF file, a set of shards, or a model in the store) and what its author adds.

Modelfile text -> instructions -> ModelSpec -> base -> blobs -> manifest -> name
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from modelfiles.spec import ModelSpec, merge
from registry.errors import MalformedFile, NotFound, OperationFailed, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.shards import find_shards
from registry.names import ModelRef, Source, parse
from registry.store.index import Entry
from registry.store.ingest import SourceFile
from registry.store.store import Replace, Session, Store, check_replaceable
from slmctl.app.events import ByteCounter, Note, OnEvent, ignore
from slmctl.app.finding import find_package
from slmctl.app.package import SPEC_PATH, Package, PackageFile, Variant, weight_path, write_variant

CREATED_HERE = "create"
"""The source of a name that `create` made: it belongs to no remote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """`base` is FROM's text, or the name of a model in the store whatever files there are.

    `folder` is what a relative path in the text starts from; `move` renames the files into the store.
    `source` is where the name is noted to have come from.
    """

    name: ModelRef
    base: str | ModelRef
    folder: Path
    spec: ModelSpec
    move: bool = False
    force: bool = False
    source: str = CREATED_HERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    entry: Entry
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What FROM brought: files without a spec, their facts, and what the base's author had said."""

    files: tuple[PackageFile, ...]
    facts: ModelFacts
    licenses: tuple[str, ...]
    spec: ModelSpec


def create(store: Store, request: CreateRequest, *, now: str, on_event: OnEvent = ignore) -> Created:
    """Make a model and link its name last. The same input gives the same digest on any machine.

    Raises UsageError, NotFound, MalformedFile for the base; NameTaken for the name; StoreUnusable, NoSpace.
    """
    paths = _files(request.base, request.folder) if isinstance(request.base, str) else []
    inherited = None if paths else find_package(store, _name(request.base), on_event)
    if paths:
        facts_from_gguf([_check_file(path, request.move) for path in paths])  # before a byte is copied
    _check_name_is_free(store, request)
    with ExitStack() as sources, store.session(f"create {request.name.full_name}") as session:
        if inherited is None:
            opened = [sources.enter_context(SourceFile(path)) for path in paths]
            base = _take_files(session, opened, request.move, on_event)
        else:
            base = _inherit(session, inherited)
        descriptor, variant = write_variant(
            session,
            files=base.files,
            facts=base.facts,
            spec=merge(base.spec, request.spec),
            licenses=base.licenses,
        )
        entry = store.link(
            request.name.full_name,
            descriptor,
            source=request.source,
            linked=now,
            replace_rule=Replace.ANYTHING if request.force else Replace.SAME_SOURCE,
        )
        for path in session.finish_moves():
            on_event(Note(text=f"{path} is in the store now, but the file could not be removed."))
    return Created(entry=entry, variant=variant)


def _name(base: str | ModelRef) -> ModelRef:
    return parse(base) if isinstance(base, str) else base


def _files(text: str, folder: Path) -> list[Path]:
    """The files that FROM means, in order; none when it names a model."""
    if not text:
        raise UsageError("FROM names nothing.", hint="Write FROM and a GGUF file or a model's name.")
    try:
        path = folder / Path(text.removeprefix("file://")).expanduser()
        status = path.stat()
    except FileNotFoundError:
        status = None
    except (OSError, RuntimeError, ValueError) as error:  # too long, no permission; a ~user that nobody is
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OperationFailed(
            f"The file {text!r:.120} cannot be looked at ({reason}).", hint="Check the path."
        ) from None
    if status is not None and not stat.S_ISDIR(status.st_mode):
        return find_shards(path)
    if not _looks_like_a_path(text):
        return []
    if status is None:
        raise NotFound(f"There is no file {text!r:.120} to make a model from.", hint=f"Looked for {path}.")
    raise UsageError(
        f"{text!r:.120} is a folder; a model is made from a GGUF file.", hint="Name the .gguf file inside it."
    )


def _looks_like_a_path(text: str) -> bool:
    if text.lower().endswith((".gguf", ".safetensors", ".bin")):
        return True
    return parse(text).source is Source.FILE


def _check_file(path: Path, move: bool) -> GgufHeader:
    if move and path.is_symlink():
        raise UsageError(
            f"{path.name!r} is a symbolic link, which --move will not follow.", hint="Name the file itself."
        )
    with SourceFile(path) as source:
        return _read_header(source.fd, path.name)


def _read_header(fd: int, name: str) -> GgufHeader:
    with os.fdopen(os.dup(fd), "rb") as stream:
        try:
            return read_header(stream)
        except MalformedFile as error:
            raise MalformedFile(f"{name!r}: {error.message}", hint=error.hint or _BAD_FILE_HINT) from None


_BAD_FILE_HINT = "Download the file again, or convert the model anew."


def _check_name_is_free(store: Store, request: CreateRequest) -> None:
    """Say that the name is taken before gigabytes are copied; `link` decides."""
    old = store.names().find(request.name.full_name)
    if old is not None and not request.force:
        stand_in = Entry(name=old.name, descriptor=old.descriptor, source=request.source, linked=None)
        check_replaceable(old, stand_in, Replace.SAME_SOURCE)


def _take_files(session: Session, sources: Sequence[SourceFile], move: bool, on_event: OnEvent) -> _Base:
    """Put the weights into the store. What is described is what is stored: headers come from our copies."""
    headers: dict[int, GgufHeader] = {}
    files = []
    for number, source in enumerate(sources):

        def check(fd: int, number: int = number, name: str = source.path.name) -> None:
            headers[number] = _read_header(fd, name)

        counter = ByteCounter(on_event, stage="copy", item=source.path.name, total=source.size)
        take = session.move if move else session.take
        files.append(
            PackageFile(
                path=weight_path(number, len(sources)),
                role="weights",
                digest=take(source, check=check, progress=counter),
                size=source.size,
            )
        )
    ordered = [headers[number] for number in range(len(sources))]
    licenses = tuple(header.license for header in ordered[:1] if header.license)
    return _Base(files=tuple(files), facts=facts_from_gguf(ordered), licenses=licenses, spec=ModelSpec())


def _inherit(session: Session, package: Package) -> _Base:
    """What a model in the store brings to one that is made from it. Its blobs are kept from here on."""
    variant = _only_variant(package)
    if variant.facts is None:
        raise UsageError(
            f"The model {package.name} has no facts to build on.", hint="Make it anew from its file."
        )
    files = tuple(file for file in variant.files if file.path != SPEC_PATH)
    session.keep([file.digest for file in files])
    return _Base(files=files, facts=variant.facts, licenses=variant.licenses, spec=variant.spec)


def _only_variant(package: Package) -> Variant:
    if len(package.variants) != 1:
        ids = ", ".join(variant.id for variant in package.variants)
        raise UsageError(
            f"The model {package.name} has several variants: {ids}.", hint="Name one build's model."
        )
    return package.variants[0]
