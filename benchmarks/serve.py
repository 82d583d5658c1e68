"""Our server beside the engine's own, without us: tokens per second, first tokens, and what has a limit.

    python -m benchmarks.serve [--rounds 5] [--folder DIR]        writes benchmarks/results/serve.md

Two models: one with random weights in Qwen3-0.6B's shape in Q4_K_M (0.4 GB), of which two cores make some
tens of tokens per second, and hello, of which they make thousands: there a server costs as much as the
engine. Both sides have 16 slots: of 64 streams, 48 wait, in our queue or in the engine's.

Goals: 0.97 of the engine's tokens per second at 1 stream and 0.95 at 16; the first token at most 5 ms later
at the median; /livez within 100 ms (99 of 100) under 64 streams, also while a gigabyte loads; a slot free
0.25 s after its client went; a worker gone 2 s after kill -9 of the server, and a model back a second and its
load time after that of its worker. What is missed is said. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.overhead import QWEN3_06B
from benchmarks.serve_report import Limit, Pair, report
from benchmarks.serve_streams import Load, Run, Side, measure
from registry.names import parse
from registry.store.reader import StoreReader
from runtimes.process import Worker
from slmctl.app.events import ignore
from slmctl.app.finding import find_package
from slmctl.app.load import BIG_BYTES, LoadRequest, Serving
from slmctl.app.loading import start
from slmctl.config import Settings
from tests.faults.going_away import seconds_until_free
from tests.faults.killing import kill_again_and_again
from tests.faults.site import HELLO, TEMPLATE, config, make_gigabyte, make_tiny, site, weights_of
from tests.load.apis import openai_lane
from tests.load.lanes import ask
from tests.load.serving import put_streams
from tests.processes import wait_until_gone
from tests.servers import Server, serving
from tests.slmctl.cli.program import REPOSITORY, Program
from tools.random_build import make_random_build

RESULT = Path(__file__).parent / "results" / "serve.md"
SLOTS = 16
CONTEXT = 1024
MEDIUM = "medium"
ABOUT = {
    MEDIUM: "Random weights in Qwen3-0.6B's shape, Q4_K_M, 0.4 GB.",
    HELLO: "The model that comes with slmctl, 7 MB: the worst case of any server in between.",
}
"""What the models are."""

NO_END = {"0": -100.0, "2": -100.0}
"""Keeps hello from ending its answers; random models never do."""

SPEED = {
    MEDIUM: (
        Load(streams=1, tokens=192),
        Load(streams=4, tokens=64),
        Load(streams=16, tokens=32),
        Load(streams=64, tokens=12),
    ),
    HELLO: (
        Load(streams=1, tokens=900, bias=NO_END),
        Load(streams=4, tokens=900, bias=NO_END),
        Load(streams=16, tokens=400, bias=NO_END),
        Load(streams=64, tokens=100, bias=NO_END),
    ),
}
FIRST = {
    MEDIUM: (Load(streams=1, tokens=3, requests=8), Load(streams=4, tokens=3, requests=3)),
    HELLO: (
        Load(streams=1, tokens=3, requests=40, bias=NO_END),
        Load(streams=4, tokens=3, requests=40, bias=NO_END),
    ),
}


@contextmanager
def engine_alone(program: Program, model: str) -> Iterator[Side]:
    """A worker as the server starts them, asked without the server."""
    settings = Settings.load(program.environment)
    store = StoreReader(settings.store)
    request = LoadRequest(
        package=find_package(store, parse(model)),
        parameters={"num_ctx": CONTEXT},
        serving=Serving(purpose="text", parallel=SLOTS),
    )
    begun = start(store, settings, request, ignore, BIG_BYTES)
    worker = begun.worker
    assert isinstance(worker, Worker)
    try:
        with worker:
            endpoint = worker.ensure_ready()
            headers = {"Authorization": f"Bearer {endpoint.key}"}
            yield Side(name="engine", address=endpoint.socket, headers=headers, model="model")
    finally:
        begun.held.release()


def settings_text() -> str:
    """The server's settings, which give both models what `engine_alone` asks for."""
    text = config(parallel=SLOTS)
    for model in (MEDIUM, HELLO):
        text += f'[serve.models."{model}:latest"]\nparameters = {{ num_ctx = {CONTEXT} }}\n'
    return text


