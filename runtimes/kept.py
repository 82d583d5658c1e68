"""Finding the worker that an earlier run left loaded, and using it: slmctl's side of `runtimes.holder`.

Apart from `holding`, which leaves one, because the run that finds one must start fast.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.errors import EngineFailed
from runtimes.client import Endpoint
from runtimes.errors import EngineDied
from runtimes.lines import Connection
from runtimes.places import LINK_PREFIX, shared_base

SOCKET_NAME = "h.sock"
_GREETING_SECONDS = 5.0
_STOP_SECONDS = 15.0
_KILL_SECONDS = 5.0
_FOLDER = re.compile(r"w-[0-9a-f]+")


def keep_key(identity: str) -> str:
    """The key under which a worker is kept. It only finds; `find_kept` compares what `identity` says."""
    return f"{zlib.crc32(identity.encode()):08x}"


class Kept:
    """A worker that a holder keeps, in use by us until `close`; stands where a Worker does.

    `about` is what the run that loaded it left to be known; `ended` is set when the worker is gone. `unkept`
    says why it cannot stay when we are gone; None where it can.
    """

    def __init__(self, connection: Connection, greeting: Mapping[str, object]) -> None:
        about = greeting.get("about")
        self.endpoint = Endpoint(Path(str(greeting["socket"])), str(greeting["key"]))
        pid = greeting.get("pid")
        self.pid = pid if isinstance(pid, int) else None
        self.about: Mapping[str, object] = about if isinstance(about, dict) else {}
        self.unkept = _text(greeting.get("unkept"))
        self.ended = threading.Event()
        self._connection = connection
        self._end: Mapping[str, object] = {}
        self._thread = threading.Thread(target=self._listen, name="slmctl-kept", daemon=True)
        self._thread.start()

    def ensure_ready(self) -> Endpoint:
        """It was ready when it was found."""
        return self.endpoint

    @property
    def stderr_tail(self) -> str:
        """The engine's last output; known only once it has ended."""
        return str(self._end.get("log", ""))

    def death(self, timeout_seconds: float) -> EngineFailed | None:
        """Wait so long for the end; give it as an error, None while it lives."""
        if not self.ended.wait(timeout_seconds):
            return None
        message = self._end.get("message") or "The process that kept the model loaded is gone."
        return EngineDied(str(message), hint=_text(self._end.get("hint")))

    def kill(self) -> None:
        """End it at once: it does what it should not. Its holder leaves with it."""
        if self.pid is not None and not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.ended.wait(_KILL_SECONDS)

    def keep_for(self, seconds: float | None) -> None:
        """How long the worker stays loaded after we are gone; None for ever, 0 not at all."""
        with contextlib.suppress(OSError):
            self._connection.send({"keep": seconds})

    def close(self) -> None:
        """Leave the worker to its holder."""
        self._connection.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        """In a thread of its own: the holder says nothing more until the worker's end."""
        self._end = self._connection.receive() or {}
        self.ended.set()


def find_kept(folder_candidates: Sequence[Path], identity: str) -> Kept | None:
    """Take the worker of that identity into use; None when there is none, or somebody else uses it.

    `identity` says all that a worker was loaded with.
    """
    for link in _links(folder_candidates, keep_key(identity)):
        connection = _connect(link)
        if connection is None:
            continue
        greeting = _ask(connection, {"use": True, "identity": identity})
        if greeting.get("state") == "ready":
            connection.wait(None)
            return Kept(connection, greeting)
        connection.close()
    return None


def look(folder_candidates: Sequence[Path]) -> list[Mapping[str, object]]:
    """What is kept loaded now: each holder's answer to "look", in no order."""
    answers: list[Mapping[str, object]] = []
    for link in _links(folder_candidates, "*"):
        connection = _connect(link)
        if connection is not None:
            answer = _ask(connection, {"look": True})
            connection.close()
            if answer.get("state") == "held":
                answers.append({**answer, "key": link.name.removeprefix(LINK_PREFIX)})
    return answers


def stop(folder_candidates: Sequence[Path], key: str) -> bool:
    """End the worker kept under `key`, in use or not; whether there was one. Returns when it is gone."""
    stopped = False
    for link in _links(folder_candidates, key):
        connection = _connect(link)
        if connection is not None:
            connection.wait(_STOP_SECONDS)
            stopped |= _ask(connection, {"stop": True}).get("state") == "ended"
            connection.close()
    return stopped


def _links(folder_candidates: Sequence[Path], key: str) -> Iterator[Path]:
    for candidate in folder_candidates:
        base = shared_base(candidate)
        if base is not None:
            yield from base.glob(f"{LINK_PREFIX}*") if key == "*" else [base / f"{LINK_PREFIX}{key}"]


def _connect(link: Path) -> Connection | None:
    """To the holder behind a link; None when there is none any more."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = str(link.readlink())
        if not _FOLDER.fullmatch(folder):
            raise FileNotFoundError
        sock.settimeout(_GREETING_SECONDS)
        sock.connect(str(link.parent / folder / SOCKET_NAME))
    except OSError:
        sock.close()
        return None
    return Connection(sock)


def _ask(connection: Connection, message: Mapping[str, object]) -> Mapping[str, object]:
    """The holder's answer; empty when it gives none in time."""
    try:
        connection.send(message)
        return connection.receive() or {}
    except OSError:
        return {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
