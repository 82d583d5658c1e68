"""The places, and the real programs behind them."""

from __future__ import annotations

import pytest

from tests.conformance.remotes.file_places import FILE_PLACES
from tests.conformance.remotes.places import PLACES, Place
from tests.registries.fixtures import password_registry, plain_registry, tls_registry, token_registry

__all__ = ["password_registry", "place", "plain_registry", "tls_registry", "token_registry"]


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest) -> Place:
    """Each place in turn."""
    return PLACES[request.param](request)


@pytest.fixture(params=list(FILE_PLACES))
def file_place(request: pytest.FixtureRequest) -> Place:
    """Each place of files in turn."""
    return FILE_PLACES[request.param](request)


@pytest.fixture(params=[*PLACES, *FILE_PLACES])
def any_place(request: pytest.FixtureRequest) -> Place:
    """Each place in turn, whatever it holds."""
    return {**PLACES, **FILE_PLACES}[request.param](request)
