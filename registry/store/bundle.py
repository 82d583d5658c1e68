"""Bundles: OCI image layouts to carry around, a folder or a tar, read where they lie.

A bundle is a store that nobody writes to: `open_bundle` gives a `StoreReader`. What is read is what was
opened: a folder swapped for a symbolic link in the meantime leads nowhere.
"""

from __future__ import annotations

import abc
import errno
import io
import os
import stat
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from registry import mediatypes
from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    MalformedFile,
    NoSpace,
    NotFound,
    OperationFailed,
    SizeMismatch,
    UsageError,
)
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, load_json_object
from registry.store.archive import INDEX, OCI_LAYOUT, Archive
from registry.store.durable import write_all
from registry.store.index import NameTable
from registry.store.reader import Progress, StoreReader, silent
from registry.store.room import free_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_OCI_LAYOUT_BYTES = 4 << 10
_COPY_BYTES = 4 << 20
_HINT = "Get the bundle again from where it came from."


class Bundle(StoreReader, abc.ABC):
    """A bundle, to be read. It holds what it has open until it is closed or forgotten; threads may share it.

    `index_bytes` is its index.json, of at most MAX_MANIFEST_BYTES; `skipped` says, for a note, what an
    archive has beside a bundle's files; `status` is that of the file or folder when it was opened.
    """

    follows_notes = False

    def __init__(
        self, path: Path, index_bytes: bytes, fds: Sequence[int], skipped: str | None = None
    ) -> None:
        super().__init__(path)
        self.skipped = skipped
        self.status = status = os.fstat(fds[0])
        self._origin = f"{status.st_dev}:{status.st_ino}:{status.st_mtime_ns}:{Digest.of(index_bytes)}"
        self.index_bytes = index_bytes
        self._finalizer = weakref.finalize(self, _close, tuple(fds))

    def close(self) -> None:
        """Close what is open; nothing can be read afterwards."""
        self._finalizer()

    @property
    def origin(self) -> str:
        """A blob in a bundle need not be what its name says; only `verify` and `import` hash it."""
        return self._origin

    def names(self) -> NameTable:
        """Its table of names. Raises MalformedFile."""
        try:
            return NameTable.parse(self.index_bytes)
        except MalformedFile as error:
            raise MalformedFile(error.message.replace("The store's", "The bundle's"), hint=_HINT) from None

    def index_digest(self) -> Digest:
        return Digest.of(self.index_bytes)

    def layout_complaint(self) -> None:
        """It would not have been opened."""

    @abc.abstractmethod
    def size_of(self, digest: Digest) -> int | None:
        """A blob's size in bytes, None where the bundle has no plain file for it."""

    def has(self, digest: Digest) -> bool:
        return self.size_of(digest) is not None

    def stamp(self, descriptor: Descriptor) -> tuple[int, int] | None:
        """None: nothing is remembered about a bundle."""
        del descriptor
        return None

    def manifest_of(self, digest: Digest) -> Manifest:
        size = self.size_of(digest)
        if size is None:
            raise NotFound(f"The manifest {digest} is missing from the bundle.", hint=_HINT)
        manifest = self.manifest(Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=size))
        if isinstance(manifest, Index):
            raise BadContent(f"The manifest {digest} is an index of several.")
        return manifest

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        if descriptor.size > limit:
            raise SizeMismatch(
                f"The blob {descriptor.digest} has {descriptor.size} bytes; {limit} are allowed."
            )
        with self.open_blob(descriptor) as stream:
            data = stream.read(descriptor.size)
        if Digest.of(data) != descriptor.digest:
            raise DigestMismatch(
                f"The blob {descriptor.digest} is damaged: its bytes have another digest.", hint=_HINT
            )
        return data

    def _check(self, descriptor: Descriptor) -> None:
        """Raise NotFound or SizeMismatch unless there is a blob of this very size."""
        size = self.size_of(descriptor.digest)
        if size is None:
            raise NotFound(f"The blob {descriptor.digest} is missing from the bundle.", hint=_HINT)
        if size != descriptor.size:
            raise SizeMismatch(
                f"The blob {descriptor.digest} has {size} bytes instead of {descriptor.size}.", hint=_HINT
            )


