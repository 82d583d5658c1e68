"""Who listens where we want to, in words: from /proc (Linux), and from what the other one says."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_PROBE_SECONDS = 1.0
_MOST_BYTES = 4096
_LISTEN = "0A"
"""The state of a socket that listens, in /proc/net/tcp."""


def who_listens(host: str, port: int) -> str:
    """Who has the port, as far as that can be known: `ollama (process 4711), an Ollama server`."""
    said = _said(host or "127.0.0.1", port)
    known = next((each for each in map(_owner, _inodes(port)) if each is not None), None)
    if known is None:
        return said or "another program"
    return known if said is None else f"{known}, {said}"


def who_holds(path: Path) -> str | None:
    """Who listens at a unix socket; None where nobody does (a stale one)."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:
            return "another program"
        if not hasattr(socket, "SO_PEERCRED"):
            return "another program"
        pid = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")
        return _named(pid)


def _said(host: str, port: int) -> str | None:
    """What it says that it is, if that is something that we know."""
    if b'"slmctl"' in _answer(host, port, "/api/version"):
        return "a slmctl server"
    return "an Ollama server" if b"Ollama is running" in _answer(host, port, "/") else None


def _answer(host: str, port: int, path: str) -> bytes:
    """The beginning of its answer; empty where none came in time."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    answer = b""
    try:
        with socket.create_connection((_reachable(host), port), timeout=_PROBE_SECONDS) as probe:
            probe.sendall(request)
            while len(answer) < _MOST_BYTES and (piece := probe.recv(_MOST_BYTES)):
                answer += piece
    except OSError:
        pass  # it says something else, or nothing
    return answer


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _inodes(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen at the port, whatever the address."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _owner(inode: str) -> str | None:
    """The process that has the socket open; None where that cannot be seen."""
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(link) == wanted:  # noqa: PTH115 - no path
                        return _named(int(process.name))
    return None


def _named(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"process {pid}"
    return f"{name} (process {pid})"
