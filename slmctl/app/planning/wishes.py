"""What `run` is told about its plan. Apart from `running`: a run that finds a kept model makes none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtimes.planning.values import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWishes:
    """`profile` is another machine's, `planned` a plan that was made before a pull; the others as in
    `PlanRequest`, None and False where nothing was said."""

    profile: str | None = None
    prefer: str = "balanced"
    runtime: str | None = None
    kv: str | None = None
    max_memory: int | None = None
    min_speed: float | None = None
    force: bool = False
    planned: Plan | None = None

    @property
    def key(self) -> list[object]:
        """What tells wishes apart that a model was loaded with."""
        return [self.profile, self.prefer, self.runtime, self.kv, self.max_memory, self.min_speed]


NO_WISHES = RunWishes()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """What a server asks of a plan: so many slots, and whether for embeddings. `room` is how many bytes more
    than are free now would be, if others went.

    Where all tokens of a text count for its vector (any pooling but that of the last token), the engine takes
    it in one batch only, whose buffers grow with it: the context is then a modest one unless somebody asks.
    """

    parallel: int = 1
    embedding: bool = False
    room: int = 0
