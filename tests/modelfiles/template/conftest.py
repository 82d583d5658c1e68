"""Go's own text/template, where there is a Go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.modelfiles.template.oracle import build


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = build(tmp_path_factory.mktemp("go"))
    if program is None:
        pytest.skip("there is no Go 1.18 to 1.21 here (Debian 12's package is golang-go)")
    return program
