"""What the scheduler is asked for, and what it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from modelfiles.spec import ModelSpec, ParameterValue
from slmctl.app.load import Loaded, Purpose
from slmctl.app.package import Package, Variant
from slmctl.server.engine import EngineClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Which model is wanted, by the name as the client wrote it.

    Of `parameters` only those that say how to load count (LOAD_PARAMETERS). `keep_seconds` is how long it
    stays after its last use: infinity until it is told to go, 0 not at all, None the model's or the server's
    own. `principal` is the key's id, for the queue of each key.
    """

    name: str
    purpose: Purpose = "text"
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    keep_seconds: float | None = None
    principal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A loaded model with a slot in it, for as long as the `use` lasts.

    `queue_seconds` and `load_seconds` are what this request waited for each; `load_seconds` is 0 for a model
    that was there. `name` is the model's full name, which may be a label. `chat_template` is the package's in
    Jinja, else the file's own; a TEMPLATE in Go stands in `spec`, where the config file's parameters stand
    over the author's. `environment` is for child processes, `max_tokens` the most that an answer may have.
    """

    name: str
    about: Loaded
    package: Package
    variant: Variant
    capabilities: frozenset[str]
    """Of "completion", "tools", "thinking", "vision", "insert", "embedding", "rerank"."""
    spec: ModelSpec
    chat_template: str | None
    has_chat_template: bool
    engine: EngineClient
    environment: Mapping[str, str]
    max_tokens: int | None
    queue_seconds: float
    load_seconds: float
    slot: int | None = None
    """Which of the engine's slots answers; None leaves that to the engine."""
    fresh: bool = False
    """Whether nothing that the slot computed before may be used: it was for somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """A row of `ps`. `size_bytes` is the plan's need, `vram_bytes` what of it is on a device; `seconds_left`
    is None while it is in use and where it stays. `state` is "loading", "ready", "draining" or "broken".
    """

    name: str
    digest: str
    variant: str
    purpose: Purpose
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