def pairs(sides: Sequence[Side], loads: Sequence[Load], rounds: int) -> list[Pair]:
    """Each load, on the two sides in turns."""
    found: dict[Load, dict[str, list[Run]]] = {load: {side.name: [] for side in sides} for load in loads}
    for side in sides:
        measure(side, loads[0], 0)  # the first answer of all: buffers, pages, code
    for number in range(rounds):
        for load in loads:
            for side in sides if number % 2 else reversed(sides):
                run = measure(side, load, number + 1)
                found[load][side.name].append(run)
                print(
                    f"{side.name:7}{load.streams:3} streams {run.rate:8.1f} tok/s, "
                    f"first {1000 * run.median_first:7.1f} ms, server {1e6 * run.server_cpu:4.0f} µs/token",
                    file=sys.stderr,
                )
    return [Pair(load=load, engine=each["engine"], server=each["server"]) for load, each in found.items()]


def under_load(server: Server) -> list[Limit]:
    """/livez and the streams themselves, while 64 streams go on, and while a gigabyte loads beside them."""
    address = server.address
    calm = put_streams(server.pid, address, [HELLO], streams=64, seconds=10)
    calm.check(growth_bytes=64 << 20, live_seconds=10)
    moments: list[float] = []

    def load_gigabyte() -> None:
        time.sleep(3)
        moments.append(time.monotonic())
        (asked,) = ask(openai_lane("big", address, "gigabyte", 2, requests=1, silence=120))["big"]
        assert asked.outcome == "whole", asked
        moments.append(time.monotonic())

    beside = put_streams(server.pid, address, [HELLO], streams=64, seconds=12, meanwhile=load_gigabyte)
    beside.check(growth_bytes=64 << 20, live_seconds=10)
    begin, end = moments
    live = [each.seconds for each in beside.live if begin <= each.at <= end]
    gaps = [each.gap for each in beside.asked if begin <= each.at <= end]
    return [
        Limit("/livez, 64 streams", [each.seconds for each in calm.live], 0.1, 0.99),
        Limit("/livez, the same, a gigabyte loads meanwhile", live, 0.1, 0.99),
        Limit("widest gap in a stream, nothing loads", [each.gap for each in calm.asked]),
        Limit("the same, a gigabyte loads meanwhile", gaps),
        Limit("the gigabyte's first token", [end - begin]),
    ]


def after_faults(program: Program, rounds: int) -> list[Limit]:
    """A slot after its client went; a model after its worker was killed; workers after the server was."""
    weights = weights_of(program, "tiny")
    with serving(program, config=config(parallel=4, tiny_parallel=1)) as server:
        freed = [seconds_until_free(server.address, "tiny") for _ in range(2 * rounds)]
    with serving(program, config=config(parallel=4)) as server:
        (cold,) = ask(openai_lane("cold", server.address, "tiny", 3, requests=1))["cold"]
        killed = kill_again_and_again(
            server.pid, server.address, hit=("tiny", weights), other=HELLO, every=1.0, times=rounds
        )
        killed.check()
    assert cold.first is not None
    gone = []
    for _ in range(rounds):
        with serving(program, config=config(parallel=4), ends_with=None) as server:
            ask(openai_lane("loads", server.address, "tiny", 3, requests=1))
            (worker,) = server.workers
            begin = time.monotonic()
            server.process.kill()
            assert wait_until_gone(worker, 60)
            gone.append(time.monotonic() - begin)
    with serving(program):
        pass  # sweeps what the one that was killed has left
    return [
        Limit("slot free after its client went", freed, 0.25, 1.0),
        Limit("first token of a model after kill -9 of its worker", killed.recoveries, cold.first + 1, 1.0),
        Limit("worker gone after kill -9 of the server", gone, 2.0, 1.0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Our server beside the engine's own.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the models are made; removed at the end")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    before = os.getloadavg()[0]
    models = {}
    with site(folder=given.folder) as program:
        weights = program.home.parent / "medium.gguf"
        make_random_build(weights, QWEN3_06B, "Q4_K_M", chat_template=TEMPLATE)
        done = program("create", MEDIUM, "--from", str(weights), "--move")
        assert done.code == 0, done.err
        make_tiny(program)
        make_gigabyte(program)
        with serving(program, config=settings_text()) as server:
            for model in (MEDIUM, HELLO):
                with engine_alone(program, model) as engine:
                    ours = Side(
                        name="server", address=server.address, headers={}, model=model, pids=(server.pid,)
                    )
                    models[model] = (
                        ABOUT[model],
                        pairs([engine, ours], SPEED[model], given.rounds),
                        pairs([engine, ours], FIRST[model], given.rounds),
                    )
        with serving(program, config=config(parallel=SLOTS)) as server:
            held = under_load(server)
        held += after_faults(program, given.rounds)
    text = report(models, held, rounds=given.rounds, load=(before, os.getloadavg()[0]))
    given.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    raise SystemExit(main())
