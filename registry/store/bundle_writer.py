"""Writing bundles: the same models give the same bytes, whoever writes them, where and when.

Order: `oci-layout`, `index.json`, manifests by digest, other blobs by size and digest. So a reader of the
stream knows early what comes, and a folder is a bundle only when its last file, `index.json`, is there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from registry import mediatypes
from registry.digest import Digest
from registry.errors import DigestMismatch, OperationFailed
from registry.manifest import Descriptor, canonical_json
from registry.store import tar
from registry.store.archive import INDEX, OCI_LAYOUT
from registry.store.durable import (
    check_length,
    flush_file,
    flush_folder,
    replace_file,
    write_all,
    write_file,
)
from registry.store.index import Referrer
from registry.store.reader import Progress

OCI_LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK_BYTES = 4 << 20
_PARTIAL = ".partial"

Open = Callable[[Descriptor], BinaryIO]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A model in a bundle: its full name, its manifest or index, the reference it was pulled from, and the
    ids of its variants that were made of what was pulled."""

    name: str
    descriptor: Descriptor
    source: str | None = None
    made: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What goes into a bundle.

    `blobs` are all digests with their sizes, `documents` those that are manifests or indexes; `made` are the
    bytes of blobs that are in no store. `referrers` are about manifests among them.
    """

    models: Sequence[Named]
    blobs: Mapping[Digest, int]
    documents: frozenset[Digest]
    made: Mapping[Digest, bytes] = field(default_factory=dict)
    referrers: Sequence[Referrer] = ()

    def index(self) -> bytes:
        """The bundle's table of names: canonical, by name, with nothing in it but what the models are."""
        rows = []
        for model in sorted(self.models, key=lambda model: model.name):
            annotations = {mediatypes.REF_NAME: model.name}
            if model.source is not None:
                annotations[mediatypes.SLMCTL_SOURCE] = model.source
                if model.made:
                    annotations[mediatypes.SLMCTL_MADE] = " ".join(model.made)
            rows.append({**model.descriptor.to_json(), "annotations": annotations})
        for referrer in sorted(self.referrers, key=lambda each: each.descriptor.digest):
            about = {mediatypes.SLMCTL_SUBJECT: str(referrer.subject)}
            rows.append({**referrer.descriptor.to_json(), "annotations": about})
        return canonical_json(
            {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": rows},
        )

    def ordered(self) -> list[tuple[Digest, int]]:
        """All blobs with their sizes, in the order in which they are written."""
        return sorted(self.blobs.items(), key=lambda blob: (blob[0] not in self.documents, *_rank(*blob)))

    @property
    def archive_bytes(self) -> int:
        """The size of the tar."""
        sizes = [len(OCI_LAYOUT_BYTES), len(self.index()), *self.blobs.values()]
        return sum(tar.header_bytes(size) + size + tar.padding(size) for size in sizes) + len(tar.END)


def _rank(digest: Digest, size: int) -> tuple[int, str]:
    return size, digest.hex


def write_archive(fd: int, content: Content, open_blob: Open, progress: Progress) -> None:
    """Write the tar to an open file or pipe. Raises DigestMismatch for a damaged blob, NotFound, OSError."""
    status = os.fstat(fd)
    is_empty_file = stat.S_ISREG(status.st_mode) and status.st_size == 0
    for name, data in ((OCI_LAYOUT, OCI_LAYOUT_BYTES), (INDEX, content.index())):
        write_all(fd, tar.write_header(name, len(data)) + data + bytes(tar.padding(len(data))))
    for digest, size in content.ordered():
        write_all(fd, tar.write_header(f"blobs/sha256/{digest.hex}", size))
        _write_blob(fd, digest, size, content, open_blob, progress)
        write_all(fd, bytes(tar.padding(size)))
    write_all(fd, tar.END)
    if is_empty_file:
        check_length(fd, content.archive_bytes)


def write_folder(folder: Path, content: Content, open_blob: Open, progress: Progress) -> None:
    """Write the layout into `folder`, `index.json` last, all of it flushed.

    Blobs that are there already, whole and intact, stay. When it fails, what it added is gone again. Raises
    as `write_archive` does.
    """
    blobs = folder / "blobs" / "sha256"
    made = _make_folders(folder, blobs)
    added: list[Path] = []
    try:
        for digest, size in content.ordered():
            path = blobs / digest.hex
            if _is_intact(path, digest, size, progress):
                continue
            is_new = not path.exists()
            with _partial(path) as fd:
                _write_blob(fd, digest, size, content, open_blob, progress)
                check_length(fd, size)
            if is_new:
                added.append(path)
        flush_folder(blobs)
        if not (folder / OCI_LAYOUT).exists():
            added.append(folder / OCI_LAYOUT)
        replace_file(folder / f"{OCI_LAYOUT}{_PARTIAL}", folder / OCI_LAYOUT, OCI_LAYOUT_BYTES)
        for each in (folder, blobs.parent):  # made now, or by an export that died before it flushed them
            flush_folder(each)
        with suppress(PermissionError):
            flush_folder(folder.parent)
        write_file(folder / f"{INDEX}{_PARTIAL}", content.index())  # nothing that takes room is left to do
    except BaseException:
        for path in added:
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            (folder / f"{INDEX}{_PARTIAL}").unlink()
        for each in reversed(made):
            with suppress(OSError):
                each.rmdir()
        raise
    (folder / f"{INDEX}{_PARTIAL}").rename(folder / INDEX)
    flush_folder(folder)


def unreached(folder: Path, content: Content) -> Iterator[Path]:
    """The blobs in a bundle's folder that `content` does not have, and what was left half written."""
    known = {digest.hex for digest in content.blobs}
    for path in sorted((folder / "blobs" / "sha256").iterdir()):
        name = path.name.removesuffix(_PARTIAL)
        if len(name) == 64 and not name.strip("0123456789abcdef") and path.name not in known:
            yield path


class _partial:  # noqa: N801 - a context manager, used like a function
    """A file beside `path` that takes its place, whole and flushed, unless writing it fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}{_PARTIAL}")

    def __enter__(self) -> int:
        self._partial.unlink(missing_ok=True)  # not truncated: see `registry.store.durable.write_file`
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._partial, flags, 0o666)
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                flush_file(self._fd)
                self._partial.rename(self._path)
        finally:
            os.close(self._fd)
            with suppress(FileNotFoundError):
                self._partial.unlink()


def _make_folders(folder: Path, blobs: Path) -> list[Path]:
    made = []
    for path in (folder, blobs.parent, blobs):
        with suppress(FileExistsError):
            path.mkdir()
            made.append(path)
    return made


def _is_intact(path: Path, digest: Digest, size: int, progress: Progress) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != size:
            return False
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return False
    if found != digest.hex:
        return False
    progress(size)
    return True


def _write_blob(
    fd: int, digest: Digest, size: int, content: Content, open_blob: Open, progress: Progress
) -> None:
    """Copy one blob, hashing what is written."""
    hasher = hashlib.sha256()
    written = 0
    for data in _bytes_of(digest, size, content, open_blob):
        hasher.update(data)
        write_all(fd, data)
        written += len(data)
        progress(len(data))
    if written != size or hasher.hexdigest() != digest.hex:
        raise DigestMismatch(
            f"The blob {digest} is damaged: its bytes have another digest.",
            hint="Nothing was exported; 'slmctl verify' says which models have it.",
        )


def _bytes_of(digest: Digest, size: int, content: Content, open_blob: Open) -> Iterable[bytes]:
    if digest in content.made:
        yield content.made[digest]
        return
    left = size
    with open_blob(Descriptor(media_type="", digest=digest, size=size)) as stream:
        while left and (data := _read(stream, min(left, _CHUNK_BYTES), digest)):
            left -= len(data)
            yield data


def _read(stream: BinaryIO, size: int, digest: Digest) -> bytes:
    """Read from the store: what goes wrong here is not the target's fault. Raises OperationFailed."""
    try:
        return stream.read(size)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OperationFailed(
            f"The blob {digest} cannot be read ({reason}).", hint="Check the disk that the store is on."
        ) from error
