"""Tools that hang, die, write without end or are not there."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from runtimes.hardware.system import this_system
from runtimes.hardware.tools import Answer, run_tool

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def run(program: str, *, seconds: float = 10.0, with_errors: bool = False) -> Answer:
    argv = [sys.executable, "-c", program]
    return run_tool(argv, environment=ENVIRONMENT, seconds=seconds, with_errors=with_errors)


def test_what_it_wrote() -> None:
    program = "import sys; print('data'); print('talk', file=sys.stderr)"
    assert run(program) == Answer(text="data\n")
    assert sorted((run(program, with_errors=True).text or "").split()) == ["data", "talk"]


def test_one_that_failed_may_have_written_something() -> None:
    answer = run("print('half'); raise SystemExit(3)")
    assert answer.text == "half\n"
    assert answer.problem is not None
    assert answer.problem.endswith("ended with 3")


def test_one_that_was_killed_is_told_by_its_signal() -> None:
    answer = run(f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})")
    assert answer.problem is not None
    assert answer.problem.endswith("ended with SIGILL")


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(600)",
        "import os, time; os.close(1); time.sleep(600)",  # has said all, and stays
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        # a child of its own holds the pipe open
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
    ],
)
def test_one_that_hangs_is_ended_in_time(program: str) -> None:
    began = time.monotonic()
    answer = run(program, seconds=0.7)
    assert time.monotonic() - began < 5
    assert answer.text is None
    assert answer.problem is not None
    assert answer.problem.endswith("did not answer within 0.7 s")


def test_nothing_of_one_that_hangs_is_left(tmp_path: Path) -> None:
    """Its own children are ended with it."""
    pid = tmp_path / "pid"
    program = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    run(program, seconds=3.0)
    child = int(pid.read_text())
    deadline = time.monotonic() + 10
    while _is_running(child):
        assert time.monotonic() < deadline, "it still runs"
        os.sched_yield()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_that_writes_without_end_is_ended() -> None:
    answer = run("while True: print('x' * 10000)")
    assert answer.text is None
    assert answer.problem is not None
    assert answer.problem.endswith("wrote more than 1 MiB")


def test_bytes_that_are_no_text() -> None:
    assert run("import sys; sys.stdout.buffer.write(b'a\\xff\\n')").text == "a\ufffd\n"


def test_one_that_is_not_there_says_nothing() -> None:
    assert this_system(os.environ).run(["no-such-tool"]) == Answer()
    assert run_tool(["/no/such/tool"], environment=ENVIRONMENT).problem is not None


def test_reading_never_blocks_on_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    system = this_system(os.environ)
    assert system.read(f"{tmp_path}/pipe") is None
    assert system.read(f"{tmp_path}/folder") is None
    assert system.read("/proc/self/mem", 10) is None
    assert system.read("no\0such") is None
    assert system.names(f"{tmp_path}/nowhere") == ()


def test_a_file_without_end_is_cut() -> None:
    assert len(this_system(os.environ).read_bytes("/dev/zero") or b"") == 0  # no regular file
    assert len(this_system(os.environ).read_bytes("/proc/self/environ", 5) or b"") <= 5
