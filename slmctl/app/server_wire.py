"""What slmctl's own commands and its server say to each other: values to JSON and back, without any I/O.

An answer is NDJSON: {"text"}, {"thinking"}, {"note"}, and {"finished": {...}} last, or {"error": {...}}.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import (
    BadContent,
    DoesNotFit,
    EngineFailed,
    NotFound,
    OperationFailed,
    SlmctlError,
    Unauthorized,
    UsageError,
)
from runtimes.protocol import Event, Finished, TextDelta, ThinkingDelta

LOAD = "/slmctl/load"
ANSWER = "/slmctl/answer"
MODELS = "/slmctl/ps"
UNLOAD = "/slmctl/stop"

_BRANCHES: tuple[type[SlmctlError], ...] = (
    UsageError,
    NotFound,
    DoesNotFit,
    BadContent,
    Unauthorized,
    EngineFailed,
    OperationFailed,
)
"""The narrowest first. An error comes back as its branch, so that the exit code is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What the server said of a model that it has loaded."""

    name: str
    digest: Digest
    variant: str
    engine: str
    context_length: int
    load_seconds: float
    chat_template: str | None
    has_chat_template: bool

    def to_json(self) -> dict[str, object]:
        return {**dataclasses.asdict(self), "digest": str(self.digest)}

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> ServedModel:
        """Raises KeyError and ValueError for what is none."""
        template = fields["chat_template"]
        return cls(
            name=str(fields["name"]),
            digest=Digest.parse(str(fields["digest"])),
            variant=str(fields["variant"]),
            engine=str(fields["engine"]),
            context_length=int(str(fields["context_length"])),
            load_seconds=float(str(fields["load_seconds"])),
            chat_template=template if isinstance(template, str) else None,
            has_chat_template=fields["has_chat_template"] is True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStatus:
    """A row of the server's `ps`; see `slmctl.server.scheduler.InstanceStatus`."""

    name: str
    digest: str
    variant: str
    purpose: str
    engine: str
    state: str
    size_bytes: int
    vram_bytes: int
    context_length: int
    parallel: int
    running: int
    waiting: int
    seconds_left: float | None
    pinned: bool
    pid: int | None

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> ServedStatus:
        """Raises TypeError for what is none."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})  # type: ignore[arg-type]


def event_to_json(event: Event) -> dict[str, object] | None:
    """None for what a terminal has no use for."""
    match event:
        case TextDelta():
            return {"text": event.text}
        case ThinkingDelta():
            return {"thinking": event.text}
        case Finished():
            return {"finished": dataclasses.asdict(event)}
        case _:
            return None


def events_of(line: Mapping[str, object]) -> Iterator[Event]:
    """The event that a line is. Raises what an error line says; nothing for lines of newer servers."""
    if isinstance(text := line.get("text"), str):
        yield TextDelta(text)
    elif isinstance(thinking := line.get("thinking"), str):
        yield ThinkingDelta(thinking)
    elif isinstance(finished := line.get("finished"), Mapping):
        known = {field.name for field in dataclasses.fields(Finished)}
        yield Finished(**{name: value for name, value in finished.items() if name in known})
    elif "error" in line:
        raise error_of(line)


def error_to_json(error: SlmctlError) -> dict[str, object]:
    branch = next((each for each in _BRANCHES if isinstance(error, each)), OperationFailed)
    return {"error": {"branch": branch.code, "message": error.message, "hint": error.hint}}


def error_of(answer: Mapping[str, object]) -> SlmctlError:
    """The error that the server told of."""
    said = answer.get("error")
    if not isinstance(said, Mapping):
        return OperationFailed(str(said or "The server refused, and did not say why."))
    branch = next((each for each in _BRANCHES if each.code == said.get("branch")), OperationFailed)
    hint = said.get("hint")
    return branch(str(said.get("message")), hint=hint if isinstance(hint, str) else None)


def seconds_to_json(seconds: float | None) -> float | None:
    """How long to keep; -1 is for ever, which JSON has no number for."""
    return -1.0 if seconds is not None and math.isinf(seconds) else seconds


def seconds_of(value: float | None) -> float | None:
    return math.inf if value is not None and value < 0 else value
