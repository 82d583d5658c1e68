"""The server's log: one line for each request, JSON for programs, short text on a terminal.

It names who asked for what and how it went, never what was said: no prompt, no answer, no key. Of an error
that nobody foresaw it tells the type and the place in our own code, not its text, which may quote a prompt.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

from registry.errors import (
    DigestMismatch,
    DoesNotFit,
    EngineFailed,
    NoSpace,
    SizeMismatch,
    SlmctlError,
    StoreUnusable,
    Unreachable,
)
from slmctl.server.call import Call
from slmctl.server.problems import Busy, Problem

Level = Literal["info", "warning", "error"]

_MOST_WAITING = 10_000
_MOST_CHARACTERS = 2_000
_MOST_A_SECOND = 20
_MOST_OF_A_PROMPT = 100_000
_GATHER_SECONDS = 0.02
_CLOSE_SECONDS = 5.0
_PACKAGES = ("slmctl", "runtimes", "modelfiles", "registry")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ROOT = str(Path(__file__).resolve().parents[2])
_TOLD = (Busy, DoesNotFit, EngineFailed, NoSpace, StoreUnusable, Unreachable)
"""Errors whose sentence is of the machine's state, and quotes nothing that was sent."""


class ServerLog:
    """Writes lines from a thread of its own: a reader that stands still holds up nobody. What does not fit
    into the queue is dropped, and how much it was is said.

    `as_json` None means: unless the stream is a terminal.
    """

    def __init__(
        self, stream: TextIO | None = None, *, as_json: bool | None = None, log_prompts: bool = False
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._as_json = not self._stream.isatty() if as_json is None else as_json
        self.log_prompts = log_prompts
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._told: dict[str, tuple[float, int]] = {}
        self._news = threading.Event()
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def event(self, level: Level, event: str, **fields: object) -> None:
        """One line. Fields that are None are left out."""
        line: dict[str, object] = {"ts": _now(), "level": level, "event": event}
        line.update((key, value) for key, value in fields.items() if value is not None)
        if len(self._lines) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._lines.append(_as_json(line) if self._as_json else _as_text(line))
        if not self._news.is_set():
            self._news.set()

    def may_tell(self, kind: str) -> bool:
        """Whether another line of this kind may be written: so many in a second, and then how many more there
        were."""
        now = time.monotonic()
        began, count = self._told.get(kind, (0.0, 0))
        if now - began >= 1.0:
            if count > _MOST_A_SECOND:
                self.event("warning", "lines_left_out", kind=kind, count=count - _MOST_A_SECOND)
            began, count = now, 0
        self._told[kind] = (began, count + 1)
        return count < _MOST_A_SECOND

    def note(self, call: Call, text: str) -> None:
        """A sentence beside a request, such as on an option that means nothing here."""
        self.event("info", "note", request_id=call.request_id, text=text)

    def request(
        self,
        call: Call,
        *,
        code: int,
        seconds: float,
        client: str | None,
        trace_id: str | None,
        path: str | None,
    ) -> None:
        """The line of a request that has ended. `path` is the endpoint's, with its parameters' names."""
        told = call.told
        self.event(
            "info" if code < 500 else "warning",
            "request",
            request_id=call.request_id,
            trace_id=trace_id,
            principal=call.principal,
            client=client,
            method=_method(call),
            path=path,
            status=code,
            code=told.error_code,
            model=told.model,
            digest=told.digest,
            finish_reason=told.finish_reason,
            seconds=seconds,
            queue_seconds=told.queue_seconds,
            load_seconds=told.load_seconds,
            first_token_seconds=told.first_token_seconds,
            prompt_tokens=told.prompt_tokens,
            cached_tokens=told.cached_tokens,
            generated_tokens=told.generated_tokens,
            cut_tokens=told.cut_tokens,
        )

    def failure(self, call: Call, error: BaseException) -> Problem:
        """What `error` is to the client; the log says what is ours to know."""
        problem = Problem.of(error)
        call.told.error_code = problem.code
        if isinstance(error, DigestMismatch | SizeMismatch):
            call.state.metrics.verify_failed()
        if problem.status >= 500:
            foreseen = isinstance(error, SlmctlError)
            self.event(
                "warning" if foreseen else "error",
                "failure",
                request_id=call.request_id,
                code=problem.code,
                type=type(error).__name__,
                text=error.message if isinstance(error, _TOLD) else None,
                place=None if isinstance(error, Busy) else place(error),
            )
        return problem

    def failed(self, what: str, error: BaseException, **fields: object) -> None:
        """Something in the background went wrong."""
        text = error.message if isinstance(error, _TOLD) else None
        self.event("error", what, type=type(error).__name__, text=text, place=place(error), **fields)

    def prompt(self, call: Call, body: bytes) -> None:
        """What was asked, as it came; only where the settings say so."""
        if self.log_prompts:
            text = body.decode("utf-8", "replace")
            rest = len(text) - _MOST_OF_A_PROMPT
            parts = (text[:_MOST_OF_A_PROMPT], f"... and {rest} characters more" if rest > 0 else "")
            self.event("info", "prompt", request_id=call.request_id, request=_Whole("".join(parts)))

    def close(self) -> None:
        """Return when all lines are written, or their reader does not take them."""
        self._closed.set()
        self._news.set()
        self._writer.join(_CLOSE_SECONDS)

    def _write(self) -> None:
        """In a thread: what has gathered, again and again. Each waking costs the event loop a little: lines
        that come one after the other are waited for together."""
        while not self._closed.is_set():
            self._news.wait()
            self._closed.wait(_GATHER_SECONDS)
            self._news.clear()
            self._write_gathered()
        self._write_gathered()

    def _write_gathered(self) -> None:
        if self._dropped:
            count, self._dropped = self._dropped, 0
            lost = {"ts": _now(), "level": "warning", "event": "lines_lost", "count": count}
            self._lines.appendleft(_as_json(lost) if self._as_json else _as_text(lost))
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the server goes on
            while self._lines:
                self._stream.write(self._lines.popleft())
            self._stream.flush()


class LogHandler(logging.Handler):
    """Takes what libraries log, such as uvicorn, without the texts of errors."""

    def __init__(self, log: ServerLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        first = record.getMessage().partition("\n")[0]
        self._log.event(
            "error" if record.levelno >= logging.ERROR else "warning",
            "library",
            logger=record.name,
            text=first[:200],
            type=type(error).__name__ if error is not None else None,
            place=place(error) if error is not None else None,
        )


def _method(call: Call) -> str:
    """The method, of those that there are: a client can make up any."""
    return call.request.method if call.request.method in _METHODS else "other"


def place(error: BaseException) -> str | None:
    """Where in our own code `error` was raised, or what it called raised it: `slmctl/server/guard.py:12`."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = frame.filename.removeprefix(f"{_ROOT}/")
        if path.startswith(tuple(f"{package}/" for package in _PACKAGES)):
            return f"{path}:{frame.lineno}"
    return None


class _Whole(str):
    """A text that is not cut."""

    __slots__ = ()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_json(line: Mapping[str, object]) -> str:
    """ASCII only: control characters, and what turns the direction of a terminal's text, are escaped."""
    return json.dumps({key: _short(value) for key, value in line.items()}, default=str) + "\n"


def _as_text(line: Mapping[str, object]) -> str:
    rest = " ".join(
        f"{key}={_plain(value)}" for key, value in line.items() if key not in {"ts", "level", "event"}
    )
    return f"{str(line['ts'])[11:19]} {str(line['level']).upper():7} {line['event']} {rest}".rstrip() + "\n"


def _short(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, _Whole):
        return value[:_MOST_CHARACTERS]
    if isinstance(value, float):
        return round(value, 6)
    return value


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = _short(value)
    if isinstance(text, str) and text and text.isascii() and text.isprintable() and " " not in text:
        return text
    return json.dumps(text, default=str)
