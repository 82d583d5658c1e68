"""One found model on its way into the store: looked at, hashed where nobody says what it is, taken.

Files are opened one after the other (a safetensors model of Ollama's has thousands), so what is taken is
held against what was looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, OperationFailed
from registry.formats.facts import ModelFacts
from registry.formats.gguf_facts import facts_from_gguf
from registry.manifest import Descriptor
from registry.store.adoption import Taken, can_link
from registry.store.ingest import SourceFile, hash_open_file
from registry.store.notes import Note
from registry.store.reader import StoreReader
from registry.store.store import Session
from slmctl.app.events import ByteCounter, OnEvent
from slmctl.app.file_names import file_path
from slmctl.app.foreign.found import FoundFile, FoundModel, shown
from slmctl.app.package import PackageFile
from slmctl.app.packaging import BlobWriter, Build, write_model
from slmctl.app.sources import read_gguf


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAtFile:
    """A file and what it was when it was looked at. `digest` is None while it is not known; `hashed` is
    whether the bytes were read for it, now or when a note that still fits was written. `is_doubted`: the
    tool says the digest, and there is a reason not to believe it."""

    found: FoundFile
    status: os.stat_result
    digest: Digest | None
    hashed: bool
    is_doubted: bool = False

    def open(self) -> SourceFile:
        """The file again. Raises NotFound, and OperationFailed when it is no longer the one that it was."""
        source = SourceFile(self.found.path)
        now, then = source.status, self.status
        if (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (
            then.st_dev,
            then.st_ino,
            then.st_size,
            then.st_mtime_ns,
        ):
            os.close(source.fd)
            raise OperationFailed(
                f"The file {shown(self.found.path)} changed while it was adopted.", hint="Run it again."
            )
        return source


class _NoStore:
    """Takes no bytes, and says what their digests are."""

    def put(self, data: bytes, /) -> Digest:
        return Digest.of(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """A model that was found, its files, and what the headers of its weights say."""

    found: FoundModel
    files: tuple[LookedAtFile, ...]
    facts: ModelFacts | None
    licenses: tuple[str, ...]

    @property
    def manifest_digest(self) -> Digest | None:
        """The digest that the model gets; None while one of its files' is not known."""
        if any(file.digest is None for file in self.files):
            return None
        return self.write_manifest(_NoStore()).digest

    def is_in(self, store: StoreReader) -> bool:
        """Whether the store has all of its files, whole or not."""
        return all(file.digest is not None and store.has(file.digest) for file in self.files)

    def how_in(self, store: StoreReader) -> set[Taken]:
        """How the store has its files, or would have those that it has not."""
        return {_how_in(store, file) for file in self.files}

    def doubting(self, store: StoreReader, put_aside: Collection[Digest]) -> LookedAt:
        """The same, doubting the files that the store has and that are no longer as they were noted, and
        those of which it had one that was damaged and that `verify` has put aside."""
        files = [replace(file, is_doubted=_is_doubtful(store, file, put_aside)) for file in self.files]
        return replace(self, files=tuple(files))

    @property
    def is_doubted(self) -> bool:
        return any(file.is_doubted for file in self.files)

    def hashed(self, on_event: OnEvent) -> LookedAt:
        """The same with all digests known and none doubted. Raises BadContent, NotFound, OperationFailed."""
        files = [
            _hashed(file, on_event) if file.digest is None or file.is_doubted else file for file in self.files
        ]
        return replace(self, files=tuple(files))

    def take(self, session: Session) -> set[Taken]:
        """Link or borrow all files; gives how. Raises NotFound, OperationFailed."""
        kinds = set()
        for file in self.files:
            assert file.digest is not None
            with file.open() as source:
                kinds.add(
                    session.adopt(
                        source,
                        file.digest,
                        owner=self.found.place.tool.shown,
                        may_link=file.found.may_link,
                        hashed=file.hashed,
                    )
                )
        return kinds

    def write_manifest(self, session: BlobWriter) -> Descriptor:
        """Store the manifest: the tool's own, else one over the files. All digests are known."""
        if self.found.manifest is not None:
            return Descriptor(
                media_type=mediatypes.DOCKER_MANIFEST,
                digest=session.put(self.found.manifest),
                size=len(self.found.manifest),
            )
        assert self.facts is not None
        by_role: dict[str, list[LookedAtFile]] = {}
        for file in self.files:
            by_role.setdefault(file.found.role, []).append(file)
        files = tuple(
            PackageFile(
                path=file_path(role, number, len(each)), role=role, digest=file.digest, size=file.found.size
            )
            for role, each in by_role.items()
            for number, file in enumerate(each)
            if file.digest is not None
        )
        build = Build(files=files, facts=self.facts, licenses=self.licenses, spec=ModelSpec())
        return write_model(session, [build])


