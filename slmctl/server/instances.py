"""One worker of the server, and the wish to have one: values that the scheduler turns over.

loading ──▶ ready ──▶ draining ──▶ (gone)       it was told to go
   │          │
   └──────────┴─────▶ broken ────▶ (gone)       it ended by itself
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from modelfiles.spec import ParameterValue
from registry.names import short_name
from runtimes.engines.base import LaunchRequest
from runtimes.engines.catalog import engine_for
from runtimes.process import Worker
from slmctl.app.load import Purpose
from slmctl.app.loading import Begun, named_flags
from slmctl.app.package import Variant
from slmctl.app.parameters import LOAD_PARAMETERS, whole
from slmctl.app.planning.running import asked_context
from slmctl.app.planning.serving import need_of
from slmctl.config import Settings
from slmctl.server.engine import EngineClient
from slmctl.server.lookup import Found
from slmctl.server.problems import NotSupported
from slmctl.server.slots import Slots

_RANK_POOLING = 4
_LEAST_CONTEXT = 2
_WORDS = {"text": "generate", "embedding": "embed", "rank": "rerank"}

State = Literal["loading", "ready", "draining", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a model is to be loaded. `parameters` are those that the request or the config file names; what
    they leave open is open: a worker that was loaded with more is as good."""

    found: Found
    variant: Variant | None
    parameters: Mapping[str, ParameterValue]
    parallel: int | None

    @property
    def key(self) -> str:
        """What tells this way to load from another of the same model."""
        return repr((self.variant and self.variant.id, sorted(self.parameters.items()), self.parallel))


def manner_of(
    found: Found,
    given: Mapping[str, ParameterValue],
    *,
    variant: str | None,
    parallel: int | None,
    settings: Settings,
) -> Manner:
    """Raises UsageError for a value that no engine takes, NotFound for a variant that is none of the model's.

    Here, since what is found out when the model is loaded has cost the one that was loaded before.
    """
    chosen = found.package.choose(variant)
    named = {name: value for name, value in given.items() if name in LOAD_PARAMETERS}
    if "num_ctx" in named:
        asked = asked_context(named, settings)
        trained = chosen.facts.trained_context if chosen.facts is not None else None
        if asked is None:
            del named["num_ctx"]  # 0: as usual
        elif trained is not None:
            named["num_ctx"] = min(asked, trained)
    if named:
        engine = engine_for(chosen.format, chosen.facts.architecture if chosen.facts is not None else None)
        context = whole(named, "num_ctx") or _LEAST_CONTEXT
        drafted = whole(named, "draft_num_predict")
        request = LaunchRequest(model="", context_length=context, draft_tokens=drafted, **named_flags(named))
        engine.command(request)
    return Manner(
        found=found, variant=chosen if variant is not None else None, parameters=named, parallel=parallel
    )


def check_purpose(found: Found, purpose: Purpose) -> None:
    """Raise NotSupported for what a model of this kind cannot be started for."""
    facts = [each.facts for each in found.package.variants if each.facts is not None]
    ranks = any(each.pooling == _RANK_POOLING for each in facts)
    encodes = any(each.causal is False or (each.pooling or 0) > 0 for each in facts)
    wrong = {"text": encodes, "embedding": ranks, "rank": bool(facts) and not ranks}[purpose]
    if wrong:
        raise NotSupported(f'"{short_name(found.name)}" does not support {_WORDS[purpose]}')


class Instance:
    """One worker. All but `worker` belongs to the event loop; `gone` is set when nothing of it is left."""

    def __init__(self, manner: Manner, purpose: Purpose, keep_seconds: float, now: float) -> None:
        self.manner = manner
        self.purpose = purpose
        self.keep_seconds = keep_seconds
        self.used_at = now
        self.state: State = "loading"
        self.begun: Begun | None = None
        self.engine: EngineClient | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.parallel = 1
        self.size_bytes = 0
        self.vram_bytes = 0
        self.running = 0
        self.slots = Slots(1)
        self.suspicions = 0
        self.learned = False
        self.answered = False
        self.ended = False
        self.stopped_for: str | None = None
        self.ready_at: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.gone = asyncio.Event()

    @property
    def worker(self) -> Worker | None:
        if self.begun is None:
            return None
        assert isinstance(self.begun.worker, Worker)
        return self.begun.worker

    def started(self, begun: Begun, capabilities: frozenset[str]) -> None:
        """There is a process now, which loads."""
        self.begun = begun
        self.capabilities = capabilities
        self.size_bytes, self.vram_bytes = need_of(begun.decided)
        if begun.decided.launch is not None:
            self.parallel = begun.decided.launch.parallel
        elif self.manner.parallel is not None:
            self.parallel = self.manner.parallel
        self.slots = Slots(self.parallel)

    def suspect(self, broken: bool) -> None:
        """A connection broke, or the worker turned out to live all the same."""
        self.suspicions += 1 if broken else -1

    def suits(self, manner: Manner) -> bool:
        """Whether who wants it loaded this way can use it as it is."""
        begun = self.begun
        if begun is None:
            return manner.key == self.manner.key
        if manner.variant is not None and manner.variant.digest != begun.variant.digest:
            return False
        has = {**begun.variant.spec.parameters, **self.manner.parameters}
        for name, value in manner.parameters.items():
            if name == "num_ctx" and begun.about.context_length == value:
                continue
            if has.get(name) != value:
                return False
        return True

    @property
    def is_free(self) -> bool:
        """Whether another request can be answered at once."""
        return self.state == "ready" and not self.suspicions and self.running < self.parallel
