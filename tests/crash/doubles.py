"""slmctl with one defect: what the harness must find, or it proves nothing.

    python -m tests.crash.doubles DEFECT ARGUMENTS...

Each defect is a mistake that real stores have made: serving.md section 4 names some of them. A kill cannot show a missing
flush, because the page cache outlives the process: those are for the model disk (T2). A wrong order is for the kill (T1).
The last one is no defect but a bad disk: every write does a part of what it is asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry.digest import Digest
from registry.store import durable, gc, generations, ingest, store
from registry.store.index import Entry, NameTable
from registry.transfer import finishing
from registry.transfer.events import Finished
from slmctl.entry import main


def _no_flush(fd: int) -> None:
    pass


def _no_flush_of_folder(folder: Path) -> None:
    pass


def blob_not_flushed() -> None:
    """The commit routine without the flush of the blob's bytes."""

    def commit(self: Any, path: Path, fd: int, digest: Digest, size: int) -> None:
        os.fchmod(fd, 0o444)
        path.rename(self.path_of(digest))
        durable.flush_folder(self._blobs)

    ingest.Ingest._commit = commit  # type: ignore[method-assign]


def blobs_folder_not_flushed() -> None:
    """The commit routine without the flush of the folder: the blob has bytes, and no name."""
    ingest.flush_folder = _no_flush_of_folder  # type: ignore[attr-defined]


def flushed_after_the_rename() -> None:
    """The commit routine with its flush too late: the blob is at its final path before it is durable."""

    def commit(self: Any, path: Path, fd: int, digest: Digest, size: int) -> None:
        os.fchmod(fd, 0o444)
        path.rename(self.path_of(digest))
        durable.flush_folder(self._blobs)
        durable.flush_file(fd)

    ingest.Ingest._commit = commit  # type: ignore[method-assign]


def table_not_flushed() -> None:
    """The table of names is renamed into its place without having been flushed."""
    write_file = durable.write_file

    def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        flush, durable.flush_file = durable.flush_file, _no_flush
        try:
            write_file(path, data, mode=mode)
        finally:
            durable.flush_file = flush

    durable.write_file = write


def table_folder_not_flushed() -> None:
    """The command says that it is done before the table's new name is durable."""
    durable.flush_folder = _no_flush_of_folder


def table_in_place() -> None:
    """The table is truncated and written where it lies, as Ollama writes its manifests."""

    def write(temporary: Path, final: Path, data: bytes, *, mode: int = 0o644) -> None:
        fd = os.open(final, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)

    generations.replace_file = write  # type: ignore[attr-defined]


def name_before_blobs() -> None:
    """Rename and link turned: the name is there first, and the blobs are put in their places afterwards."""
    waiting: list[tuple[Path, Path]] = []
    link = store.Store.link

    def commit(self: Any, path: Path, fd: int, digest: Digest, size: int) -> None:
        durable.flush_file(fd)
        aside = path.with_name(f"{path.name}.w")
        path.rename(aside)
        waiting.append((aside, self.path_of(digest)))

    def link_first(self: store.Store, name: str, descriptor: Any, **rest: Any) -> Entry:
        entry = Entry(name=name, descriptor=descriptor, source=rest["source"], linked=rest["linked"])
        with self._locks.exclusive():
            self._write_names(self.names().with_entry(entry))
        for path, final in waiting:
            path.chmod(0o444)
            path.rename(final)
            durable.flush_folder(final.parent)
        return link(self, name, descriptor, **rest)

    ingest.Ingest._commit = commit  # type: ignore[method-assign]
    store.Store.link = link_first  # type: ignore[method-assign]


def blobs_removed_before_the_name() -> None:
    """`rm` frees what only the removed model needed, and takes its name away afterwards."""
    write_names = store.Store._write_names

    def late(self: store.Store, names: NameTable) -> None:
        roots = {entry.descriptor.digest for entry in self.names().entries.values()}
        gc.free(self.layout, gc.reached_from(self.layout, roots), names)
        write_names(self, names)

    store.Store._write_names = late  # type: ignore[method-assign]


def blobs_removed_before_their_manifest() -> None:
    """What is no longer named is deleted in a wrong order: a manifest outlives its blobs, and may be named anew."""
    order = gc.deletion_order
    gc.deletion_order = lambda layout, digests: order(layout, digests)[::-1]


def failed_flush_tried_again() -> None:
    """A flush that failed is done once more; the second one succeeds, and the bytes are lost all the same."""
    flush_file = durable.flush_file

    def flush(fd: int) -> None:
        try:
            flush_file(fd)
        except OSError:
            flush_file(fd)

    for module in (durable, ingest):
        module.flush_file = flush  # type: ignore[attr-defined]


def digest_not_checked() -> None:
    """What came is made the blob because the journal says that all of it is there."""

    def close(self: Any, job: Any) -> None:
        self._session.finish(job.partial)
        job.partial.release()
        self._board.done(job, Finished(blob=job.blob))

    finishing.Finisher._close = close  # type: ignore[method-assign]


def short_writes() -> None:
    """No defect: the system writes at most 100 bytes a call."""
    write = os.write
    os.write = lambda fd, data: write(fd, bytes(memoryview(data)[:100]) if fd > 2 else data)


DOUBLES: dict[str, Callable[[], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        blob_not_flushed,
        blobs_folder_not_flushed,
        flushed_after_the_rename,
        table_not_flushed,
        table_folder_not_flushed,
        table_in_place,
        name_before_blobs,
        blobs_removed_before_the_name,
        blobs_removed_before_their_manifest,
        failed_flush_tried_again,
        digest_not_checked,
        short_writes,
    )
}


if __name__ == "__main__":
    DOUBLES[sys.argv[1]]()
    del sys.argv[1]
    main()
