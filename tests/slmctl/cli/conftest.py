"""What tests of commands share that ask a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registries.fixtures import plain_registry
from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.publishing import Author

__all__ = ["author", "place", "plain_registry"]


@pytest.fixture
def author(tmp_path: Path, slmctl: Program, plain_registry: Registry) -> Author:
    """Somebody else, whose models the program may pull."""
    slmctl.go_online()
    return Author(tmp_path, Path(slmctl.environment["XDG_RUNTIME_DIR"]), plain_registry)


@pytest.fixture
def place(plain_registry: Registry, request: pytest.FixtureRequest) -> str:
    """A repository of the test's own: HOST/PATH."""
    name = request.node.name.lower().replace("[", "-").rstrip("]")
    return f"{plain_registry.host}/{name[:100].rstrip('_-')}"
