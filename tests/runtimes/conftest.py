from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.launches import STORIES
from tools.random_model import write_random_model


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for runtime folders: short, for socket paths, and without a worker's folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        yield folder
        assert list(folder.glob("slmctl-*/w-*")) == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.8 MB that says words and never ends by itself."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_random_model(path)
    return path


@pytest.fixture(scope="session")
def stories() -> Path:
    """The folder of the stories260K model, which lies outside of the repository."""
    if not STORIES.is_dir():
        pytest.skip(f"no {STORIES}")
    return STORIES
