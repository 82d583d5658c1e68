"""Pulls as processes of their own: killed, interrupted, and several after the same blobs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.digest import Digest
from registry.store.keeper import Keeper
from registry.store.store import Store
from tests.fakes.wire import Request, Wire, reply
from tests.processes import until
from tests.registry.transfer.blob_server import BlobServer, blob_server

MIB = 1 << 20
DEADLINE_SECONDS = 120
CONNECTIONS = 4


class Puller:
    """One process that pulls; its lines are read as they come."""

    def __init__(self, store: Path, server: BlobServer, *contents: bytes, chunk_bytes: int = MIB) -> None:
        blobs = [f"{Digest.of(data).hex}:{len(data)}" for data in contents]
        module = "tests.registry.transfer.puller"
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(store), server.name, str(CONNECTIONS), str(chunk_bytes), *blobs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )  # fmt: skip
        self.told: list[dict[str, Any]] = []

    def events(self) -> Iterator[dict[str, Any]]:
        """What it tells, as it tells it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            yield self.told[-1]

    def first(self, event: str) -> dict[str, Any]:
        """Wait until it tells of something."""
        return next(each for each in self.events() if each.get("event") == event)

    def end(self) -> int:
        """Its exit code, once it has ended."""
        for _ in self.events():
            pass
        assert self.process.stderr is not None
        self.said = self.process.stderr.read().decode()
        code = self.process.wait(DEADLINE_SECONDS)
        self.process.stdout.close()  # type: ignore[union-attr]
        self.process.stderr.close()
        return code


def is_whole(store: Path, data: bytes) -> bool:
    return Store(store).layout.blob(Digest.of(data)).read_bytes() == data


@pytest.mark.slow
def test_a_pull_that_is_killed_twenty_times_fetches_hardly_anything_twice(tmp_path: Path) -> None:
    chance = random.Random(6)
    data = chance.randbytes(200 * MIB)
    points = sorted(chance.randrange(len(data)) for _ in range(20))
    store = tmp_path / "store"
    with blob_server(data) as server:
        for point in points:
            killed = Puller(store, server, data)

            def kill(served: int, point: int = point, killed: Puller = killed) -> None:
                if served >= point:
                    killed.process.kill()

            server.on_served = kill
            assert killed.end() == -signal.SIGKILL
            assert not Store(store).has(Digest.of(data))
        server.on_served = None
        last = Puller(store, server, data)
        assert last.end() == 0, last.said
        assert is_whole(store, data)
        assert server.served <= len(data) + len(points) * CONNECTIONS * MIB
        resumed = sum(each["count"] for each in last.told if each.get("event") in {"Resumed", "Moved"})
        assert resumed == len(data)
    assert [path.name for path in (store / "ingest").iterdir()] == []
    assert [path.name for path in (store / "leases").iterdir()] == []


