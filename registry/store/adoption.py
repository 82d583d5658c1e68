"""Taking in files of other tools where they lie: by a hard link, else by a note of where they are.

Nothing is copied and nothing of theirs is changed: no mode, no owner, no time. A link is made only where the
tool never writes to a finished file in place (the caller knows), the file is the user's own, and it lies on
the store's file system; everything else is borrowed. The note is written first: a link without one would be
believed like a blob of our own.
"""

from __future__ import annotations

import enum
import os
import stat
from pathlib import Path

from registry.digest import Digest
from registry.errors import OperationFailed
from registry.store import notes
from registry.store.durable import flush_file, flush_folder
from registry.store.ingest import SourceFile
from registry.store.layout import Layout
from registry.store.leases import Lease
from registry.store.locks import Locks
from registry.store.notes import Note


class Taken(enum.Enum):
    """How the store has the bytes of an adopted file."""

    LINKED = "linked"
    BORROWED = "borrowed"
    PRESENT = "present"
    """It had a blob of its own already."""


def can_link(layout: Layout, source: SourceFile) -> bool:
    """Whether a file may get a second name in the store: the user's own, on the same file system.

    Before there is a store, the folder that it will be made in is asked.
    """
    folder = next(path for path in (layout.blobs, *layout.blobs.parents) if path.exists())
    return source.status.st_uid == os.geteuid() and source.status.st_dev == folder.stat().st_dev


def adopt_file(
    layout: Layout,
    locks: Locks,
    lease: Lease,
    source: SourceFile,
    digest: Digest,
    *,
    owner: str,
    may_link: bool,
    hashed: bool,
) -> Taken:
    """Have the blob `digest` be the file `source`, whose path must be absolute and no symbolic link.

    `hashed` says that the digest was just computed; otherwise it is believed, as what the tool says, while
    nothing contradicts it: a note that no longer fits stays as it is. Raises OperationFailed when the file is
    replaced meanwhile, OSError for the store.
    """
    lease.add(digest)
    with locks.writer(digest):
        found = _found(layout, source, digest, hashed)
        if found is not None:
            return found
        if may_link and can_link(layout, source) and _link(layout, locks, lease, source, digest, owner):
            return Taken.LINKED
        _borrow(layout, locks, lease, source, digest, owner, hashed)
        return Taken.BORROWED


def _found(layout: Layout, source: SourceFile, digest: Digest, hashed: bool) -> Taken | None:
    """How the blob is here already; None for a link whose note was lost in a crash, a damaged blob, and a
    link whose file is no longer as it was noted, where a file that was `hashed` can take its place."""
    try:
        status = layout.blob(digest).lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size != source.size:
        return None
    note = notes.linked(layout, digest)
    if note is not None:
        if hashed and not note.fits(status):
            return None
        flush_folder(layout.linked)  # whoever wrote the note may have died before doing so
        return Taken.LINKED
    return None if source.is_at(layout.blob(digest)) else Taken.PRESENT


def _link(layout: Layout, locks: Locks, lease: Lease, source: SourceFile, digest: Digest, owner: str) -> bool:
    """Give the file a second name as the blob; False where the file system has no links."""
    beside = layout.ingest / lease.temporary()
    try:
        os.link(source.path, beside, follow_symlinks=False)
    except OSError:
        return False
    try:
        _check_same(source, beside)
        flush_file(source.fd)  # a blob is on the medium; whoever wrote this file need not have seen to it
        note = Note.about(source.path, source.status, owner=owner, borrowed=False)
        with locks.shared():
            notes.write(layout, digest, note, layout.ingest / lease.temporary())
            beside.rename(layout.blob(digest))
        flush_folder(layout.blobs)
    finally:
        beside.unlink(missing_ok=True)  # also when both were names of one file: then rename does nothing
    return True


def _borrow(
    layout: Layout,
    locks: Locks,
    lease: Lease,
    source: SourceFile,
    digest: Digest,
    owner: str,
    hashed: bool,
) -> None:
    """Note where the file is, unless there is a note whose file is still there.

    A note that no longer fits must not be made to fit by looking at the file alone, only by bytes that were
    hashed; of two files with the same bytes the first stays while it is as it was.
    """
    old = notes.borrowed(layout, digest)
    if old is not None and notes.is_there(old):
        elsewhere = old.path != str(source.path)
        if not hashed or (elsewhere and old.fits(os.lstat(old.path))):
            flush_folder(layout.borrowed)
            return
    _check_same(source, source.path)
    note = Note.about(source.path, source.status, owner=owner, borrowed=True)
    with locks.shared():
        notes.write(layout, digest, note, layout.ingest / lease.temporary())


def _check_same(source: SourceFile, path: Path) -> None:
    if not source.is_at(path):
        raise OperationFailed(
            f"The file {str(source.path)!r} was replaced while it was adopted.", hint="Run it again."
        )