def look_at(found: FoundModel, noted: Mapping[str, tuple[Digest, Note]]) -> LookedAt:
    """Look at all files of a model, and at the headers of its weights.

    `noted` are the files that the store borrows, by path: one that is as it was noted has the digest that it
    had. Raises NotFound, BadContent, UsageError, OperationFailed.
    """
    files, headers = [], []
    for file in found.files:
        with SourceFile(file.path) as source:
            if source.size != file.size:
                raise OperationFailed(
                    f"The file {shown(file.path)} changed while it was adopted.", hint="Run it again."
                )
            if found.model_format == "gguf" and file.role == "weights":
                headers.append(read_gguf(source.fd, file.path.name))
            digest, hashed = file.digest, False
            known = noted.get(str(file.path))
            if digest is None and known is not None and known[1].fits(source.status):
                digest, hashed = known[0], True
            files.append(LookedAtFile(found=file, status=source.status, digest=digest, hashed=hashed))
    licenses = tuple(header.license for header in headers[:1] if header.license)
    facts = facts_from_gguf(headers) if headers else None
    return LookedAt(found=found, files=tuple(files), facts=facts, licenses=licenses)


def _is_doubtful(store: StoreReader, file: LookedAtFile, put_aside: Collection[Digest]) -> bool:
    digest = file.digest
    if digest is None or file.hashed:
        return False
    if not store.has(digest):
        return digest in put_aside
    note = store.note_about(digest)
    if note is None:
        return False
    try:
        status = os.lstat(note.path) if note.borrowed else store.blob_status(digest)
    except OSError:
        return True
    return status is None or not note.fits(status)


def _how_in(store: StoreReader, file: LookedAtFile) -> Taken:
    if file.digest is not None and store.has(file.digest):
        note = store.note_about(file.digest)
        return Taken.PRESENT if note is None else Taken.BORROWED if note.borrowed else Taken.LINKED
    with file.open() as source:
        linkable = file.found.may_link and can_link(store.layout, source)
    return Taken.LINKED if linkable else Taken.BORROWED


def _hashed(file: LookedAtFile, on_event: OnEvent) -> LookedAtFile:
    with file.open() as source:
        counter = ByteCounter(on_event, stage="hash", item=file.found.path.name, total=source.size)
        digest, _ = hash_open_file(source.fd, counter)
        if file.found.git_oid is not None and _git_oid(source) != file.found.git_oid:
            raise BadContent(
                f"The file {shown(file.found.path)} is damaged: its bytes are not those that its name says."
            )
        source.check_unchanged()
    if file.digest not in {None, digest}:
        raise BadContent(
            f"The file {shown(file.found.path)} is damaged: its bytes are not those that its name says."
        )
    return replace(file, digest=digest, hashed=True, is_doubted=False)


def _git_oid(source: SourceFile) -> str:
    """The sha1 of a file as a git blob, sha1("blob SIZE\\0" + content); only small files are named so."""
    hasher = hashlib.sha1(f"blob {source.size}\0".encode(), usedforsecurity=False)
    position = 0
    while data := os.pread(source.fd, 1 << 20, position):
        hasher.update(data)
        position += len(data)
    return hasher.hexdigest()
