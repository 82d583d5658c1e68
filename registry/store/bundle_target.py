"""Where a bundle is written to: nothing half written ever has the name that was asked for.

A file is written beside its place, under a hidden name that follows from its own, and renamed when it is
whole and flushed; what a crash left under that name is what the next export to the same place writes over.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry.errors import DoesNotFit, NoSpace, NotFound, OperationFailed, UsageError
from registry.store.archive import INDEX, OCI_LAYOUT
from registry.store.bundle import shown
from registry.store.bundle_writer import Content
from registry.store.durable import flush_file, flush_folder
from registry.store.locks import lock_alone
from registry.store.room import free_bytes, largest_file

_OURS_IN_A_FOLDER = {OCI_LAYOUT, INDEX, "blobs", f"{OCI_LAYOUT}.partial", f"{INDEX}.partial"}


def is_folder_target(text: str) -> bool:
    """Whether `text` asks for a folder: it ends in a slash, or a folder is there."""
    return text.endswith("/") or Path(text).is_dir()


def resolved(text: str) -> Path:
    """The path without symbolic links in it. Raises OSError where they lead in a circle."""
    try:
        return Path(text).resolve()
    except RuntimeError:  # Python up to 3.12
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


def check_outside(target: Path, store: Path) -> None:
    """Raise UsageError for a target in the store's folder, by whatever path."""
    with suppress(OSError):
        home = store.stat()
        for path in (target, *target.parents):
            with suppress(FileNotFoundError, NotADirectoryError):
                if os.path.samestat(path.stat(), home):
                    raise UsageError(
                        f"{shown(target)} is inside the store.", hint="Write the bundle somewhere else."
                    )


def check_file(target: Path, *, force: bool) -> None:
    """Raise unless a bundle may be written to the file `target`: a new one, or with `force` a plain file."""
    _check_parent(target)
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"{shown(target)} is not a regular file.", hint="Name another file, or - for stdout."
        )
    if not force:
        raise OperationFailed(f"There is a file {shown(target)} already.", hint="Add --force to replace it.")


def check_folder(target: Path, *, force: bool) -> None:
    """Raise unless a bundle may be written into `target`.

    That is a folder which is not there yet, is empty, or has nothing but what an export left that did not get
    to its end; with `force` also a bundle, which is replaced. Never a store, and never a folder with more in
    it.
    """
    try:
        names = {path.name for path in target.iterdir()}
    except FileNotFoundError:
        _check_parent(target)
        return
    except OSError as error:
        raise _refusal(target, error) from None
    if "slmctl.json" in names:
        raise UsageError(f"{shown(target)} is a store, not a bundle.", hint="Name a new folder.")
    if names - _OURS_IN_A_FOLDER:
        other = min(names - _OURS_IN_A_FOLDER)
        raise UsageError(
            f"The folder {shown(target)} has something else in it ({other!r:.80}).",
            hint="Name a new or an empty folder.",
        )
    if INDEX in names and not force:
        raise OperationFailed(
            f"There is a bundle in {shown(target)} already.", hint="Add --force to replace it."
        )
    for path in (target / "blobs", target / "blobs" / "sha256"):
        if path.is_symlink():
            raise UsageError(f"{shown(path)} is a symbolic link.", hint="Name a new or an empty folder.")


def check_room(target: Path, content: Content, *, as_folder: bool) -> None:
    """Raise NoSpace or DoesNotFit when the target's file system cannot take the bundle."""
    place = target if as_folder and target.is_dir() else target.parent
    blobs = [*content.blobs.items()]
    needed = content.archive_bytes
    if as_folder:
        needed -= sum(size for digest, size in blobs if _has_size(target, digest.hex, size))
    largest = max((size for _, size in blobs), default=0) if as_folder else needed
    limit, why = largest_file(place)
    if limit is not None and largest > limit:
        what = "the largest file of the bundle" if as_folder else "the bundle"
        raise DoesNotFit(
            f"{shown(place)} cannot hold files of more than {limit} bytes ({why}), and {what} has {largest}.",
            hint="Use a disk with exFAT or another file system"
            + ("." if as_folder else ", or export to a folder, NAME/, with one file per blob."),
        )
    free = free_bytes(place)
    if needed > free:
        raise NoSpace(
            f"The bundle takes {needed} bytes, and {shown(place)} has {free} left.",
            hint="Free some space, or export to another disk.",
        )


@contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[int]:
    """A descriptor for the bundle that becomes the file `target` when the block ends well.

    Raises OperationFailed when another process writes to the same place, or made the file meanwhile.
    """
    token = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    partial = target.with_name(f".slmctl-export-{token}.partial")
    fd = _open_locked(partial, target)
    try:
        os.ftruncate(fd, 0)
        yield fd
        flush_file(fd)
        _give_name(partial, target, force=force)
        with suppress(PermissionError):  # a folder that may be written to and not be read
            flush_folder(target.parent)
    finally:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), partial.lstat()):
                partial.unlink()
        os.close(fd)


@contextmanager
def locked_folder(target: Path) -> Iterator[None]:
    """Have the folder `target`, which is made if need be, for this process alone among exports.

    When it fails, a folder that was made and is empty is gone again. Raises OperationFailed.
    """
    made = False
    with suppress(FileExistsError):
        target.mkdir()
        made = True
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock_alone(fd)
        yield
        with suppress(PermissionError):  # made now, or by an export that died before it flushed it
            flush_folder(target.parent)
    except BlockingIOError:
        raise OperationFailed(
            f"Another export writes to {shown(target)}.", hint="Wait for its end, or name another folder."
        ) from None
    finally:
        if made:
            with suppress(OSError):
                target.rmdir()  # only an empty one goes
        os.close(fd)


@contextmanager
def writing_errors(target: str) -> Iterator[None]:
    """Turn the operating system's refusals to write a bundle into our errors. A closed pipe stays one."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _refusal(target, error) from error


def _refusal(target: Path | str, error: OSError) -> OperationFailed:
    where = shown(Path(target))
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace(f"There is no space left for {where}.", hint="Free some, or export to another disk.")
    if error.errno == errno.EFBIG:
        return OperationFailed(
            f"The file system of {where} does not take files of this size.",
            hint="Use another disk, or export to a folder, NAME/, with one file per blob.",
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OperationFailed(f"{where} cannot be written ({reason}).", hint="Check the path and its disk.")


def _check_parent(target: Path) -> None:
    try:
        found = target.parent.is_dir()
    except OSError as error:
        raise _refusal(target, error) from None
    if not found:
        raise NotFound(f"There is no folder {shown(target.parent)}.", hint="Make it first.")


def _has_size(folder: Path, name: str, size: int) -> bool:
    try:
        return (folder / "blobs" / "sha256" / name).lstat().st_size == size
    except OSError:
        return False


def _open_locked(partial: Path, target: Path) -> int:
    """The temporary, which is this process's alone: locked, and still under its name."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        is_new = True
        try:
            fd = os.open(partial, flags | os.O_CREAT | os.O_EXCL, 0o666)  # less the umask
        except FileExistsError:
            is_new = False
            try:
                fd = os.open(partial, flags)
            except FileNotFoundError:
                continue
        try:
            lock_alone(fd)
            status = os.fstat(fd)
            if os.path.samestat(status, partial.lstat()):
                if is_new or _is_ours(status):
                    return fd
                partial.unlink()
        except BlockingIOError:
            os.close(fd)
            raise OperationFailed(
                f"Another export writes to {shown(target)}.", hint="Wait for its end, or name another file."
            ) from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner has just finished


def _is_ours(status: os.stat_result) -> bool:
    """Whether what lies in the temporary's place may be written over. A second name is the final one that a
    killed export had given it; what a stranger put there would leave the bundle his."""
    return status.st_nlink == 1 and status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)


def _give_name(partial: Path, target: Path, *, force: bool) -> None:
    if force:
        partial.rename(target)
        return
    try:
        os.link(partial, target, follow_symlinks=False)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise OperationFailed(
            f"There is a file {shown(target)} by now.", hint="Add --force to replace it."
        ) from None
    except OSError:  # a file system without hard links
        partial.rename(target)
    else:
        partial.unlink()