def test_two_processes_fetch_a_blob_once(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(16 * MIB)
    half = threading.Event()
    with blob_server(data) as server:
        go_on = threading.Event()

        def hold(served: int) -> None:
            if served >= len(data) // 2:
                half.set()
                assert go_on.wait(DEADLINE_SECONDS)

        server.on_served = hold
        first = Puller(tmp_path, server, data)
        assert half.wait(DEADLINE_SECONDS)
        second = Puller(tmp_path, server, data)
        waiting = second.first("Waiting")
        assert 0 < waiting["done"] <= len(data) // 2 + CONNECTIONS * MIB
        go_on.set()
        assert (first.end(), second.end()) == (0, 0), first.said + second.said
        assert second.told[-2]["event"] == "Present"
        assert server.served == len(data)
    assert is_whole(tmp_path, data)


def test_who_waits_goes_on_when_the_other_dies(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(16 * MIB)
    with blob_server(data) as server:
        half, go_on = threading.Event(), threading.Event()

        def hold(served: int) -> None:
            if served >= len(data) // 2:
                half.set()
                assert go_on.wait(DEADLINE_SECONDS)

        server.on_served = hold
        first = Puller(tmp_path, server, data)
        assert half.wait(DEADLINE_SECONDS)
        second = Puller(tmp_path, server, data)
        second.first("Waiting")
        first.process.kill()
        first.end()
        go_on.set()
        assert second.end() == 0, second.said
        assert any(each.get("event") == "Resumed" for each in second.told)
        assert server.served <= len(data) + CONNECTIONS * MIB
    assert is_whole(tmp_path, data)


def test_models_that_overlap_are_pulled_at_once_in_any_order(tmp_path: Path) -> None:
    contents = [random.Random(seed).randbytes(3 * MIB + seed) for seed in range(8)]
    with blob_server(*contents) as server:
        pullers = [
            Puller(tmp_path, server, *order)
            for order in (contents, contents[::-1], contents[4:] + contents[:4])
        ]
        assert [each.end() for each in pullers] == [0, 0, 0], [each.said for each in pullers]
        assert server.served == sum(map(len, contents))
    assert all(is_whole(tmp_path, data) for data in contents)


def test_an_interrupt_ends_it_though_the_server_says_nothing_more(tmp_path: Path) -> None:
    """Long before the stall of 30 seconds is noticed; what came is kept, also of chunks that were under way."""
    data = random.Random(3).randbytes(8 * MIB)
    silent = threading.Event()
    half = 6 * MIB + 300_000
    with blob_server(data) as server:

        def stop(request: Request, wire: Wire) -> bool:
            start, stop = (int(text) for text in request.headers["range"].removeprefix("bytes=").split("-"))
            if stop < half:
                return False
            wire.send(
                reply(
                    206, b"", {"Content-Range": f"bytes {start}-{stop}/{len(data)}"}, length=stop + 1 - start
                )
            )
            server.give(memoryview(data)[start:half], wire)
            silent.set()
            wire.hang()
            return True

        server.instead = stop
        first = Puller(tmp_path, server, data)
        assert silent.wait(DEADLINE_SECONDS)
        for _ in first.events():
            if sum(each.get("count", 0) for each in first.told) >= half - half % MIB:
                break
        first.process.send_signal(signal.SIGINT)
        first.process.wait(10)
        assert first.end() == 130
        server.instead = None
        second = Puller(tmp_path, server, data)
        assert second.end() == 0, second.said
        resumed = next(each["count"] for each in second.told if each.get("event") == "Resumed")
        assert resumed >= half - half % MIB
    assert is_whole(tmp_path, data)


def test_memory_does_not_grow_with_the_blob(tmp_path: Path) -> None:
    """All of it counts, the interpreter too."""
    size = 512 * MIB
    data = bytes(size)
    with blob_server(data) as server:
        puller = Puller(tmp_path, server, data, chunk_bytes=4 * MIB)
        assert puller.end() == 0, puller.said
    assert puller.told[-1]["peak_bytes"] < 100 * 1_000_000
    assert Store(tmp_path).layout.blob(Digest.of(data)).stat().st_size == size


def test_a_killed_pull_is_swept_by_gc_all_only(tmp_path: Path) -> None:
    small, data = b"small", random.Random(4).randbytes(8 * MIB)
    keeper = Keeper(tmp_path)
    with blob_server(small, data) as server:
        killed = Puller(tmp_path, server, small, data)

        def kill(served: int) -> None:
            if served >= 5 * MIB:
                until(lambda: keeper.has(Digest.of(small)) or None)
                killed.process.kill()

        server.on_served = kill
        assert killed.end() == -signal.SIGKILL
    kept = keeper.collect()
    assert kept.garbage == ()
    assert kept.crashed_bytes > MIB
    assert keeper.has(Digest.of(small))
    swept = keeper.collect(everything=True)
    assert sorted(each.kind for each in swept.garbage) == ["blob", "lease", "temporary", "temporary"]
    assert not keeper.has(Digest.of(small))
    assert [*(tmp_path / "ingest").iterdir(), *(tmp_path / "leases").iterdir()] == []
