"""Stores, and the real registry that formats are pushed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.store.store import Store
from tests.registries.fixtures import plain_registry

__all__ = ["other", "plain_registry", "store"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")
