"""Who is loaded, who waits, who leaves.

A front asks for a model by `use` and gets it loaded, with a slot of its own:

    name -> package (looked up anew for each request) -> queue -> loaded? else plan, make room, start -> slot

One `Instance` is one worker process; its key is the variant's digest, what it is for, and the parameters that
say how to load. A name that moved to another digest is another key from the next request on; the old instance
ends when its last stream has. Loads run in threads, one at a time, and never hold up what is loaded already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from modelfiles.spec import ModelSpec, ParameterValue
from slmctl.app.load import Loaded
from slmctl.app.package import Package, Variant
from slmctl.server.engine import EngineClient

Purpose = Literal["text", "embedding", "rank"]
"""What a worker is started for: the same model can stand in three of them."""


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
    that was there. `name` is the model's full name, which may be a label.
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
    queue_seconds: float
    load_seconds: float


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


class Scheduler:
    """Owns every worker of the server. Its methods belong to the event loop's thread."""

    @asynccontextmanager
    async def use(self, want: Want) -> AsyncGenerator[Served]:
        """The model, loaded, and one of its slots; both are given back at the end of the block.

        Raises NotFound, UsageError (a bad name), DoesNotFit (with what would fit), Busy (a queue is full, or
        the server stops), CircuitOpen, BadContent, EngineFailed.
        """
        raise NotImplementedError
        yield

    async def load(self, want: Want) -> Loaded:
        """Have it loaded and leave it so for its `keep_seconds`. Raises as `use`."""
        raise NotImplementedError

    async def unload(self, name: str) -> bool:
        """Have every instance of the model end when its last answer has; whether there was one."""
        raise NotImplementedError

    def status(self) -> list[InstanceStatus]:
        raise NotImplementedError
