"""What a run holds: its files stay while it runs, whoever removes the model, and nothing is left afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import until, wait_until_gone, worker_of
from tests.slmctl.cli.program import Program
from tools.random_model import TINY, write_random_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ENDLESS = ("--raw", "--max-tokens", "90000", "--ctx", "100000", "the")


@pytest.fixture
def tiny(slmctl: Program, tmp_path: Path) -> Program:
    """A model that answers for minutes."""
    path = tmp_path / "tiny.gguf"
    write_random_model(path, shape=replace(TINY, context=131072))
    assert slmctl("create", "tiny", "--from", str(path)).code == 0
    return slmctl


def left(program: Program) -> tuple[list[str], list[str]]:
    """Blobs and leases."""
    blobs, leases = program.store / "blobs" / "sha256", program.store / "leases"
    return [path.name for path in blobs.iterdir()], [path.name for path in leases.iterdir()]


def start(program: Program, *arguments: str) -> subprocess.Popen[bytes]:
    process = program.start("run", *arguments, "tiny", *ENDLESS)
    assert process.stdout is not None
    assert process.stdout.read(20)
    return process


def test_a_running_models_files_stay_until_it_ends(tiny: Program) -> None:
    process = start(tiny)
    assert len(left(tiny)[1]) == 1
    removed = tiny("rm", "tiny", "--json")
    assert removed.json["freed"] < 10_000, "the weights are in use"
    assert "in use" in removed.err
    assert tiny("gc", "--all").code == 0
    assert tiny("df", "--json").json["totals"]["leased"] > 100_000
    assert tiny("verify").code == 0
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert left(tiny) == ([], [])


def test_a_killed_run_keeps_nothing(tiny: Program) -> None:
    process = start(tiny)
    worker = until(lambda: worker_of(process.pid))
    process.kill()
    process.communicate(timeout=60)
    wait_until_gone(worker, 20)
    for folder in Path(tiny.environment["XDG_RUNTIME_DIR"]).glob("slmctl-*/w-*"):
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert tiny("rm", "tiny").code == 0
    assert left(tiny)[0] == []
    assert tiny("gc").code == 0
    assert left(tiny) == ([], [])


def test_a_kept_model_is_held_by_who_keeps_it(tiny: Program) -> None:
    assert tiny("run", "tiny", "--keep", "5m", "--max-tokens", "2", "x").code == 0
    try:
        assert len(left(tiny)[1]) == 1
        assert tiny("rm", "tiny").code == 0
        assert tiny("gc", "--all").out == "nothing to free\n"
        assert left(tiny)[0] != []
    finally:
        assert tiny("stop", "--all").code == 0
    assert left(tiny)[1] == []
    assert tiny("gc").code == 0
    assert left(tiny) == ([], [])


def test_a_stuck_writer_stops_no_run(tiny: Program) -> None:
    program = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    lock = tiny.store / "locks" / "store.lock"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert tiny("run", "tiny", "--max-tokens", "2", "x").code == 0
        holder.kill()
