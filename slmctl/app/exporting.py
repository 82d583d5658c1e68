"""Exporting models: what their names reach, written as a bundle that another machine imports."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent, MalformedFile, NoSpace, NotFound, StoreUnusable, UsageError
from registry.manifest import Descriptor, Index, Manifest
from registry.manifest import parse as parse_manifest
from registry.names import ModelRef
from registry.store import bundle_target
from registry.store.bundle_writer import Content, Named, unreached, write_archive, write_folder
from registry.store.index import Entry, Referrer
from registry.store.reach import reach
from registry.store.reader import StoreReader
from registry.store.store import Store
from slmctl.app.events import ByteCounter, Note, OnEvent, ignore
from slmctl.app.listing import names_with
from slmctl.app.ollama_manifest import is_ollama
from slmctl.app.package import Package, Variant
from slmctl.app.packaging import build_of, index_of, write_model
from slmctl.app.upstream import public_source
from slmctl.app.variants import manifests_of

STDOUT = "-"
_STDOUT_FD = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """`target` is a file, a folder (it is one, or ends in a slash), or "-" for stdout.

    `variants` are the builds that go along, of each model, by `Package.choose`; none are all.
    """

    names: Sequence[ModelRef]
    target: str
    variants: Sequence[str] = ()
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: the models, and the bytes of the tar, or of a folder's files.

    `digest` is that of the bundle's table of names, and so covers all that is in it.
    """

    models: tuple[Named, ...]
    digest: Digest
    size: int
    as_folder: bool


def export(
    store: Store, request: ExportRequest, *, reader: StoreReader | None = None, on_event: OnEvent = ignore
) -> Exported:
    """Write a bundle. The same models give the same bytes, whatever their order; a blob is hashed on its way.

    Models are looked up in `reader`, which is the store unless there are more; the store keeps what it has of
    them meanwhile. Whatever fails, there is nothing under the target's name that was not there before.

    Raises NotFound, UsageError, BadContent for a damaged model, DoesNotFit and NoSpace for the target,
    OperationFailed.
    """
    reader = reader or store
    entries = [reader.resolve(ref, names_with(reader, ref, on_event)) for ref in request.names]
    unique = list({entry.name: entry for entry in entries}.values())
    content = _content(reader, unique, request.variants, on_event)
    path, as_folder = _checked_target(store, request, content)
    label = path.name if path is not None else "the bundle"
    progress = ByteCounter(on_event, stage="export", item=label, total=sum(content.blobs.values()))
    shown = "stdout" if path is None else request.target
    with bundle_target.writing_errors(shown), _kept(store, content, request.names):
        if path is None:
            write_archive(_STDOUT_FD, content, reader.open_blob, progress)
        elif as_folder:
            with bundle_target.locked_folder(path):
                write_folder(path, content, reader.open_blob, progress)
                _tidy(path, content, on_event)
        else:
            with bundle_target.new_file(path, force=request.force) as fd:
                write_archive(fd, content, reader.open_blob, progress)
    size = sum(content.blobs.values()) if as_folder else content.archive_bytes
    models = tuple(sorted(content.models, key=lambda model: model.name))
    digest = Digest.of(content.index())
    return Exported(models=models, digest=digest, size=size, as_folder=as_folder)


def _checked_target(store: Store, request: ExportRequest, content: Content) -> tuple[Path | None, bool]:
    """Where it goes, None for stdout, and whether that is a folder. Everything is asked before a byte."""
    if request.target == STDOUT:
        return None, False
    if not request.target or "\0" in request.target:
        raise UsageError("The target's path is empty or has a NUL in it.", hint="Write -o FILE.tar.")
    with bundle_target.writing_errors(request.target):
        as_folder = bundle_target.is_folder_target(request.target)
        path = bundle_target.resolved(request.target)
        bundle_target.check_outside(path, store.root)
        check = bundle_target.check_folder if as_folder else bundle_target.check_file
        check(path, force=request.force)
        bundle_target.check_room(path, content, as_folder=as_folder)
    return path, as_folder


@contextmanager
def _kept(store: Store, content: Content, names: Sequence[ModelRef]) -> Iterator[None]:
    """Keep what is exported from being collected.

    A store that cannot be written to loses nothing anyway. One whose disk is full goes without: whoever wants
    to carry models off must be able to, and what is removed meanwhile fails the export.
    """
    with ExitStack() as stack:
        with suppress(StoreUnusable, NoSpace):
            purpose = f"export {' '.join(ref.short_name for ref in names)}"[:200]
            session = stack.enter_context(store.session(purpose))
            session.keep([digest for digest in content.blobs if store.has(digest)])
        yield


def _tidy(folder: Path, content: Content, on_event: OnEvent) -> None:
    """Remove the blobs of the bundle that was replaced."""
    for path in unreached(folder, content):
        try:
            path.unlink()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            on_event(Note(text=f"{path} is not needed any more and could not be removed ({reason})."))


