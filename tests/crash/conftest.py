"""One prepared world per command and worker process of pytest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.commands import Prepared, prepare, row

Worlds = Callable[[str], Prepared]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Gives the prepared world of a row by its name."""
    folder: Path = tmp_path_factory.mktemp("crash")
    made: dict[str, Prepared] = {}

    def world(name: str) -> Prepared:
        if name not in made:
            made[name] = prepare(row(name), folder)
        return made[name]

    return world
