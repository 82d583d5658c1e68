"""A worker steps back from whoever started it where that was asked for, with all its threads."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from pathlib import Path

import pytest

from runtimes.process import Worker
from slmctl.app.ships import FOLDER
from tests.runtimes.launches import DEADLINE_SECONDS, llama_launch

HELLO = FOLDER / "hello" / "hello.gguf"


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
@pytest.mark.parametrize("niceness", [0, 3])
def test_all_threads_of_an_engine_step_back(niceness: int) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="slm") as folder,
        llama_launch(Path(folder), HELLO) as launch,
        Worker(dataclasses.replace(launch, niceness=niceness)) as worker,
    ):
        worker.ensure_ready(DEADLINE_SECONDS)
        threads = [int(each.name) for each in Path(f"/proc/{worker.pid}/task").iterdir()]
        assert len(threads) > 1
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert {os.getpriority(os.PRIO_PROCESS, each) for each in threads} == {min(19, own + niceness)}
        group = Path(f"/proc/{worker.pid}/autogroup")
        if group.exists():
            assert group.read_text().split()[-1] == str(niceness)
