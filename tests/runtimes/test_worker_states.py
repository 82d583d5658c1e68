"""The worker as a state machine, driven with the fake engine."""

from __future__ import annotations

import dataclasses
import os
import queue
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.errors import OperationFailed, SlmctlError
from runtimes.errors import (
    EngineNotReady,
    EngineStartFailed,
    EngineStartTimeout,
    EngineStopped,
    EngineUnavailable,
)
from runtimes.process import Ended, State, Worker
from tests.processes import wait_until_gone
from tests.runtimes.launches import DEADLINE_SECONDS, fake_launch


def pid_of(worker: Worker) -> int:
    assert worker.pid is not None
    return worker.pid


def state_of(worker: Worker) -> str:
    """The state as text, which mypy does not remember across a call."""
    return worker.state.value


def end_of(worker: Worker) -> Ended:
    assert worker.ended.wait(DEADLINE_SECONDS)
    assert worker.end is not None
    return worker.end


def test_a_life(base: Path) -> None:
    ends: queue.Queue[Ended] = queue.Queue()
    worker = Worker(fake_launch(base), on_end=ends.put)
    assert state_of(worker) == "starting"
    with pytest.raises(EngineNotReady):
        _ = worker.endpoint
    with worker:
        endpoint = worker.ensure_ready(DEADLINE_SECONDS)
        assert state_of(worker) == "ready"
        assert endpoint == worker.endpoint
        assert endpoint.key not in repr(endpoint)
        assert worker.end is None
        assert worker.death(0) is None
    end = ends.get(timeout=DEADLINE_SECONDS)
    assert (end.state, end.returncode) == (State.STOPPED, 0)
    assert state_of(worker) == "stopped"
    assert worker.ended.is_set()
    assert not endpoint.socket.parent.exists()
    assert ends.empty()


def test_the_end_is_told_from_a_thread_of_the_worker(base: Path) -> None:
    told: queue.Queue[tuple[str, bool]] = queue.Queue()

    def on_end(end: Ended) -> None:
        worker.stop()  # in the callback everything is over already
        told.put((threading.current_thread().name, worker.ended.is_set()))

    worker = Worker(fake_launch(base, "--die-at-load", "3"), on_end=on_end)
    worker.start()
    assert told.get(timeout=DEADLINE_SECONDS) == ("slmctl-worker-watcher", True)


def test_ensure_ready_from_many_threads_starts_one_process(base: Path) -> None:
    worker = Worker(fake_launch(base, "--load-seconds", "0.2"))
    with worker, ThreadPoolExecutor(16) as pool:
        endpoints = list(pool.map(lambda _: worker.ensure_ready(DEADLINE_SECONDS), range(16)))
        assert set(map(id, endpoints)) == {id(worker.endpoint)}
        assert len(list(base.glob("slmctl-*/w-*"))) == 1


def test_a_crash_while_loading_reaches_every_waiter(base: Path) -> None:
    worker = Worker(fake_launch(base, "--stderr", "unknown model architecture: 'nova'", "--die-at-load", "1"))

    def wait(_: int) -> SlmctlError:
        with pytest.raises(SlmctlError) as caught:
            worker.ensure_ready(DEADLINE_SECONDS)
        return caught.value

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(wait, range(8)))
    assert {type(error) for error in errors} == {EngineUnavailable}
    assert len(set(map(id, errors))) == 8
    assert "nova" in errors[0].message
    assert worker.state is State.CRASHED
    assert end_of(worker).returncode == 1


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (3, EngineStartFailed, "exit code 3"),
        (0, EngineStartFailed, "exit code 0"),
        (-signal.SIGSEGV, EngineStartFailed, "SIGSEGV"),
        (-signal.SIGILL, EngineUnavailable, "CPU instruction"),
        (-signal.SIGKILL, SlmctlError, "out of memory"),
    ],
)
def test_what_a_death_at_load_says(base: Path, code: int, error: type[SlmctlError], words: str) -> None:
    worker = Worker(fake_launch(base, "--die-at-load", str(int(code))))
    with pytest.raises(error, match=words):
        worker.ensure_ready(DEADLINE_SECONDS)
    assert end_of(worker).returncode == code


def test_callers_patience_is_not_the_start_timeout(base: Path) -> None:
    with Worker(fake_launch(base, "--load-seconds", "2")) as worker:
        with pytest.raises(EngineNotReady):
            worker.ensure_ready(0.01)
        assert worker.state is State.STARTING
        worker.ensure_ready(DEADLINE_SECONDS)


@pytest.mark.parametrize("arguments", [("--never-ready",), ("--unread-stdin", "--ignore-sigterm")])
def test_the_start_timeout_kills(base: Path, arguments: tuple[str, ...]) -> None:
    worker = Worker(fake_launch(base, *arguments, start_timeout_seconds=0.3))
    with pytest.raises(EngineStartTimeout, match=r"not ready after 0\.3 seconds"):
        worker.ensure_ready(DEADLINE_SECONDS)
    assert worker.state is State.CRASHED
    assert end_of(worker).returncode == -signal.SIGKILL