class FolderBundle(Bundle):
    """A folder that is an OCI image layout, whoever made it. Its blobs are used where they lie."""

    def __init__(self, path: Path) -> None:
        """Raises MalformedFile for a folder that is no layout, NotFound, OperationFailed."""
        opened: list[int] = []
        try:
            opened.append(_open_folder(path))
            root = opened[0]
            check_oci_layout(_read_file(root, OCI_LAYOUT, MAX_OCI_LAYOUT_BYTES, path))
            index = _read_file(root, INDEX, MAX_MANIFEST_BYTES, path)
            opened.append(_open_below(root, "blobs", path))
            opened.append(_open_below(opened[1], "sha256", path))
        except BaseException:
            _close(opened)
            raise
        super().__init__(path, index, opened)
        self._fd = opened[-1]

    def size_of(self, digest: Digest) -> int | None:
        try:
            status = os.stat(digest.hex, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open_blob(
        self, descriptor: Descriptor, progress: Progress | None = None, *, check_notes: bool = True
    ) -> BinaryIO:
        self._check(descriptor)
        try:
            fd = os.open(
                descriptor.digest.hex,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                dir_fd=self._fd,
            )
        except FileNotFoundError:
            raise NotFound(f"The blob {descriptor.digest} is missing from the bundle.", hint=_HINT) from None
        except OSError as error:
            raise _unreadable(self.root, error) from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != descriptor.size:
            os.close(fd)
            raise BadContent(
                f"The blob {descriptor.digest} was replaced while the bundle was read.", hint=_HINT
            )
        return os.fdopen(fd, "rb")


class TarBundle(Bundle):
    """A tar with an OCI image layout in it; where its members lie is found out once, when it is opened.

    `scratch` are folders for the copy of a blob that must be a file of its own, best first.
    """

    def __init__(self, path: Path, fd: int, scratch: Sequence[Path] = ()) -> None:
        """Takes over `fd`, which is open for the file. Raises BadContent, OperationFailed."""
        self._fd = fd
        self._scratch = (*scratch, Path(tempfile.gettempdir()))
        self._places: dict[Digest, tuple[int, int]] = {}
        index = None
        layout = None
        try:
            archive = Archive(fd, shown(path))
            for member in archive.members():
                if member.digest is not None:
                    self._places[member.digest] = (member.offset, member.size)
                elif member.name == INDEX:
                    index = archive.read(member, MAX_MANIFEST_BYTES)
                else:
                    layout = archive.read(member, MAX_OCI_LAYOUT_BYTES)
            if index is None or layout is None:
                raise archive.incomplete()
            check_oci_layout(layout)
        except BaseException:
            os.close(fd)
            raise
        super().__init__(path, index, [fd], archive.skipped)

    def stored(self) -> dict[Digest, int]:
        return {digest: size for digest, (_, size) in self._places.items()}

    def size_of(self, digest: Digest) -> int | None:
        place = self._places.get(digest)
        return None if place is None else place[1]

    def open_blob(
        self, descriptor: Descriptor, progress: Progress | None = None, *, check_notes: bool = True
    ) -> BinaryIO:
        """A blob's bytes as a stream with an end. It has no descriptor of its own; `open_file` gives one."""
        self._check(descriptor)
        offset, size = self._places[descriptor.digest]
        return cast("BinaryIO", io.BufferedReader(_Window(self, self._fd, offset, size), 1 << 20))

    def open_file(
        self, descriptor: Descriptor, progress: Progress = silent, *, check_notes: bool = True
    ) -> BinaryIO:
        """A copy of the blob that has no name, and is gone with the last who has it open.

        Raises NoSpace where no folder has room for it.
        """
        self._check(descriptor)
        offset, size = self._places[descriptor.digest]
        refusal: OSError | None = None
        for folder in self._scratch:
            try:
                target = _nameless_file(folder)
            except OSError as error:
                refusal = refusal or error
                continue
            try:
                if free_bytes(target) < size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                _copy_range(self._fd, offset, size, target, progress)
                os.lseek(target, 0, os.SEEK_SET)
                return os.fdopen(target, "rb")
            except OSError as error:
                os.close(target)
                refusal = error
            except BaseException:
                os.close(target)
                raise
        full = refusal is not None and refusal.errno in {errno.ENOSPC, errno.EDQUOT}
        if full:
            raise NoSpace(
                f"There is no room for a copy of {size} bytes out of {shown(self.root)}.",
                hint="Unpack the bundle with tar, and name the folder; or import it.",
            )
        raise _unreadable(self.root, refusal or OSError(errno.EIO, os.strerror(errno.EIO)))


def open_bundle(path: Path, scratch: Sequence[Path] = ()) -> Bundle:
    """The bundle at `path`, a folder or a tar. `scratch` is for `TarBundle`.

    Raises NotFound, UsageError for a file that is something else, MalformedFile, OperationFailed.
    """
    fd = open_file(path)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return TarBundle(path, fd, scratch)
    os.close(fd)
    return FolderBundle(path)


def open_file(path: Path) -> int:
    """A descriptor of the file or folder that is to be read as a bundle. Raises as `open_bundle` does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no file {shown(path)}.", hint="Check the path.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return fd
    os.close(fd)
    raise UsageError(f"{shown(path)} is neither a file nor a folder.", hint="Name a bundle, or - for stdin.")


def check_oci_layout(data: bytes) -> None:
    """Raise MalformedFile unless `data` is an `oci-layout` file of 1.0.0, the one version that there is."""
    version = load_json_object(data, f"The bundle's {OCI_LAYOUT}").get("imageLayoutVersion")
    if version != "1.0.0":
        raise MalformedFile(f"The bundle's {OCI_LAYOUT} is of version {version!r:.40}; slmctl reads 1.0.0.")


class _Window(io.RawIOBase):
    """`size` bytes of a file from `offset` on. Reads by position, so that the file's offset may be shared."""

    def __init__(self, owner: Bundle, fd: int, offset: int, size: int) -> None:
        super().__init__()
        self._owner = owner  # what it reads stays open
        self._fd = fd
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)  # a slice of a bytearray would be a copy
        count = max(0, min(len(view), self._size - self._at))
        try:
            done = os.preadv(self._fd, [view[:count]], self._offset + self._at) if count else 0
        except OSError as error:  # said here: whoever reads may be writing somewhere too
            raise _unreadable(self._owner.root, error) from error
        self._at += done
        return done


