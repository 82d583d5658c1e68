"""Whether a model may be loaded beside the others, and who leaves for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slmctl.server.instances import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A worker that takes memory. `wanted` is whether anybody is answered by it, or waits for it."""

    instance: Instance
    wanted: bool
    pinned: bool

    @property
    def is_idle(self) -> bool:
        return not self.wanted and not self.pinned and self.instance.state == "ready"


def bytes_left(neighbours: Iterable[Neighbour], max_memory: int | None) -> int | None:
    """What of the budget for all models the others leave; None where there is no budget."""
    if max_memory is None:
        return None
    return max(0, max_memory - sum(each.instance.size_bytes for each in neighbours))


def next_to_leave(neighbours: Iterable[Neighbour]) -> Instance | None:
    """The idle one that was used least recently; None while all are in use, pinned or leaving."""
    idle = [each.instance for each in neighbours if each.is_idle]
    return min(idle, key=lambda instance: instance.used_at, default=None)


def could_leave(neighbours: Iterable[Neighbour]) -> list[Instance]:
    """Those that may leave some time, and whose memory may so become free."""
    return [each.instance for each in neighbours if not each.pinned]
