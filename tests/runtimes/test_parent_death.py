"""slmctl dies: nothing may stay. Ctrl-C: the worker must not notice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtimes.folders import RuntimeFolder
from tests.processes import wait_until_gone
from tests.runtimes.launches import DEADLINE_SECONDS, REPOSITORY
from tools.random_model import GIGABYTE, write_random_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes with pidfds")


@contextmanager
def parent(base: Path, when: str, model: str, *fake: str) -> Iterator[subprocess.Popen[str]]:
    """A real slmctl-like process in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runtimes.worker_parent", str(base), when, model, *fake],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert isinstance(line, dict)
    return line


def kill_and_see(process: subprocess.Popen[str], base: Path, line: dict[str, Any]) -> float:
    begin = time.monotonic()
    process.kill()
    assert wait_until_gone(line["pid"], DEADLINE_SECONDS)
    seconds = time.monotonic() - begin
    process.wait(DEADLINE_SECONDS)  # its locks are free only now: the signal came when its first thread ended
    folder = Path(line["folder"])
    assert folder.is_dir()  # nobody was left to remove it
    RuntimeFolder.create([base]).remove()
    assert not folder.exists()
    return seconds


@pytest.mark.parametrize("when", ["started", "ready"])
def test_the_worker_dies_with_its_parent(base: Path, tiny_model: Path, when: str) -> None:
    with parent(base, when, str(tiny_model)) as process:
        assert kill_and_see(process, base, told(process)) < DEADLINE_SECONDS


def test_also_one_that_reads_no_standard_input(base: Path) -> None:
    with parent(base, "ready", "", "--ignore-stdin", "--ignore-sigterm") as process:
        kill_and_see(process, base, told(process))


def test_also_while_a_gigabyte_is_loaded(base: Path, tmp_path: Path) -> None:
    model = tmp_path / "gigabyte.gguf"
    write_random_model(model, shape=GIGABYTE)
    try:
        with parent(base, "loading", str(model)) as process:
            line = told(process)
            assert line["state"] == "starting"
            kill_and_see(process, base, line)
    finally:
        model.unlink()


def test_ctrl_c_reaches_the_parent_only(base: Path, tiny_model: Path) -> None:
    with parent(base, "ready", str(tiny_model)) as process:
        told(process)
        os.killpg(process.pid, signal.SIGINT)
        assert told(process)["events"] == 3  # two words and the end, from the same worker
        assert process.wait(DEADLINE_SECONDS) == 0
