"""Streams of one kind against one server, measured by a client process of its own."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.load.lanes import Address, Asked, Asking, Lane

_WORDS = "once upon a time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A server. `pids` are its processes whose processor time is told, the engine's not among them."""

    name: str
    address: Address
    headers: Mapping[str, str]
    model: str
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load:
    """So many streams at once, each asking `requests` times for exactly `tokens` tokens.

    `bias` keeps the model from ending its answers by itself.
    """

    streams: int
    tokens: int
    requests: int = 1
    bias: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one load gave: tokens per second of all streams together, seconds to each answer's first token,
    the widest pause in one of them, and processor seconds of the server and of the client for a token."""

    rate: float
    first: tuple[float, ...]
    gap: float
    server_cpu: float
    client_cpu: float

    @property
    def median_first(self) -> float:
        return statistics.median(self.first)


def measure(side: Side, load: Load, number: int) -> Run:
    """Put the load on `side`. Prompts differ with `number`, so that no cache knows them; both sides get the
    same ones. Raises AssertionError when an answer is not what was asked for."""
    lane = Lane(
        name="load",
        address=side.address,
        headers=side.headers,
        bodies=[
            _body(side.model, load, f"{number} {index}") for index in range(load.streams * load.requests)
        ],
        streams=load.streams,
        requests=load.requests,
    )
    before = sum(map(cpu_seconds, side.pids))
    with Asking([lane]) as asking:
        asked = asking.results()["load"]
    used = sum(map(cpu_seconds, side.pids)) - before
    check(asked, load)
    begin, end = min(each.at for each in asked), max(each.at + each.seconds for each in asked)
    tokens = load.tokens * len(asked)
    return Run(
        rate=tokens / (end - begin),
        first=tuple(each.first for each in asked if each.first is not None),
        gap=max(each.gap for each in asked),
        server_cpu=used / tokens,
        client_cpu=asking.cpu_seconds / tokens,
    )


def check(asked: Sequence[Asked], load: Load) -> None:
    assert len(asked) == load.streams * load.requests
    for each in asked:
        assert each.outcome == "whole", each
        assert each.generated == load.tokens, each


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, to the nanosecond (Linux); 0 for one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    return 0.0


def _body(model: str, load: Load, salt: str) -> str:
    turn = f"{salt} {_WORDS}"
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": turn}],
            "max_tokens": load.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({} if load.bias is None else {"logit_bias": dict(load.bias)}),
        }
    )
