"""The sockets that the server listens at. What goes wrong here is told before anything else begins."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import OperationFailed, UsageError
from runtimes.folders import SOCKET_PATH_BYTES
from slmctl.serve_settings import ServeSettings
from slmctl.server.holders import who_holds, who_listens

BACKLOG = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Open sockets: `tcp` with the host as it is shown to people, `unix` with its path."""

    tcp: tuple[socket.socket, ...]
    unix: socket.socket | None
    path: Path | None
    host: str
    port: int | None
    _inode: int | None = None

    def close(self) -> None:
        """Close them, and remove the unix socket if it is still ours."""
        for each in (*self.tcp, *(() if self.unix is None else (self.unix,))):
            each.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                if self.path.lstat().st_ino == self._inode:
                    self.path.unlink()

    def url(self, *, tls: bool) -> str | None:
        """Where programs on this machine find the port; None where there is none."""
        if self.port is None:
            return None
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def listen(serve: ServeSettings) -> Listeners:
    """Open all sockets, or none. Raises UsageError for an address that there is not, OperationFailed for one
    that cannot be had, with who has it."""
    tcp: list[socket.socket] = []
    try:
        port = serve.port
        for family, address in _addresses(serve) if serve.tcp else ():
            tcp.append(_open(family, address, port, serve))
            port = tcp[-1].getsockname()[1]  # the first says which, where any would do
        unix = None if serve.socket is None else _open_unix(serve.socket, serve.socket_mode)
    except BaseException:
        for each in tcp:
            each.close()
        raise
    inode = None if serve.socket is None else serve.socket.lstat().st_ino
    return Listeners(
        tcp=tuple(tcp),
        unix=unix,
        path=serve.socket,
        host=serve.host,
        port=port if tcp else None,
        _inode=inode,
    )


def _addresses(serve: ServeSettings) -> Sequence[tuple[int, str]]:
    """The addresses that the host stands for."""
    if not serve.host:
        return [(socket.AF_INET6, "::")] if socket.has_dualstack_ipv6() else [(socket.AF_INET, "0.0.0.0")]  # noqa: S104
    try:
        found = socket.getaddrinfo(
            serve.host, serve.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except (socket.gaierror, UnicodeError):
        try:
            found = socket.getaddrinfo(serve.host, serve.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            raise UsageError(
                f"There is no address {serve.host!r:.80} to listen at.", hint=_hint_about(serve)
            ) from None
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def _open(family: int, address: str, port: int, serve: ServeSettings) -> socket.socket:
    new = socket.socket(family, socket.SOCK_STREAM)
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not serve.host else 1)
        new.bind((address, port))
        new.listen(BACKLOG)
    except OSError as error:
        new.close()
        raise _refused(error, address, port, serve) from None
    except BaseException:
        new.close()
        raise
    return new


def _hint_about(serve: ServeSettings) -> str:
    """Where the host is from, if that is not what was typed, and what to say instead."""
    usual = "127.0.0.1 is this machine alone, 0.0.0.0 all of its IPv4 addresses."
    origin = next((each.origin for each in serve.resolved if each.key == "serve.host"), "default")
    return usual if origin == "default" or origin.startswith("flag") else f"It is from the {origin}. {usual}"


def _refused(error: OSError, address: str, port: int, serve: ServeSettings) -> OperationFailed | UsageError:
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if error.errno == errno.EADDRINUSE:
        return OperationFailed(
            f"{place} is taken by {who_listens(address, port)}.",
            hint="Stop that one first, or choose another port: slmctl serve --port 11435",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{address} is no address of this machine.", hint=_hint_about(serve))
    if error.errno in {errno.EACCES, errno.EPERM}:
        return OperationFailed(
            f"The system does not let you listen at {place}.", hint="Ports from 1024 up are for everybody."
        )
    return OperationFailed(
        f"{place} cannot be listened at ({os.strerror(error.errno or 0)}).", hint="Choose another one."
    )


def _open_unix(path: Path, mode: int) -> socket.socket:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise UsageError(
            f"The path of the socket is longer than {SOCKET_PATH_BYTES} bytes.", hint="Take a shorter one."
        )
    _make_room(path)
    new = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _umask(0o777 & ~mode):  # nobody gets in between bind and a chmod
            new.bind(str(path))
        new.listen(BACKLOG)
    except OSError as error:
        new.close()
        raise OperationFailed(
            f"The socket {path} cannot be made ({os.strerror(error.errno or 0)}).",
            hint="Its folder must be there, and you must be allowed to write to it.",
        ) from None
    return new


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens at any more."""
    try:
        found = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise UsageError(f"{path} is there already, and is no socket.", hint="Choose another path.")
    if (holder := who_holds(path)) is not None:
        raise OperationFailed(
            f"The socket {path} is taken by {holder}.", hint="Stop that one first, or choose another path."
        )
    path.unlink(missing_ok=True)


def private_umask() -> contextlib.AbstractContextManager[None]:
    """What is made inside is this user's alone."""
    return _umask(0o177)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