class _Made:
    """What is written for a bundle alone, in memory: `packaging.BlobWriter`."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def put(self, data: bytes, /) -> Digest:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return digest


def _content(
    reader: StoreReader, entries: Sequence[Entry], variants: Sequence[str], on_event: OnEvent
) -> Content:
    made: dict[Digest, bytes] = {}
    blobs: dict[Digest, int] = {}
    documents: set[Digest] = set()
    models: list[Named] = []
    for entry in entries:
        if any(map(is_ollama, manifests_of(reader, entry.descriptor))):
            package = Package.of(reader, entry)
            _check_complete(reader, entry, [file.digest for each in package.variants for file in each.files])
            translated = _translated(package, variants, on_event)
            made |= translated.made
            blobs.update(translated.blobs)
            documents |= translated.documents
            kept = {variant.id for variant in _wanted(package, variants)}
            models += [replace(each, made=_made(entry, kept)) for each in translated.models]
            continue
        roots = [entry.descriptor]
        descriptor = _described(reader.manifest(entry.descriptor))
        if variants:
            chosen = _chosen(reader, Package.of(reader, entry), variants)
            roots = list(chosen.values())
            descriptor = next(iter(chosen.values()))
            if len(chosen) > 1:
                index = index_of(chosen)
                descriptor = _described(index)
                made[index.digest] = index.raw
                blobs[index.digest] = len(index.raw)
                documents.add(index.digest)
        reached = reach(reader, roots)
        _check_complete(reader, entry, reached.blobs)
        blobs.update(reached.blobs)
        documents |= reached.documents
        models.append(
            Named(
                name=entry.name,
                descriptor=descriptor,
                source=public_source(entry.source),
                made=_made(entry, None if not variants else chosen),
            )
        )
    about = tuple(_about(reader, documents))
    for each in about:
        reached = reach(reader, [each.descriptor])
        blobs.update(reached.blobs)
        documents |= reached.documents
    return Content(models=models, blobs=blobs, documents=frozenset(documents), made=made, referrers=about)


def _about(reader: StoreReader, documents: Collection[Digest]) -> Iterator[Referrer]:
    """What is whole here and refers to one of the manifests."""
    for each in reader.names().referrers:
        if each.subject in documents:
            with suppress(BadContent, NotFound):
                if all(map(reader.has, reach(reader, [each.descriptor]).blobs)):
                    descriptor = _described(reader.manifest(each.descriptor))
                    yield Referrer(subject=each.subject, descriptor=descriptor)


def _made(entry: Entry, kept: Collection[str] | None) -> tuple[str, ...]:
    """Which of the variants that go along were made of what was pulled; None for all."""
    return tuple(each for each in entry.made if kept is None or each in kept)


def _wanted(package: Package, wanted: Sequence[str]) -> list[Variant]:
    chosen = [package.choose(each) for each in wanted] or package.variants
    return [variant for variant in package.variants if variant in chosen]


def _translated(package: Package, wanted: Sequence[str], on_event: OnEvent) -> Content:
    """A model whose manifest only slmctl reads (Ollama's), as ModelPack over the same weights."""
    builds = [build_of(variant) for variant in _wanted(package, wanted)]
    writer = _Made()
    descriptor = write_model(writer, builds)
    documents = [digest for digest, raw in writer.blobs.items() if _is_document(raw)]
    blobs = {file.digest: file.size for build in builds for file in build.files}
    on_event(Note(text=f"{package.name} is written as ModelPack, and so has the digest {descriptor.digest}."))
    return Content(
        models=[Named(name=package.name, descriptor=descriptor, source=public_source(package.source))],
        blobs=blobs | {digest: len(raw) for digest, raw in writer.blobs.items()},
        documents=frozenset(documents),
        made=writer.blobs,
    )


def _is_document(raw: bytes) -> bool:
    try:
        parse_manifest(raw)
    except MalformedFile:
        return False
    return True


def _chosen(reader: StoreReader, package: Package, wanted: Sequence[str]) -> dict[str, Descriptor]:
    """The manifests of the wanted variants by id, in the package's order."""
    ids = {package.choose(each).id for each in wanted}
    return {
        variant.id: _described(reader.manifest_of(variant.digest))
        for variant in package.variants
        if variant.id in ids
    }


def _check_complete(reader: StoreReader, entry: Entry, blobs: Iterable[Digest]) -> None:
    missing = [digest for digest in blobs if not reader.has(digest)]
    if not missing:
        return
    if reader.note_about(missing[0]) is not None:
        raise reader.missing(missing[0])
    package = Package.of(reader, entry)
    whole = [variant.id for variant in package.variants if variant.local]
    sparse = [variant.id for variant in package.variants if not variant.local]
    hint = f"--variant {whole[0]} exports what is here." if whole and sparse else "Make or pull it again."
    what = f"its variant {sparse[0]}" if sparse else f"its blob {missing[0]}"
    raise NotFound(f"The model {package.name} is not whole: {what} is not in the store.", hint=hint)


def _described(document: Manifest | Index) -> Descriptor:
    """The descriptor of a manifest by its content alone: what tools wrote into entries differs."""
    return Descriptor(
        media_type=document.media_type,
        digest=document.digest,
        size=len(document.raw),
        artifact_type=document.artifact_type,
    )
