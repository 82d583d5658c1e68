"""Clients that go away at every stage, and what they leave behind: no slot, and an engine that computes nothing."""

from __future__ import annotations

import time
from collections import Counter

from tests.faults.workers import wait_until_idle
from tests.load.apis import CHATS, openai_lane
from tests.load.lanes import ABORTS, Address, Asking, ask
from tests.servers import Server

ENDLESS = 1_000_000
"""Tokens: such an answer ends only when its client goes."""


def go_away(address: Address, model: str, *, times: int, streams: int = 8) -> Counter[tuple[str, str]]:
    """So many requests in all, over all APIs, whose clients go away; how often at which stage of which API."""
    lanes = [
        make(
            family,
            address,
            model,
            ENDLESS,
            streams=streams,
            requests=-(-times // (streams * len(CHATS))),
            aborts=ABORTS,
        )
        for family, make in CHATS.items()
    ]
    found: Counter[tuple[str, str]] = Counter()
    for family, asked in ask(*lanes).items():
        for each in asked:
            assert each.outcome == "aborted", each
            found[family, str(each.said)] += 1
    return found


def check_nothing_is_left(server: Server, model: str, slots: int) -> None:
    """Every slot can be had at the same time, and when nobody asks the engine is idle."""
    lane = openai_lane("all", server.address, model, ENDLESS, streams=slots, requests=1)
    with Asking([lane]) as asking:
        asking.wait_until_begun()
    for worker in server.workers:
        wait_until_idle(worker)


def seconds_until_free(address: Address, model: str) -> float:
    """How long the only slot of a model stays taken when its client goes away: from then to the first token of
    the next, which waits already, less what a first token takes on a free slot."""
    (free,) = ask(openai_lane("free", address, model, 3, requests=1))["free"]
    assert free.first is not None
    with Asking([openai_lane("goes", address, model, ENDLESS, requests=1)]) as going:
        going.wait_until_begun()
        with Asking([openai_lane("next", address, model, 3, requests=1)]) as waiting:
            waiting.wait_until_sent()
            going.kill()
            gone = time.monotonic()
            (next_one,) = waiting.results()["next"]
    assert next_one.outcome == "whole", next_one
    assert next_one.first is not None
    assert next_one.at < gone, "it did not wait"
    return max(0.0, next_one.at + next_one.first - gone - free.first)
