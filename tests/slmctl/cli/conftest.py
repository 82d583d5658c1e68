from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slmctl.cli.program import Program


@pytest.fixture
def slmctl(tmp_path: Path) -> Iterator[Program]:
    """The program with an empty home; afterwards no worker's folder may be left."""
    runtime = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    try:
        yield Program(tmp_path / "home", runtime)
        assert list(runtime.glob("slmctl-*/w-*")) == []
    finally:
        shutil.rmtree(runtime)