def test_a_document_bigger_than_a_pipe_that_nobody_reads_blocks_nobody(base: Path) -> None:
    launch = fake_launch(base, "--unread-stdin", start_timeout_seconds=0.5)
    worker = Worker(dataclasses.replace(launch, document={"chat_template": "x" * 2_000_000}))
    with pytest.raises(EngineStartTimeout):
        worker.ensure_ready(DEADLINE_SECONDS)
    with Worker(fake_launch(base)) as other:  # the launcher has not been held up
        other.ensure_ready(DEADLINE_SECONDS)


def test_a_document_bigger_than_a_pipe_arrives(base: Path) -> None:
    launch = dataclasses.replace(fake_launch(base), document={"chat_template": "x" * 2_000_000})
    with Worker(launch) as worker:
        worker.ensure_ready(DEADLINE_SECONDS)


def test_stop_while_starting(base: Path) -> None:
    worker = Worker(fake_launch(base, "--never-ready"))
    worker.start()
    pid = pid_of(worker)
    worker.stop()
    assert worker.state is State.STOPPED
    assert wait_until_gone(pid, 0)
    with pytest.raises(EngineStopped):
        worker.ensure_ready(DEADLINE_SECONDS)


def test_stop_wakes_those_who_wait_for_readiness(base: Path) -> None:
    worker = Worker(fake_launch(base, "--never-ready"))
    worker.start()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(worker.ensure_ready, DEADLINE_SECONDS)
        worker.stop()
        with pytest.raises(EngineStopped):
            waiter.result(DEADLINE_SECONDS)


def test_stop_before_start(base: Path) -> None:
    worker = Worker(fake_launch(base))
    worker.stop()
    worker.start()
    assert (worker.state, worker.pid) == (State.STOPPED, None)
    with pytest.raises(EngineStopped):
        worker.ensure_ready(0)


def test_stop_twice_and_from_many_threads(base: Path) -> None:
    worker = Worker(fake_launch(base))
    worker.ensure_ready(DEADLINE_SECONDS)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: worker.stop(), range(8)))
    worker.stop()
    assert worker.state is State.STOPPED


def test_stop_leaves_a_crash_a_crash(base: Path) -> None:
    worker = Worker(fake_launch(base, "--die-at-load", "3"))
    worker.start()
    end_of(worker)
    worker.stop()
    assert worker.state is State.CRASHED


@pytest.mark.parametrize("ready", [True, False])
def test_a_worker_that_ignores_everything_is_killed(base: Path, ready: bool) -> None:
    arguments = ["--ignore-sigterm", "--ignore-stdin", "--stderr", "up"]
    worker = Worker(fake_launch(base, *arguments, *([] if ready else ["--never-ready"])))
    worker.start()
    if ready:
        worker.ensure_ready(DEADLINE_SECONDS)
    while "up" not in worker.stderr_tail:  # SIGTERM would end it before that
        assert not worker.ended.wait(0.005)
    worker.stop(grace_seconds=0.2)
    assert worker.state is State.STOPPED
    assert end_of(worker).returncode in (-signal.SIGKILL, -signal.SIGTERM if not ready else None)


def test_a_worker_deaf_to_its_standard_input_gets_sigterm(base: Path) -> None:
    worker = Worker(fake_launch(base, "--ignore-stdin"))
    worker.ensure_ready(DEADLINE_SECONDS)
    worker.stop(grace_seconds=0.1)
    assert end_of(worker).returncode == -signal.SIGTERM


def test_a_crash_while_ready(base: Path) -> None:
    worker = Worker(fake_launch(base))
    folder = worker.ensure_ready(DEADLINE_SECONDS).socket.parent
    os.kill(pid_of(worker), signal.SIGKILL)
    assert end_of(worker).state is State.CRASHED
    assert not folder.exists()
    death = worker.death(0)
    assert death is not None
    assert "killed" in death.message
    with pytest.raises(SlmctlError):
        worker.ensure_ready(0)


def test_what_the_worker_started_goes_with_it(base: Path) -> None:
    worker = Worker(fake_launch(base, "--child"))
    worker.ensure_ready(DEADLINE_SECONDS)
    group = pid_of(worker)
    os.kill(group, signal.SIGKILL)
    end_of(worker)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while _members(group) and time.monotonic() < deadline:  # init reaps the killed one
        threading.Event().wait(0.005)
    assert not _members(group)


def _members(group: int) -> bool:
    """Whether anybody but a zombie is left in a process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False


def test_only_the_end_of_a_long_log_is_kept(base: Path) -> None:
    with Worker(fake_launch(base, "--spin", "--stderr", "the beginning")) as worker:
        worker.ensure_ready(DEADLINE_SECONDS)
        while len(worker.stderr_tail) < 65536:
            assert not worker.ended.wait(0.005)
    assert len(worker.stderr_tail) == 65536
    assert "the beginning" not in worker.stderr_tail


def test_a_program_that_is_not_there(base: Path) -> None:
    worker = Worker(dataclasses.replace(fake_launch(base), argv=("/nonexistent/python",)))
    with pytest.raises(EngineStartFailed, match="No such file"):
        worker.start()
    worker.stop()


def test_no_runtime_folder() -> None:
    worker = Worker(fake_launch(Path("/nonexistent")))
    with pytest.raises(OperationFailed):
        worker.ensure_ready(0)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "/etc/x"])
def test_a_link_stays_in_the_folder(base: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no file name"):
        dataclasses.replace(fake_launch(base), links={name: 0})
