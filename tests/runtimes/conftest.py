from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for runtime folders: short, for socket paths, and without a worker's folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        yield folder
        assert list(folder.glob("slmctl-*/w-*")) == []
    finally:
        shutil.rmtree(folder)
