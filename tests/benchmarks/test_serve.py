"""The measurement of the server, small: both sides answer alike, and what is measured is told. No speed is held."""

from __future__ import annotations

from benchmarks.serve import NO_END, engine_alone, pairs, settings_text
from benchmarks.serve_report import FIRST_GOAL_MS, Limit, Pair, quantile, report
from benchmarks.serve_streams import Load, Run, Side
from tests.faults.site import HELLO, site
from tests.servers import serving


def test_both_sides_are_measured() -> None:
    loads = (Load(streams=1, tokens=5, requests=2, bias=NO_END), Load(streams=18, tokens=3, bias=NO_END))
    with (
        site() as program,
        serving(program, config=settings_text()) as server,
        engine_alone(program, HELLO) as engine,
    ):
        ours = Side(name="server", address=server.address, headers={}, model=HELLO, pids=(server.pid,))
        found = pairs([engine, ours], loads, 2)
    assert [(len(pair.engine), len(pair.server)) for pair in found] == [(2, 2), (2, 2)]
    assert [len(run.first) for run in found[1].server] == [18, 18]
    assert all(run.rate > 0 for pair in found for run in (*pair.engine, *pair.server))
    assert all(run.server_cpu > 0 for pair in found for run in pair.server)
    text = report({HELLO: ("about it", found, found)}, [], rounds=2, load=(0.0, 0.0))
    assert text.count("| 18 |") == 2


def test_a_goal_that_is_missed_is_said() -> None:
    def run(rate: float, first: float) -> Run:
        return Run(rate=rate, first=(first,), gap=0.0, server_cpu=0.0, client_cpu=0.0)

    def told(rate: float, first: float) -> str:
        pair = Pair(load=Load(streams=1, tokens=1), engine=[run(100, 0.1)], server=[run(rate, first)])
        held = Limit("x", [first], 0.104, 0.99)
        return report({"m": ("", [pair], [pair])}, [held], rounds=1, load=(0.0, 0.0))

    assert told(98, 0.103).count("met") == 3
    assert told(96, 0.101 + FIRST_GOAL_MS / 1000).count("MISSED") == 3


def test_quantiles() -> None:
    values = [float(number) for number in range(200)]
    assert quantile(values, 0.99) == 198
    assert quantile([1.0], 0.99) == 1
