"""What the tests of the server share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import Server, serving
from tests.slmctl.cli.program import Program
from tests.slmctl.server.models import make_models
from tests.slmctl.server.scheduling import FakeEngines, World
from tools.random_model import TINY, write_random_model


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Program]:
    """The program with the models of `tests.slmctl.server.models`, for all tests of a session: who changes its
    store gives back what was there."""
    folder = tmp_path_factory.mktemp("served")
    runtime = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    try:
        program = Program(folder / "home", runtime)
        make_models(program, folder, tiny_model)
        yield program
    finally:
        shutil.rmtree(runtime)


@pytest.fixture(scope="session")
def served(stocked: Program) -> Iterator[Server]:
    """One server for all tests of a session that need nothing of their own."""
    runtime = Path(tempfile.mkdtemp(prefix="slm"))  # of its own: commands of other tests do not find it
    try:
        with serving(Program(stocked.home, runtime)) as server:
            yield server
    finally:
        shutil.rmtree(runtime)


@pytest.fixture
def neighbour(stocked: Program, tmp_path: Path) -> Iterator[Program]:
    """The same models, with a home and a runtime directory of its own: for keys, which close a server for
    good, and settings."""
    runtime = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        program = Program(tmp_path / "home", runtime)
        program.store = stocked.store
        program.environment["SLMCTL_STORE"] = str(stocked.store)
        yield program
    finally:
        shutil.rmtree(runtime)


@pytest.fixture
def endless(slmctl: Program, tmp_path: Path) -> Program:
    """Alone in a store: a model that was trained for so much context that an answer can go on for minutes."""
    write_random_model(tmp_path / "endless.gguf", shape=replace(TINY, context=131072))
    assert slmctl("create", "endless", "--from", str(tmp_path / "endless.gguf")).code == 0
    return slmctl


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    runtime = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    try:
        yield World(Program(tmp_path / "home", runtime))
    finally:
        shutil.rmtree(runtime)


@pytest.fixture
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> FakeEngines:
    engines = FakeEngines()
    monkeypatch.setattr("slmctl.app.loading.worker_argv", engines.argv)
    return engines
