"""Load on a running server: many streams for a while, /livez beside them, the server's memory, a load of a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.workers import resident_bytes
from tests.load.apis import CHATS, live_lane
from tests.load.lanes import Address, Asked, Asking

SAMPLE_SECONDS = 0.25
WARM_SHARE = 0.3
"""Of the time: what the server keeps for good it has by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`memory` are (when, bytes) of the server's process; times are by time.monotonic."""

    begin: float
    end: float
    asked: Sequence[Asked]
    live: Sequence[Asked]
    memory: Sequence[tuple[float, int]]

    def check(self, *, growth_bytes: int, live_seconds: float) -> None:
        """Raises AssertionError for an error, for memory that grew, for a late answer of /livez (99 of 100)."""
        bad = [each for each in (*self.asked, *self.live) if each.outcome != "whole"]
        assert not bad, f"{len(bad)} of {len(self.asked)}, as {bad[0]}"
        assert self.asked
        assert self.growth_bytes < growth_bytes, self.memory
        assert self.live_p99 < live_seconds, self.live_p99

    @property
    def tokens_per_second(self) -> float:
        return sum(each.generated or 0 for each in self.asked) / (self.end - self.begin)

    @property
    def live_p99(self) -> float:
        """Seconds within which /livez answered 99 of 100 times."""
        ordered = sorted(each.seconds for each in self.live)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]

    @property
    def growth_bytes(self) -> int:
        """By how much the server's memory at the end is above that after the warm-up."""
        warm = self.begin + WARM_SHARE * (self.end - self.begin)
        span = 0.2 * (self.end - self.begin)
        early = [size for at, size in self.memory if warm <= at <= warm + span]
        late = [size for at, size in self.memory if at >= self.end - span]
        return max(late) - max(early)

    def gap(self, begin: float, end: float) -> float:
        """The widest pause inside of an answer that ran between two moments."""
        return max(
            (each.gap for each in self.asked if begin < each.at + each.seconds and each.at < end), default=0.0
        )


def put_streams(
    server: int,
    address: Address,
    models: Sequence[str],
    *,
    streams: int,
    seconds: float,
    tokens: int = 60,
    meanwhile: Callable[[], object] = lambda: None,
) -> Loaded:
    """`streams` at once, over all APIs and models, for so long; `meanwhile` runs in a thread of its own."""
    kinds = [(family, make, model) for family, make in CHATS.items() for model in models]
    lanes = [
        make(
            f"{family} {model}",
            address,
            model,
            tokens,
            streams=streams // len(kinds) + (number < streams % len(kinds)),
            seconds=seconds,
        )
        for number, (family, make, model) in enumerate(kinds)
    ]
    probes = [live_lane("live", address, seconds=seconds, pause=0.02)]
    memory: list[tuple[float, int]] = []
    failed: list[BaseException] = []

    def act() -> None:
        try:
            meanwhile()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    begin = time.monotonic()
    with Asking(lanes) as asking, Asking(probes) as probing:
        thread = threading.Thread(target=act)
        thread.start()
        while (now := time.monotonic()) < begin + seconds:
            memory.append((now, resident_bytes(server)))
            time.sleep(SAMPLE_SECONDS)
        end = time.monotonic()
        asked, live = asking.results(), probing.results()["live"]
        thread.join()
    if failed:
        raise failed[0]
    return Loaded(
        begin=begin,
        end=end,
        asked=[each for lane in asked.values() for each in lane],
        live=live,
        memory=memory,
    )
