"""Importing bundles: everything is verified before a name is linked, and then all names are or none.

From a tar or a pipe, blobs are taken as they come; from a folder, those that its names reach. What a bundle
says about where a model came from is kept for people to read and gives it no rights: only names that an
earlier import linked are moved without `--force`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from registry import mediatypes
from registry.digest import Digest
from registry.errors import (
    DigestMismatch,
    MalformedFile,
    NameTaken,
    NoSpace,
    NotFound,
    SizeMismatch,
    SlmctlError,
    UsageError,
)
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, parse
from registry.names import ModelRef, parse_new_name
from registry.store.archive import INDEX, Archive
from registry.store.bundle import (
    MAX_OCI_LAYOUT_BYTES,
    Bundle,
    FolderBundle,
    TarBundle,
    check_oci_layout,
    open_bundle,
    shown,
)
from registry.store.index import Entry, NameTable, Referrer
from registry.store.ingest import SourceFile
from registry.store.reach import Reach, reach
from registry.store.reader import StoreReader
from registry.store.room import free_bytes
from registry.store.store import Replace, Session, Store, check_replaceable
from slmctl.app.events import ByteCounter, Note, OnEvent, ignore
from slmctl.app.made_here import IMPORTED_HERE
from slmctl.app.package import Package
from slmctl.app.upstream import public_source

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """`path` is a file or a folder, None for what is open as `stdin`; `rename` names the one model anew."""

    path: Path | None
    rename: ModelRef | None = None
    force: bool = False
    stdin: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A name that now stands; `changed` is False where it stood already."""

    entry: Entry
    variants: tuple[str, ...]
    changed: bool


def import_bundle(
    store: Store, request: ImportRequest, *, now: str, on_event: OnEvent = ignore
) -> list[Imported]:
    """Take the models of a bundle into the store.

    Raises BadContent for whatever is not as it must be, NameTaken for a name that belongs to another source,
    UsageError, NotFound, DoesNotFit for what is no model, NoSpace, OperationFailed. Then it is as if nothing
    had been done; what had been stored is collected.
    """
    shown_path = "stdin" if request.path is None else shown(request.path)
    importing = _Importing(store, request, now, on_event, shown_path)
    with _opened(request) as bundle, store.session(f"import {shown_path}"[:200]) as session:
        if bundle is None:
            importing.take_pipe(session, request.stdin)
        else:
            importing.take_bundle(session, bundle)
        imported = importing.link()
    importing.free_rest()
    return imported


@contextmanager
def _opened(request: ImportRequest) -> Iterator[Bundle | None]:
    """The bundle; None for a pipe on stdin, which can be read but once."""
    if request.path is not None:
        bundle = open_bundle(request.path)
    elif stat.S_ISREG(os.fstat(request.stdin).st_mode):
        bundle = TarBundle(Path("stdin"), os.dup(request.stdin))
    else:
        yield None
        return
    with closing(bundle):
        yield bundle


