"""Servers that Ollama's own client talks to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from tests.crash.upstream import registry
from tests.servers import Server, serving
from tests.slmctl.cli.program import Program


@pytest.fixture
def client(served: Server) -> Iterator[ollama.Client]:
    """Ollama's client of the server that all tests share."""
    with ollama.Client(host=served.base_url, trust_env=False) as found:
        yield found


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an empty store, which may ask registries on this machine: for tests that change things."""
    folder = tmp_path_factory.mktemp("changing")
    runtime = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    try:
        program = Program(folder / "home", runtime)
        program.go_online()
        with serving(program) as server:
            yield server
    finally:
        shutil.rmtree(runtime)


@pytest.fixture
def author(changing: Server) -> Iterator[ollama.Client]:
    """Ollama's client of the server whose models may be changed."""
    with ollama.Client(host=changing.base_url, trust_env=False) as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a registry: docker-registry where it is installed."""
    with registry(tmp_path_factory.mktemp("upstream")) as host:
        yield host
