"""One prepared world per command and worker process of pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.commands import Prepared, prepare
from tests.crash.table import row
from tests.crash.upstream import registry

Worlds = Callable[[str], Prepared]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """Gives the prepared world of a row by its name."""
    folder: Path = tmp_path_factory.mktemp("crash")
    made: dict[str, Prepared] = {}
    hosts: list[str] = []
    with ExitStack() as stack:

        def world(name: str) -> Prepared:
            if row(name).needs_registry and not hosts:
                hosts.append(stack.enter_context(registry(folder)))
            if name not in made:
                made[name] = prepare(row(name), folder, *hosts)
            return made[name]

        yield world
