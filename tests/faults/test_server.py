"""The server killed, told to end under load, held by clients that say nothing, and left by those that go away."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from itertools import product

import pytest

from tests.faults.going_away import ENDLESS, check_nothing_is_left, go_away, seconds_until_free
from tests.faults.site import HELLO, config, make_tiny, site
from tests.load.apis import CHATS, is_well_formed, live_lane, openai_lane
from tests.load.lanes import ABORTS, Asked, Asking, ask
from tests.processes import wait_until_gone
from tests.servers import left_behind, serving

SILENT = 200
WORKER_DEADLINE_SECONDS = 20.0
SLOT_DEADLINE_SECONDS = 2.5


def test_workers_of_a_killed_server_end_and_the_next_one_needs_no_hand() -> None:
    with site() as program:
        make_tiny(program)
        with serving(program, config=config(parallel=1), ends_with=None) as server:
            lanes = [
                openai_lane(model, server.address, model, ENDLESS, requests=1) for model in ("tiny", HELLO)
            ]
            with Asking(lanes) as asking:
                asking.wait_until_begun()
                workers = server.workers
                assert len(workers) == 2
                server.process.kill()
                server.wait()
                for worker in workers:
                    assert wait_until_gone(worker, WORKER_DEADLINE_SECONDS), worker
        with serving(program, "--port", str(server.port)) as again:
            for model in ("tiny", HELLO):
                (asked,) = ask(openai_lane(model, again.address, model, 3, requests=1))[model]
                assert asked.outcome == "whole", asked
            folders = sorted(path.name[0] for path in left_behind(program))
            assert folders == ["s", "w", "w"]  # its own: what the other left is swept
            assert len(again.workers) == 2


@pytest.mark.slow
def test_told_to_end_under_load_it_breaks_no_stream() -> None:
    with site() as program, serving(program, config=config(parallel=4)) as server:
        make_tiny(program)
        lanes = [
            make(f"{family} {model}", server.address, model, 400, streams=4)
            for (family, make), model in product(CHATS.items(), ("tiny", HELLO))
        ]
        with Asking(lanes) as asking:
            asking.wait_until_begun()
            told = time.monotonic()
            assert server.stop(signal.SIGTERM) == 143
            results = asking.finish()
    for name, asked in results.items():
        assert any(each.at < told < each.at + each.seconds for each in asked), (
            f"{name}: nothing was under way"
        )
        for each in asked:
            assert each.outcome == "whole" or _is_turned_away(name.split()[0], each, told), (name, each, told)


def _is_turned_away(family: str, asked: Asked, told: float) -> bool:
    """What came too late: answered with 503, or not at all."""
    late = asked.at > told - 0.25 and asked.first is None
    is_busy = asked.status == 503 and is_well_formed(family, asked)
    return late and (asked.outcome == "refused" or is_busy)


def test_clients_that_say_nothing_hold_nobody_up() -> None:
    settings = config(parallel=1, more='header_timeout = "5s"')
    with site() as program, serving(program, config=settings) as server, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(server.address)) for _ in range(SILENT)]
        for half in silent[::2]:
            half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x")
        found = ask(
            openai_lane("chat", server.address, HELLO, 8, streams=4, requests=5),
            live_lane("live", server.address, requests=20),
        )
        assert [each.outcome for asked in found.values() for each in asked] == ["whole"] * 40
        for each in silent:  # and they do not stay for ever
            each.settimeout(60)
            assert each.recv(1000)[:12] in (b"", b"HTTP/1.1 408")


@pytest.mark.slow
def test_clients_that_go_away_leave_no_slot_taken() -> None:
    with site() as program:
        make_tiny(program)
        with serving(program, config=config(parallel=3)) as server:
            seen = go_away(server.address, "tiny", times=400)
            assert set(seen) == set(product(CHATS, ABORTS))
            check_nothing_is_left(server, "tiny", 3)


def test_a_client_that_goes_away_frees_its_slot_at_once() -> None:
    with site() as program:
        make_tiny(program)
        with serving(program, config=config(parallel=1)) as server:
            assert seconds_until_free(server.address, "tiny") < SLOT_DEADLINE_SECONDS