class _Importing:
    """One import: the blobs that came, and the names that are to be linked."""

    def __init__(
        self, store: Store, request: ImportRequest, now: str, on_event: OnEvent, shown_path: str
    ) -> None:
        self._store = store
        self._request = request
        self._now = now
        self._on_event = on_event
        self._shown = shown_path
        self._received: dict[Digest, int] = {}
        self._entries: Sequence[Entry] | None = None
        self._referrers: Sequence[Referrer] = ()
        self._reached: Mapping[Digest, int] = {}

    def take_pipe(self, session: Session, fd: int) -> None:
        """Take all blobs of a tar, in whatever order its members come."""
        archive = Archive(fd, self._shown)
        has_layout = False
        for member in archive.members():
            if member.digest is not None:
                descriptor = Descriptor(media_type="", digest=member.digest, size=member.size)
                progress = self._progress(member.digest.short, member.size)
                session.receive(descriptor, archive.chunks(), progress)
                self._received[member.digest] = member.size
            elif member.name == INDEX:
                self._read_index(archive.read(member, MAX_MANIFEST_BYTES))
            else:
                check_oci_layout(archive.read(member, MAX_OCI_LAYOUT_BYTES))
                has_layout = True
        if not has_layout or self._entries is None:
            raise archive.incomplete()
        self._tell_skipped(archive.skipped)

    def take_bundle(self, session: Session, bundle: Bundle) -> None:
        """Take the blobs of a file or a folder that its names reach. Everything is asked before a byte."""
        if bundle.root.is_dir() and bundle.root.samefile(self._store.root):
            raise UsageError("That is the store itself.", hint="Its models are there already: slmctl list")
        entries = self._read_index(bundle.index_bytes)
        reach_of_bundle = _reach(bundle, entries, self._referrers)
        reached = reach_of_bundle.blobs
        for digest, size in reached.items():
            self._check_size(digest, size, bundle.size_of(digest))
        self._check_room({digest: size for digest, size in reached.items() if not self._store.has(digest)})
        progress = self._progress(self._shown, sum(reached.values()))
        parents = [*reach_of_bundle.documents, *(entry.descriptor.digest for entry in entries)]
        rank = dict.fromkeys(reached, 0) | {digest: place for place, digest in enumerate(parents, 1)}
        origin = None if self._request.path is None else (bundle.root, bundle.status)
        for digest in sorted(reached, key=lambda digest: (rank[digest], reached[digest], digest)):
            size = reached[digest]  # blobs, then manifests, then what names will point at
            descriptor = Descriptor(media_type="", digest=digest, size=size)
            with bundle.open_blob(descriptor) as stream:
                if isinstance(bundle, FolderBundle):
                    _take_file(session, bundle.layout.blob(digest), descriptor, stream, progress)
                else:
                    chunks = iter(partial(stream.read, _CHUNK_BYTES), b"")
                    session.receive(descriptor, chunks, progress, origin=origin)
            self._received[digest] = size
        self._tell_skipped(bundle.skipped)

    def link(self) -> list[Imported]:
        """Verify what the names reach, in the store by now, and link them."""
        assert self._entries is not None
        reached = _reach(self._store, self._entries, self._referrers)
        for digest, size in reached.blobs.items():
            self._check_size(digest, size, self._received.get(digest))
        packages = [Package.of(self._store, entry) for entry in self._entries]
        about = [each for each in self._referrers if each.subject in reached.documents]
        entries = [_marked(entry, package) for entry, package in zip(self._entries, packages, strict=True)]
        old = self._store.names()
        linked = self._store.link_all(entries, self._check_replaceable, keep_equal=True, referrers=about)
        self._reached = reached.blobs
        return [
            Imported(
                entry=entry,
                variants=tuple(variant.id for variant in package.variants),
                changed=old.find(entry.name) != entry,
            )
            for entry, package in zip(linked, packages, strict=True)
        ]

    def free_rest(self) -> None:
        """Collect what a tar had beside its models."""
        rest = self._received.keys() - self._reached.keys()
        if rest:
            self._store.free(rest)

    def _read_index(self, raw: bytes) -> Sequence[Entry]:
        """The names, and whether they may be linked, before gigabytes are copied; `link` decides."""
        index = _index(raw)
        table = NameTable.parse(raw)
        self._referrers = table.referrers
        self._entries = entries = _entries(index, table, self._request.rename, self._now)
        names = self._store.names()
        for entry in entries:
            old = names.find(entry.name)
            if old is not None and old.descriptor.digest != entry.descriptor.digest:
                self._check_replaceable(old, entry)
        return entries

    def _check_replaceable(self, old: Entry, new: Entry) -> None:
        rule = Replace.SAME_SOURCE if new.source == IMPORTED_HERE else Replace.NOTHING
        try:
            check_replaceable(old, new, Replace.ANYTHING if self._request.force else rule)
        except NameTaken as error:
            raise NameTaken(
                error.message, hint="Add --force to replace it, or import one model by another --as NAME."
            ) from None

    def _check_size(self, digest: Digest, size: int, found: int | None) -> None:
        if found is None:
            raise MalformedFile(f"The bundle is not whole: the blob {digest} is missing.")
        if found != size:
            raise SizeMismatch(f"The blob {digest} has {found} bytes instead of {size}.")

    def _check_room(self, new: Mapping[Digest, int]) -> None:
        needed, free = sum(new.values()), free_bytes(self._store.layout.ingest)
        if needed > free:
            raise NoSpace(
                f"The bundle takes {needed} bytes, and the store at {self._store.root} has {free} left.",
                hint="Free some space, or run the bundle where it lies: slmctl run ./PATH",
            )

    def _progress(self, item: str, total: int) -> ByteCounter:
        return ByteCounter(self._on_event, stage="import", item=item, total=total)

    def _tell_skipped(self, skipped: str | None) -> None:
        if skipped:
            self._on_event(Note(text=f"Passed over what is no part of a bundle: {skipped}."))


