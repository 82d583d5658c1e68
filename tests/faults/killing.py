"""Workers killed again and again under load: what that costs, and whom."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.workers import worker_with
from tests.load.apis import CHATS, is_well_formed, openai_lane
from tests.load.lanes import Address, Asked, Asking, ask
from tests.processes import until

STREAMS = 2
"""Of each API, for each of the two models."""

HIT_SECONDS = 0.25
"""A request that begins so long after a kill may still meet the worker that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """What became of the requests to the model whose workers were killed, and to the other one. `recoveries`
    are seconds from a kill to the first token of a request that began after it."""

    kills: Sequence[float]
    hit: dict[str, list[Asked]]
    other: list[Asked]
    recoveries: Sequence[float]

    def check(self) -> None:
        """Raises AssertionError with what should not be."""
        bad = [each for each in self.other if each.outcome != "whole"]
        assert not bad, f"{len(bad)} of {len(self.other)} answers of the other model, as {bad[0]}"
        assert self.errors >= len(self.kills), "a kill that hit nobody shows nothing"
        assert len(self.recoveries) == len(self.kills), (self.kills, self.recoveries)
        for family, asked in self.hit.items():
            assert any(each.outcome == "whole" for each in asked), family
            for each in asked:
                if each.outcome != "whole":
                    assert is_well_formed(family, each), (family, each)
                    assert self._was_in_flight(each), (family, each, self.kills)

    @property
    def errors(self) -> int:
        return sum(each.outcome == "error" for asked in self.hit.values() for each in asked)

    def _was_in_flight(self, asked: Asked) -> bool:
        end = asked.at + asked.seconds
        return any(asked.at - HIT_SECONDS <= kill <= end for kill in self.kills)


def kill_again_and_again(
    server: int, address: Address, *, hit: tuple[str, str], other: str, every: float, times: int
) -> Killed:
    """Put load on two models and kill the worker of `hit` (its name, and the digest of its weights) `times`
    times, `every` so many seconds, but not before the one before has answered."""
    lanes = [
        make(f"{family} {which}", address, model, 100, streams=STREAMS)
        for family, make in CHATS.items()
        for which, model in (("hit", hit[0]), ("other", other))
    ]
    with Asking(lanes) as asking:
        asking.wait_until_begun()
        kills = []
        begin = time.monotonic()
        for number in range(times):
            time.sleep(max(0.0, begin + (number + 1) * every - time.monotonic()))
            worker = until(lambda: worker_with(server, hit[1]))
            kills.append(time.monotonic())
            os.kill(worker, signal.SIGKILL)
            until(lambda: _answers(address, hit[0]))
        time.sleep(min(1.0, every))
        asked = asking.finish()
    told = {family: asked[f"{family} hit"] for family in CHATS}
    return Killed(
        kills=kills,
        hit=told,
        other=[each for family in CHATS for each in asked[f"{family} other"]],
        recoveries=list(_recoveries(kills, [each for lane in told.values() for each in lane])),
    )


def _answers(address: Address, model: str) -> bool | None:
    (asked,) = ask(openai_lane("probe", address, model, 3, requests=1))["probe"]
    return asked.outcome == "whole" or None


def _recoveries(kills: Sequence[float], asked: Sequence[Asked]) -> list[float]:
    """Of each kill, the time to the first token of what was asked after it, before the next kill."""
    tokens = sorted((each.at, each.at + each.first) for each in asked if each.first is not None)
    found = []
    for kill, end in zip(kills, [*kills[1:], float("inf")], strict=True):
        later = [first for at, first in tokens if kill < at and first < end]
        if later:
            found.append(min(later) - kill)
    return found
