"""Lanes: so many streams at once of one kind of request, asked by `tests.load.asking` in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.slmctl.cli.program import REPOSITORY

Address = tuple[str, int] | Path
Form = Literal["sse", "ndjson", "json", "text"]

ABORTS = ("connected", "half head", "head", "half body", "sent", "answered", "tokens")
"""Where a client may go away: before its head is sent, in the middle of it ... after a few tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """`streams` at once, each asking one of `bodies` after the other, each so many `requests` or for so many
    `seconds` (what has begun by then ends by itself).

    `mark` is what stands before the text of a token in an event, `end` what stands in the last one. With
    `fresh` each request has a connection of its own. `aborts` are stages of ABORTS, taken in turn. `delay` is
    between the streams' first requests, `pause` between requests of one stream; an answer that says nothing
    for `silence` seconds is broken off.
    """

    name: str
    address: Address
    bodies: Sequence[str] = ("",)
    path: str = "/v1/chat/completions"
    method: str = "POST"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    form: Form = "sse"
    mark: str = '"content":"'
    end: str = "[DONE]"
    streams: int = 1
    requests: int | None = None
    seconds: float | None = None
    fresh: bool = True
    aborts: tuple[str, ...] = ()
    delay: float = 0.0
    pause: float = 0.0
    silence: float = 60.0

    def document(self) -> dict[str, object]:
        unix = isinstance(self.address, Path)
        return {
            **dataclasses.asdict(self),
            "address": str(self.address) if isinstance(self.address, Path) else list(self.address),
            "host": "localhost" if unix else f"{self.address[0]}:{self.address[1]}",  # type: ignore[index]
            "bodies": list(self.bodies),
            "headers": dict(self.headers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request and what became of it. `at` is by time.monotonic, which all processes share; times are in
    seconds. `pieces` counts the events with text, of one token or several. `said` is the answer's usage, an
    error's JSON, or why it is broken.

    Outcomes: whole; error (well formed in the API's way, before or in the stream); refused (no byte of an
    answer came); aborted (by us); broken (everything else).
    """

    at: float
    outcome: Literal["whole", "error", "refused", "aborted", "broken"]
    status: int | None
    seconds: float
    first: float | None
    pieces: int
    gap: float
    said: Any
    bytes: int

    @property
    def generated(self) -> int | None:
        """How many tokens the server says that it generated."""
        for fields in self.said if isinstance(self.said, list) else []:
            usage = fields.get("usage") or {}
            counts = (usage.get("completion_tokens"), usage.get("output_tokens"), fields.get("eval_count"))
            for count in counts:
                if isinstance(count, int):
                    return count
        return None


class Asking:
    """The client process. `finish` lets what runs end and gives what became of each request, by lane."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self.cpu_seconds = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.asking"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([lane.document() for lane in lanes]) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def kill(self) -> None:
        """All its clients go away, in the middle of whatever they do."""
        self._process.kill()
        self._process.wait()

    def wait_until_sent(self) -> None:
        """Until each stream has asked."""
        self._wait_for("sent")

    def wait_until_begun(self) -> None:
        """Until each stream has its first token, or has asked before."""
        self._wait_for("begun")

    def results(self) -> dict[str, list[Asked]]:
        """What became of each request, when all lanes are over by themselves."""
        told = self._wait_for("asked")
        self.cpu_seconds = told["cpu_seconds"]
        return {name: [Asked(**fields) for fields in asked] for name, asked in told["asked"].items()}

    def finish(self) -> dict[str, list[Asked]]:
        """Begin no more requests, and give the results."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.results()

    def _wait_for(self, name: str) -> dict[str, Any]:
        while name not in (told := self._line()):
            assert "asked" not in told, f"all is over without {name}"
        return told

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the client process ended without a result"
        fields: dict[str, Any] = json.loads(line)
        return fields


def ask(*lanes: Lane) -> dict[str, list[Asked]]:
    """Ask all of it, to the end."""
    with Asking(lanes) as asking:
        return asking.results()