def _reach(store: StoreReader, entries: Sequence[Entry], referrers: Sequence[Referrer]) -> Reach:
    """What the entries reach, and what refers to it. A manifest that is not there is the bundle's fault."""
    try:
        models = reach(store, [entry.descriptor for entry in entries])
        about = [each.descriptor for each in referrers if each.subject in models.documents]
        if not about:
            return models
        return reach(store, [*(entry.descriptor for entry in entries), *about])
    except NotFound as error:
        raise MalformedFile(f"The bundle is not whole: {error.message}") from None


def _take_file(
    session: Session, path: Path, wanted: Descriptor, stream: BinaryIO, progress: ByteCounter
) -> None:
    """Take a file that was opened at `path` in a bundle; by reflink where the store's disk has that."""
    digest = wanted.digest
    with SourceFile(path, os.dup(stream.fileno())) as source:
        found = session.take(source, check=_accept, progress=progress)
    if found != digest:
        raise DigestMismatch(f"The blob {digest} is damaged: its bytes have the digest {found}.")


def _index(raw: bytes) -> Index:
    try:
        index = parse(raw)
    except MalformedFile as error:
        raise MalformedFile(error.message.replace("The manifest", f"The bundle's {INDEX}", 1)) from None
    if not isinstance(index, Index):
        raise MalformedFile(f"The bundle's {INDEX} is not an index.")
    return index


def _entries(index: Index, table: NameTable, rename: ModelRef | None, now: str) -> list[Entry]:
    """The names in an index.json, as they are to be linked. Raises MalformedFile, UsageError."""
    about = {each.descriptor.digest for each in table.referrers}
    models = [descriptor for descriptor in index.manifests if descriptor.digest not in about]
    if not models:
        raise MalformedFile(f"The bundle's {INDEX} names no model.")
    if rename is not None and len(models) > 1:
        raise UsageError(
            f"The bundle has {len(models)} models; --as names one.",
            hint="Import it without --as, then: slmctl cp NAME OTHER",
        )
    entries: dict[str, Entry] = {}
    for descriptor in models:
        name = rename.full_name if rename else _name(descriptor)
        if name.casefold() in entries:
            raise MalformedFile(f"The bundle names {name} twice.")
        source = public_source(descriptor.annotations.get(mediatypes.SLMCTL_SOURCE))
        entries[name.casefold()] = Entry(
            name=name,
            descriptor=Descriptor(
                media_type=descriptor.media_type,
                digest=descriptor.digest,
                size=descriptor.size,
                artifact_type=descriptor.artifact_type,
            ),
            source=source or IMPORTED_HERE,
            linked=now,
            claimed=source is not None,
            made=tuple(descriptor.annotations.get(mediatypes.SLMCTL_MADE, "").split()) if source else (),
        )
    return list(entries.values())


def _marked(entry: Entry, package: Package) -> Entry:
    """The entry, saying of none but its own variants that they were made of the others."""
    ids = {variant.id for variant in package.variants}
    return replace(entry, made=tuple(dict.fromkeys(each for each in entry.made if each in ids)))


def _name(descriptor: Descriptor) -> str:
    text = descriptor.annotations.get(mediatypes.REF_NAME)
    if text is None:
        raise MalformedFile(
            f"The bundle has no name for {descriptor.digest}.", hint="Give it one with --as NAME."
        )
    try:
        return parse_new_name(text).full_name
    except SlmctlError:
        raise MalformedFile(
            f"The bundle names a model {text!r:.120}, which is no name.", hint="Give it one with --as NAME."
        ) from None


def _accept(_: int) -> None:
    """What a model's file must be is looked at when it is loaded; here its digest counts."""
