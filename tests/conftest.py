"""Models that tests share: a small random one made here, and a real one that lies outside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.random_model import write_random_model, write_random_shards

STORIES = Path(__file__).parents[2] / "shared" / "models" / "stories260K"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.8 MB that says words and never ends by itself."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_random_model(path)
    return path


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in three parts."""
    return write_random_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session")
def stories() -> Path:
    """The folder of the stories260K model, which lies outside of the repository."""
    if not STORIES.is_dir():
        pytest.skip(f"no {STORIES}")
    return STORIES