def _nameless_file(folder: Path) -> int:
    """A new file for reading and writing that is in no folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}:
                raise
    fd, name = tempfile.mkstemp(dir=folder, prefix=".slmctl-")
    os.unlink(name)  # noqa: PTH108
    return fd


def _copy_range(source: int, offset: int, size: int, target: int, progress: Progress) -> None:
    """Copy `size` bytes from `offset` on; shares blocks where the file system can."""
    done = 0
    in_kernel = hasattr(os, "copy_file_range")
    while done < size:
        wanted = min(size - done, _COPY_BYTES * 16 if in_kernel else _COPY_BYTES)
        count = 0
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, wanted, offset + done, done)
            except OSError as error:
                if error.errno not in {
                    errno.EXDEV,
                    errno.EINVAL,
                    errno.ENOSYS,
                    errno.EOPNOTSUPP,
                    errno.EPERM,
                }:
                    raise
            in_kernel = count > 0
        if not count:
            data = os.pread(source, min(wanted, _COPY_BYTES), offset + done)
            if not data:
                raise MalformedFile("The bundle was cut short while it was read.")
            os.lseek(target, done, os.SEEK_SET)
            write_all(target, data)
            count = len(data)
        done += count
        progress(count)


def _open_folder(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"There is no folder {shown(path)}.", hint="Check the path.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _open_below(folder: int, name: str, path: Path) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise _missing(path, "blobs/sha256", error) from None


def _read_file(folder: int, name: str, limit: int, path: Path) -> bytes:
    """A small plain file right in an open folder."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise _missing(path, name, error) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise MalformedFile(f"{shown(path)} is not a bundle: its {name} is not a plain file.")
    with os.fdopen(fd, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise MalformedFile(f"{shown(path)} is not a bundle: its {name} has more than {limit} bytes.")
    return data


def _missing(path: Path, name: str, error: OSError) -> Exception:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return MalformedFile(f"{shown(path)} is not a bundle: it has no {name}.")
    if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:
        return MalformedFile(f"{shown(path)} is not a bundle: its {name} is a link or a special file.")
    return _unreadable(path, error)


def _unreadable(path: Path, error: OSError | ValueError) -> OperationFailed:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return OperationFailed(f"{shown(path)} cannot be read ({reason}).", hint="Check the path.")


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def shown(path: Path) -> str:
    """A path for messages."""
    text = str(path)
    return text if text.isprintable() and text else ascii(text)
