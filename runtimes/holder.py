"""The holder: a small process that keeps one worker loaded between two runs of slmctl.

    run --keep ──▶ holder ──▶ worker        the first run starts the holder, and the holder the worker
    run ─────────▶   │                      later runs find it by its key, and talk to the worker themselves
                     └── leaves, and its worker with it, when nobody has used it for so long

A run holds a connection to the holder as long as it uses the worker; one may at a time, others are told that
it is busy. Messages are JSON, one to a line:

    first run   {"order": {...}, "keep": SECONDS | null}                   null: for ever
    later run   {"use": true, "identity": TEXT}   {"keep": SECONDS | null}
    anybody     {"look": true}   {"stop": true}
    holder      {"state": "ready", "socket", "key", "pid", "about", "unkept"}   why it cannot stay, or null
                {"state": "busy"}   also to another identity
                {"state": "held", "about", "pid", "in_use", "keep", "left"}   the answer to "look"
                {"state": "failed", "kind", "message", "hint", "log"}      it did not start
                {"state": "ended", "message", "hint", "log"}               it died, or was stopped

Found by `<base>/slmctl-<uid>/k-<key>`, a symbolic link to the holder's own runtime folder with its socket.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from registry.errors import SlmctlError
from runtimes.engines.catalog import engine_named
from runtimes.errors import EngineStartFailed
from runtimes.folders import RuntimeFolder
from runtimes.kept import SOCKET_NAME, keep_key
from runtimes.launch import Launch
from runtimes.lines import Connection
from runtimes.places import LINK_PREFIX, base_name
from runtimes.process import Worker

LOG_CHARACTERS = 65536
_WAITING_USERS = 16
_SEND_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_LOOK_SECONDS = 60.0
"""How often an unused holder looks whether it can still be found; a selector takes no more than 24 days."""


class Holder:
    """Owns the worker, the link and the socket; `serve` returns when all of them are gone."""

    def __init__(self, order: Mapping[str, object], keep: float | None, first: Connection) -> None:
        self._about = order["about"]
        self._identity = order["identity"]
        self._keep = keep
        self._user: Connection | None = first
        self._idle_since = time.monotonic()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._worker = Worker(_launch(order), on_end=lambda _: self._ring())
        self._failed: SlmctlError | None = None
        self._loader = threading.Thread(target=self._load, name="slmctl-holder-load", daemon=True)
        self._is_ready = False
        self._is_announced = False
        self._unkept: str | None = None
        self._lease = order["lease"]
        self._folder = RuntimeFolder.create([Path(str(each)) for each in _list(order["folders"])])
        self._link = self._folder.path.parent / f"{LINK_PREFIX}{keep_key(str(self._identity))}"

    def serve(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._folder.path / SOCKET_NAME))
            listener.listen(_WAITING_USERS)
            self._loader.start()
            self._serve(listener)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all of this is still to be done
            listener.close()
            self._take_link_away()
            with contextlib.suppress(SlmctlError):
                self._worker.stop()
            if isinstance(self._lease, str):
                with contextlib.suppress(OSError):
                    Path(self._lease).unlink()
            self._folder.remove()

    def _serve(self, listener: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            watched: Connection | None = None
            while True:
                if watched is not self._user:
                    if watched is not None:
                        selector.unregister(watched)
                    if self._user is not None:
                        selector.register(self._user, selectors.EVENT_READ)
                    watched = self._user
                ready = [key.fileobj for key, _ in selector.select(self._patience())]
                if self._woken in ready and not self._look_at_worker():
                    return
                if watched is not None and watched is self._user and watched in ready:
                    selector.unregister(watched)
                    watched = None
                    if not self._hear_user():
                        return
                if listener in ready and not self._greet(listener):
                    return
                if self._user is None and (self._left() == 0 or not self._is_found()):
                    return

    def _load(self) -> None:
        """In a thread of its own: start the worker and wait until it is ready."""
        try:
            self._worker.ensure_ready()
            self._is_ready = True
        except SlmctlError as error:
            self._failed = error
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._failed = _unexpected(error)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"!")

    def _look_at_worker(self) -> bool:
        """After a ring: tell the user what became of the worker. Whether there is still one."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(64)
        if self._worker.ended.is_set() and not self._is_ready:
            self._loader.join()  # it is about to say why
        if self._failed is not None:
            self._tell_user(_failure(self._failed, self._worker.stderr_tail[-LOG_CHARACTERS:]))
            return False
        if self._worker.ended.is_set():
            self._tell_end()
            return False
        if self._is_ready and not self._is_announced:
            self._is_announced = True
            self._put_link()
            self._tell_user(self._readiness())
        return True

    def _tell_end(self) -> None:
        end = self._worker.death(0.0)
        message = end.message if end is not None else "The engine was stopped."
        hint = end.hint if end is not None else None
        log = self._worker.stderr_tail[-LOG_CHARACTERS:]
        self._tell_user({"state": "ended", "message": message, "hint": hint, "log": log})

    def _readiness(self) -> dict[str, object]:
        endpoint = self._worker.endpoint
        return {
            "state": "ready",
            "socket": str(endpoint.socket),
            "key": endpoint.key,
            "pid": self._worker.pid,
            "about": self._about,
            "unkept": self._unkept,
        }

    def _hear_user(self) -> bool:
        """The user spoke, or is gone. Whether to go on: nobody waits for a worker that is still loading."""
        assert self._user is not None
        self._user.wait(_SEND_SECONDS)
        try:
            message = self._user.receive()
        except TimeoutError:
            message = None
        if message is None:
            self._part_from_user()
            return self._is_ready
        self._take_keep(message)
        return True

    def _part_from_user(self) -> None:
        if self._user is not None:
            self._user.close()
        self._user = None
        self._idle_since = time.monotonic()

    def _greet(self, listener: socket.socket) -> bool:
        """Somebody came: give the worker, an answer, or an end. Whether to go on."""
        try:
            sock, _ = listener.accept()
        except OSError:  # no descriptor is left: nobody gets through, and whoever wants to still stands there
            time.sleep(_PAUSE_SECONDS)
            return self._user is not None
        visitor = Connection(sock)
        visitor.wait(_SEND_SECONDS)
        try:
            message = visitor.receive() or {}
            if message.get("stop"):
                self._stop_for(visitor)
                return False
            is_free = self._user is None and self._is_ready
            if message.get("use") and message.get("identity") == self._identity and is_free:
                self._take_keep(message)
                visitor.send(self._readiness())
                self._user = visitor
                return True
            visitor.send(self._description() if message.get("look") else {"state": "busy"})
        except OSError:
            pass
        visitor.close()
        return True

    def _stop_for(self, visitor: Connection) -> None:
        """Somebody asked for the end: everything is gone before the answer."""
        self._take_link_away()
        self._worker.stop()
        self._tell_end()
        self._folder.remove()
        with contextlib.suppress(OSError):
            visitor.send({"state": "ended", "message": "The engine was stopped.", "hint": None, "log": ""})
        visitor.close()

    def _description(self) -> dict[str, object]:
        return {
            "state": "held",
            "about": self._about,
            "pid": self._worker.pid,
            "in_use": self._user is not None,
            "keep": self._keep,
            "left": self._left(),
        }

    def _take_keep(self, message: Mapping[str, object]) -> None:
        if "keep" in message:
            self._keep = _seconds(message["keep"])

    def _left(self) -> float | None:
        """Seconds until it leaves; None while it is in use and where it stays for ever."""
        if self._user is not None or self._keep is None:
            return None
        return max(0.0, self._idle_since + self._keep - time.monotonic())

    def _patience(self) -> float | None:
        """Seconds until there is something to do although nothing happens; None while it is in use."""
        if self._user is not None:
            return None
        left = self._left()
        return _LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS)

    def _tell_user(self, message: Mapping[str, object]) -> None:
        if self._user is not None:
            try:
                self._user.wait(_SEND_SECONDS)
                self._user.send(message)
            except OSError:
                self._part_from_user()

    def _put_link(self) -> None:
        """Be found from now on. Who cannot be, or comes second with the same key, leaves with its user."""
        if not self._folder.is_shared:
            self._unkept = f"{self._link.parent.parent / base_name()} belongs to others or is open to them"
            return
        try:
            with self._folder.alone():
                if not self._is_taken():
                    self._link.unlink(missing_ok=True)
                    self._link.symlink_to(self._folder.path.name)
        except OSError as error:
            self._unkept = f"{self._link.parent} takes no link ({os.strerror(error.errno or 0)})"

    def _is_found(self) -> bool:
        """Whether the next run would find this holder: whoever clears such folders up may have come by."""
        try:
            return (
                str(self._link.readlink()) == self._folder.path.name and (self._link / SOCKET_NAME).exists()
            )
        except OSError:
            return False

    def _is_taken(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.settimeout(_SEND_SECONDS)
            other.connect(str(self._link.parent / self._link.readlink() / SOCKET_NAME))
            return True
        return False

    def _take_link_away(self) -> None:
        """Unless another holder has put its own in the meantime."""
        with contextlib.suppress(OSError), self._folder.alone():
            if str(self._link.readlink()) == self._folder.path.name:
                self._link.unlink()


def _launch(order: Mapping[str, object]) -> Launch:
    """The worker's launch from the order's document (`runtimes.holding` writes it)."""
    environment, document, links = order["environment"], order["document"], order["links"]
    engine, log = engine_named(str(order["engine"])), order["log"]
    assert isinstance(environment, dict)
    assert isinstance(document, dict)
    assert isinstance(links, dict)
    return Launch(
        argv=tuple(str(each) for each in _list(order["argv"])),
        environment=environment,
        document=document,
        explain=engine.explain,
        folder_candidates=[Path(str(each)) for each in _list(order["folders"])],
        pass_fds=tuple(int(str(each)) for each in _list(order["fds"])),
        links=links,
        start_timeout_seconds=float(str(order["timeout"])),
        log=Path(log) if isinstance(log, str) else None,
        loggable=engine.loggable,
        is_at_template=engine.is_at_template,
    )


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def main() -> None:
    """The program: the first run's connection is standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    os.umask(0o077)
    first = Connection(socket.socket(fileno=os.dup(0)))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    message = first.receive()
    if message is None:
        return
    order = message["order"]
    assert isinstance(order, dict)
    try:
        Holder(order, _seconds(message.get("keep")), first).serve()
    except SlmctlError as error:
        _last_word(first, error)
    except Exception as error:  # noqa: BLE001 - nobody sees our stderr
        _last_word(first, _unexpected(error))


def _last_word(first: Connection, error: SlmctlError) -> None:
    with contextlib.suppress(OSError):
        first.send(_failure(error, ""))


def _failure(error: SlmctlError, log: str) -> dict[str, object]:
    return {
        "state": "failed",
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "log": log,
    }


def _unexpected(error: Exception) -> SlmctlError:
    """What is no error of ours: the system refused something, such as a thread more, or this is a bug."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return EngineStartFailed(
        f"The process that keeps the model loaded failed: {type(error).__name__}: {reason:.200}.",
        hint="Run it without --keep, or make room where XDG_RUNTIME_DIR or TMPDIR points.",
    )


if __name__ == "__main__":
    main()
