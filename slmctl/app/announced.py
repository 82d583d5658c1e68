"""Where a server says that it listens, and how others of the same user find it.

    <base>/slmctl-<uid>/s-<hash>/lock          flocked by the server as long as it lives
    <base>/slmctl-<uid>/s-<hash>/server.json   mode 0600: addresses, pid, store, version, and a token
    <base>/slmctl-<uid>/s-<hash>/s.sock        where the user's own commands come in, without TLS or a port

One server per store and user may stand there. A file whose lock is free is a crashed server's, and nobody's
word any more. The folder goes when its server does.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtimes.places import shared_base

SCHEMA = "slmctl.server/1"
FILE_NAME = "server.json"
LOCK_NAME = "lock"
SOCKET_NAME = "s.sock"
_PREFIX = "s-"
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What a server says of itself.

    `url` is where TCP is listened at, `socket` the unix socket for others; one of them is there. `own_socket`
    and `token` let commands of the same user in, whatever keys there are.
    """

    pid: int
    store: str
    version: str
    started: str
    url: str | None
    socket: Path | None
    own_socket: Path
    root_path: str
    token: str = field(repr=False)

    def to_json(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "pid": self.pid,
            "store": self.store,
            "version": self.version,
            "started": self.started,
            "url": self.url,
            "socket": None if self.socket is None else str(self.socket),
            "own_socket": str(self.own_socket),
            "root_path": self.root_path,
            "token": self.token,
        }


def store_id(store: Path) -> str:
    """Which store it is, on this machine: the same for every path that leads there."""
    return hashlib.sha256(os.fsencode(os.path.realpath(store))).hexdigest()[:32]


def folder_name(store: Path) -> str:
    """No longer than a worker's, for the sake of the socket's path; `Announced.store` has the whole id."""
    return f"{_PREFIX}{store_id(store)[:8]}"


def find_server(folder_candidates: Sequence[Path], store: Path) -> Announced | None:
    """The server of this user that serves this store; None where none lives."""
    for candidate in folder_candidates:
        base = shared_base(candidate)
        if base is None:
            continue
        folder = base / folder_name(store)
        if not is_held(folder / LOCK_NAME):
            continue
        found = _read(folder / FILE_NAME)
        if found is not None and found.store == store_id(store):
            return found
    return None


def is_held(lock: Path) -> bool:
    """Whether somebody has the lock. To find out it is held for a moment, shared."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _read(file: Path) -> Announced | None:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as stream:
        if os.fstat(fd).st_uid != os.geteuid():
            return None
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            return _parsed(json.loads(stream.read(_MOST_BYTES)))
    return None


def _parsed(fields: Mapping[str, object]) -> Announced | None:
    if fields["schema"] != SCHEMA:
        return None
    pid, url, socket = fields["pid"], fields["url"], fields["socket"]
    if not isinstance(pid, int) or (url is None and socket is None):
        return None
    return Announced(
        pid=pid,
        store=str(fields["store"]),
        version=str(fields["version"]),
        started=str(fields["started"]),
        url=None if url is None else str(url),
        socket=None if socket is None else Path(str(socket)),
        own_socket=Path(str(fields["own_socket"])),
        root_path=str(fields["root_path"]),
        token=str(fields["token"]),
    )
