"""Leases: what long work needs is not garbage.

A lease is a file in `leases/` that its owner keeps flocked: one JSON line that says whose it is, then one
digest a line. A digest is listed, and the line flushed, before its blob becomes visible; so garbage
collection, which reads the leases while it holds the store's lock exclusively, never sees a blob that
somebody is about to name as garbage. A lease whose lock is free belonged to a process that died.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent
from registry.store.durable import flush_file, flush_folder, write_all
from registry.store.locks import lock

_SCHEMA = "slmctl.lease/1"

NAME = re.compile(r"[0-9a-f]{16}", re.ASCII)
"""What a lease's file is called."""

RUNS = "run "
"""How the purpose of a worker's lease begins."""


class Lease:
    """A held lease. Begin it under the store's shared lock; end it with `end()`. One thread uses it.

    One that is not `durable` is gone after a power cut, as its owner is.
    """

    def __init__(self, folder: Path, *, purpose: str, durable: bool = True) -> None:
        self._durable = durable
        self.id = os.urandom(8).hex()
        self.path = folder / self.id
        self.digests: set[Digest] = set()
        self._temporaries = 0
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            lock(self._fd, fcntl.LOCK_EX, self.path)
            header = {"schema": _SCHEMA, "purpose": purpose, "pid": os.getpid()}
            self._append(json.dumps(header))
            if durable:
                flush_folder(folder)
        except BaseException:
            self.end()
            raise

    def add(self, *digests: Digest) -> None:
        """List digests; on return they are safe from garbage collection, in place or not yet."""
        new = [digest for digest in digests if digest not in self.digests]
        if new:
            self._append("\n".join(str(digest) for digest in new))
            self.digests.update(new)

    def temporary(self) -> str:
        """A new file name for `ingest/` that tells whose it is."""
        self._temporaries += 1
        return f"{self.id}.{self._temporaries}"

    def fileno(self) -> int:
        """The descriptor that holds the lease, and goes on holding it in a process that inherits it."""
        return self._fd

    def leave(self) -> None:
        """Close our descriptor: the lease stays as long as somebody else has inherited it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def end(self) -> None:
        """Give the lease back; what no name lists may now be collected."""
        if self._fd >= 0:
            with suppress(FileNotFoundError):
                self.path.unlink()
            self.leave()

    def _append(self, text: str) -> None:
        write_all(self._fd, f"{text}\n".encode())
        if self._durable:
            flush_file(self._fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLease:
    """A lease as garbage collection sees it; `held` is False when its owner is gone."""

    path: Path
    held: bool
    digests: frozenset[Digest]
    purpose: str = ""

    @property
    def keeps(self) -> bool:
        """Whether what it lists stays: while it is held, and then too if it was of work that can go on.

        A run that died does not go on.
        """
        return self.held or not self.purpose.startswith(RUNS)


def find_leases(folder: Path) -> Iterator[FoundLease]:
    """All leases in `folder`. Call it with the store's lock held exclusively: then none can begin.

    What has another name, or is no file, is nobody's lease.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not NAME.fullmatch(path.name):
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # ended meanwhile; every other error goes up: an unreadable lease has not ended
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                continue
            held = not _try_lock(fd)
            with os.fdopen(os.dup(fd), "rb") as stream:
                header, *lines = stream.read().split(b"\n")[:-1] or [b""]  # without its end: never promised
        finally:
            os.close(fd)
        yield FoundLease(path=path, held=held, digests=frozenset(_digests(lines)), purpose=_purpose(header))


def _purpose(header: bytes) -> str:
    with suppress(ValueError, RecursionError):
        document = json.loads(header)
        if isinstance(document, dict) and isinstance(purpose := document.get("purpose"), str):
            return purpose
    return ""


def _digests(lines: list[bytes]) -> Iterator[Digest]:
    for line in lines:
        with suppress(BadContent, UnicodeDecodeError):
            yield Digest.parse(line.decode("ascii"))


def _try_lock(fd: int) -> bool:
    try:  # shared: the owner's exclusive lock excludes it, and NFS wants no write access for it
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
