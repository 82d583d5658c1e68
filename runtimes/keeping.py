"""Leaving a worker loaded, and finding one that was left: slmctl's side of `runtimes.holder`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.errors import DoesNotFit, EngineFailed, MalformedFile, OperationFailed, SlmctlError
from runtimes.client import Endpoint
from runtimes.errors import (
    EngineDied,
    EngineStartFailed,
    EngineStartTimeout,
    EngineUnavailable,
    ModelTooBig,
)
from runtimes.folders import shared_base
from runtimes.holder import LINK_PREFIX, SOCKET_NAME, Connection
from runtimes.launch import Launch

_GREETING_SECONDS = 2.0
_STOP_SECONDS = 15.0
_FOLDER = re.compile(r"w-[0-9a-f]+")
_HOME = Path(__file__).parents[1]

# forks once more, so that the holder is nobody's child and leaves no zombie behind
_PROGRAM = (
    "import os, sys; os.fork() and os._exit(0); sys.path.append(sys.argv[1]); "
    "from runtimes.holder import main; main()"
)


def keep_key(identity: Mapping[str, object]) -> str:
    """The key under which a worker is kept; `identity` says all that it was loaded with."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Kept:
    """A worker that a holder keeps, in use by us until `close`; stands where a Worker does.

    `about` is what the run that loaded it left to be known; `ended` is set when the worker is gone.
    """

    def __init__(self, connection: Connection, greeting: Mapping[str, object]) -> None:
        about = greeting.get("about")
        self.endpoint = Endpoint(Path(str(greeting["socket"])), str(greeting["key"]))
        self.about: Mapping[str, object] = about if isinstance(about, dict) else {}
        self.ended = threading.Event()
        self._connection = connection
        self._end: Mapping[str, object] = {}
        self._thread = threading.Thread(target=self._listen, name="slmctl-kept", daemon=True)
        self._thread.start()

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


def find_kept(folder_candidates: Sequence[Path], key: str) -> Kept | None:
    """Take the worker kept under `key` into use; None when there is none or somebody else uses it."""
    for link in _links(folder_candidates, key):
        connection = _connect(link)
        if connection is None:
            continue
        greeting = _ask(connection, {"use": True})
        if greeting.get("state") == "ready":
            connection.wait(None)
            return Kept(connection, greeting)
        connection.close()
    return None


def start_kept(
    launch: Launch,
    *,
    engine: str,
    key: str,
    about: Mapping[str, object],
    keep_seconds: float | None,
    on_log: Callable[[str], None],
) -> Kept:
    """Have a holder start `launch`, wait until its worker is ready, and take it into use.

    `keep_seconds` None keeps it for ever. Raises what the worker's `ensure_ready` would raise, after
    `on_log` was given the engine's last output.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours)
        try:
            holder = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(_HOME)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(launch.environment),
                cwd="/",
                pass_fds=launch.pass_fds,
                start_new_session=True,
            )
            holder.wait()
        except OSError as error:
            connection.close()
            raise EngineStartFailed(f"The holder cannot be started: {error.strerror}.") from None
        except BaseException:
            connection.close()
            raise
    try:
        connection.send({"order": _order(launch, engine, key, about), "keep": keep_seconds})
        greeting = connection.receive() or {}
        if greeting.get("state") != "ready":
            on_log(str(greeting.get("log") or ""))
            raise _failure(greeting)
        return Kept(connection, greeting)
    except OSError:
        connection.close()
        raise EngineStartFailed("The process that was to keep the model loaded is gone.") from None
    except BaseException:
        connection.close()
        raise


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


def _order(launch: Launch, engine: str, key: str, about: Mapping[str, object]) -> dict[str, object]:
    return {
        "engine": engine,
        "key": key,
        "about": dict(about),
        "argv": list(launch.argv),
        "environment": dict(launch.environment),
        "document": dict(launch.document),
        "folders": [str(folder) for folder in launch.folder_candidates],
        "fds": list(launch.pass_fds),
        "links": dict(launch.links),
        "timeout": launch.start_timeout_seconds,
        "log": str(launch.log) if launch.log is not None else None,
    }


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
    except (OSError, TimeoutError):
        return {}


def _failure(greeting: Mapping[str, object]) -> SlmctlError:
    """The error that the holder met, as one of ours."""
    message = str(greeting.get("message") or "The process that was to keep the model loaded is gone.")
    kind = _KINDS.get(str(greeting.get("kind")), EngineStartFailed)
    return kind(message, hint=_text(greeting.get("hint")))


_KINDS: Mapping[str, type[SlmctlError]] = {
    kind.__name__: kind
    for kind in (
        DoesNotFit,
        EngineFailed,
        EngineStartFailed,
        EngineStartTimeout,
        EngineUnavailable,
        MalformedFile,
        ModelTooBig,
        OperationFailed,
    )
}
"""The errors that a start may end with, by their names."""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
