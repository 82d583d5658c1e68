"""A sample of `make load`: many processes on one store, nothing is lost and nothing is left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import fake_registry
from tests.load.load import put_load
from tests.load.world import World

SECONDS = 10


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="slm") as folder:  # short, for socket paths
        made = World(Path(folder) / "w")
        with fake_registry() as registry:
            made.make(registry)
            registry.requests.clear()
            yield made
            made.served_once(registry)


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_left(world: World) -> None:
    outcome = put_load(world, processes=6, seconds=SECONDS)
    assert outcome.counts["create_from_files"] > 0
    assert outcome.counts["remove"] > 0
    assert outcome.counts["pull_staying"] > 0
