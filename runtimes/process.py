"""A worker: one child process per loaded model, as a state machine.

    starting ──▶ ready ──▶ draining ──▶ stopped        stop() was asked for
        │          │           ▲
        │          └───────────┼──────▶ crashed        it ended by itself, or did not start in time
        └──────────────────────┘

Nobody looks at the state and then acts: callers ask `ensure_ready`, and are told of the end by `on_end`.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import enum
import json
import os
import secrets
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from registry.errors import EngineFailed, SlmctlError
from runtimes.children import wait_without_reaping, write_all
from runtimes.client import Endpoint, healthy
from runtimes.engines.base import Explanation
from runtimes.errors import (
    EngineDied,
    EngineNotReady,
    EngineStartFailed,
    EngineStartTimeout,
    EngineStopped,
)
from runtimes.folders import RuntimeFolder
from runtimes.launch import Launch, fd_path, worker_argv
from runtimes.launcher import launch
from runtimes.logfile import LogFile
from runtimes.logtail import LogTail
from runtimes.priority import yield_to_others
from runtimes.template_limits import TemplateWatch

__all__ = [
    "Ended",
    "Launch",
    "State",
    "Worker",
    "fd_path",
    "worker_argv",
]

# the delay between two looks at /health grows from the first to the last of these
_FIRST_POLL_SECONDS = 0.003
_LAST_POLL_SECONDS = 0.1
_HEALTH_TIMEOUT_SECONDS = 5.0
_TERMINATE_SECONDS = 2.0


class State(enum.StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    CRASHED = "crashed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker's life ended: stopped or crashed. `returncode` is None when it was never started."""

    state: State
    returncode: int | None
    explanation: Explanation


class Worker:
    """Owns one child process and its folder. Thread-safe; every method may be called in any state.

    `on_end` is called once, from the worker's own watcher thread, after the process is gone and the folder
    removed; `ended` is set just before.
    """

    def __init__(self, launch: Launch, *, on_end: Callable[[Ended], None] | None = None) -> None:
        self.ended = threading.Event()
        self._gone = threading.Event()  # the process is; `ended` comes when all is cleared up
        self._launch = launch
        self._on_end = on_end
        self._changed = threading.Condition()  # guards all below
        self._state = State.STARTING
        self._process: subprocess.Popen[bytes] | None = None
        self._reaped = False
        self._log: LogTail | None = None
        self._log_file: LogFile | None = None
        self._endpoint: Endpoint | None = None
        self._given_up: Explanation | None = None  # why it was killed before it was ready
        self._end: Ended | None = None

    @property
    def state(self) -> State:
        with self._changed:
            return self._state

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the start."""
        with self._changed:
            return self._process.pid if self._process is not None else None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens. Raises EngineNotReady before the start."""
        with self._changed:
            if self._endpoint is None:
                raise EngineNotReady("The engine has not been started.")
            return self._endpoint

    @property
    def end(self) -> Ended | None:
        """How it ended; None while it lives."""
        with self._changed:
            return self._end

    @property
    def stderr_tail(self) -> str:
        """The last 64 KiB of the child's output."""
        with self._changed:
            log = self._log
        return log.text() if log is not None else ""

    def start(self) -> None:
        """Start the child and return at once; a second call does nothing. What still lives when the
        interpreter ends is stopped then.

        Raises OperationFailed without a runtime folder, EngineStartFailed when the program cannot be run.
        """
        # Signals are raised in the main thread only: in a thread of its own a start is never cut in half
        started: Future[None] = Future()
        starter = threading.Thread(
            target=self._carry_out_start, args=(started,), name="slmctl-worker-starter", daemon=True
        )
        try:
            starter.start()
            started.result()
        except (KeyboardInterrupt, SystemExit):
            while starter.is_alive():
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    starter.join()
            self._stop_in_spite_of_interrupts(0.0)
            raise

    def _carry_out_start(self, started: Future[None]) -> None:
        try:
            self._start()
            started.set_result(None)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            started.set_exception(error)

    def _start(self) -> None:
        with self._changed:
            if self._process is not None or self._state is not State.STARTING:
                return
            atexit.register(_stop_the_living)  # once more does no harm
            folder = RuntimeFolder.create(self._launch.folder_candidates)
            endpoint = Endpoint(folder.socket, secrets.token_hex(32))
            process: subprocess.Popen[bytes] | None = None
            try:
                self._make_links(folder)
                document = self._document(endpoint, folder)
                process = launch(
                    self._launch.argv, env=self._launch.environment, pass_fds=self._launch.pass_fds
                )
                if self._launch.niceness:
                    yield_to_others(process.pid, self._launch.niceness)
                self._begin(process, endpoint, document, folder)
            except BaseException as error:
                if process is not None:
                    _put_down(process)
                folder.remove()
                if isinstance(error, OSError | ValueError | RuntimeError | subprocess.SubprocessError):
                    raise self._cannot_start(error) from error
                raise

    def _begin(
        self, process: subprocess.Popen[bytes], endpoint: Endpoint, document: bytes, folder: RuntimeFolder
    ) -> None:
        """Hand the new child to its threads; the watcher owns it once it runs, and not before."""
        assert process.stdout is not None
        assert process.stderr is not None
        if self._launch.log is not None:
            self._log_file = LogFile(self._launch.log, self._launch.loggable)
        # owns the two pipes from here on
        log = LogTail([process.stdout, process.stderr], file=self._log_file)
        starting = threading.Thread(
            target=self._await_readiness,
            args=(process, endpoint, document, log),
            name="slmctl-worker-start",
            daemon=True,
        )
        watcher = threading.Thread(
            target=self._watch,
            args=(process, starting, folder, log),
            name="slmctl-worker-watcher",
            daemon=True,
        )
        _LIVING.add(self)
        starting.start()
        watcher.start()
        self._log = log
        self._endpoint = endpoint
        self._process = process

    def ensure_ready(self, timeout_seconds: float | None = None) -> Endpoint:
        """Start it if nobody has, wait until it answers, and give where. Callable from any number of threads.

        Raises EngineNotReady when `timeout_seconds` are over (it goes on loading), EngineStopped when it was
        stopped, and else what its end means: EngineFailed or what the engine's explanation names.
        """
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._state is not State.STARTING, timeout_seconds)
            match self._state:
                case State.READY:
                    assert self._endpoint is not None
                    return self._endpoint
                case State.STARTING:
                    raise EngineNotReady(
                        f"The engine is still loading the model after {timeout_seconds:g} seconds.",
                        hint="Wait longer; large models take minutes from a slow disk.",
                    )
                case State.CRASHED:
                    assert self._end is not None
                    raise self._end.explanation.as_error()
            raise EngineStopped("The engine was stopped.")

    def death(self, timeout_seconds: float) -> EngineFailed | None:
        """Wait so long for the end; give it as an error to whoever needed the worker, None while it lives."""
        if not self.ended.wait(timeout_seconds):
            return None
        end = self.end
        assert end is not None
        if end.state is State.STOPPED:
            return EngineStopped("The engine was stopped.")
        return EngineDied(end.explanation.sentence, hint=end.explanation.hint)

    def stop(self, grace_seconds: float = 5.0) -> None:
        """End it and return once the process is gone and the folder removed.

        A ready worker is told by the end of its standard input and has `grace_seconds` to go; one that is
        still loading has nothing to finish and may not hear it, so it gets SIGTERM at once. SIGKILL comes
        last. What already ended stays as it is.
        """
        with self._changed:
            if self._process is None:
                self._stop_unstarted()
                return
            was_starting = self._state is State.STARTING
            if self._state is State.READY and self._process.stdin is not None:
                self._process.stdin.close()
            if self._state in (State.STARTING, State.READY) and not self._gone.is_set():
                self._state = State.DRAINING
                self._changed.notify_all()
        if was_starting or not self.ended.wait(grace_seconds):
            self._signal(signal.SIGTERM)
            if not self.ended.wait(min(grace_seconds, _TERMINATE_SECONDS)):
                self._signal(signal.SIGKILL)
        self.ended.wait()

    def kill(self) -> None:
        """End it at once: it does what it should not. Returns when it is gone."""
        self.stop(grace_seconds=0.0)

    def __enter__(self) -> Self:
        """Start it; `with Worker(launch) as worker: worker.ensure_ready()`."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interruption = self._stop_in_spite_of_interrupts(5.0)
        if interruption is not None and error is None:
            raise interruption

    def _stop_in_spite_of_interrupts(self, grace_seconds: float) -> BaseException | None:
        """Put away what was started, whatever the user's impatience; gives the last interrupt that came."""
        interruption: BaseException | None = None
        while not self.ended.is_set():
            try:
                self.stop(grace_seconds if interruption is None else 0.0)
            except (KeyboardInterrupt, SystemExit) as another:
                interruption = another
        return interruption

    def _stop_unstarted(self) -> None:
        if self._end is None:
            self._state = State.STOPPED
            self._end = Ended(state=State.STOPPED, returncode=None, explanation=_STOPPED)
            self._changed.notify_all()
            self.ended.set()

    def _cannot_start(self, error: Exception) -> SlmctlError:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return EngineStartFailed(f"The engine's program {self._launch.argv[0]} cannot be run: {reason}.")

    def _make_links(self, folder: RuntimeFolder) -> None:
        for name, fd in self._launch.links.items():
            (folder.path / name).symlink_to(fd_path(fd))

    def _document(self, endpoint: Endpoint, folder: RuntimeFolder) -> bytes:
        document = {
            **self._launch.document,
            "parent": os.getpid(),
            "folder": str(folder.path),
            "socket": str(endpoint.socket),
            "key": endpoint.key,
        }
        return json.dumps(document, ensure_ascii=True, allow_nan=False).encode() + b"\n"

    def _await_readiness(
        self, process: subprocess.Popen[bytes], endpoint: Endpoint, document: bytes, log: LogTail
    ) -> None:
        """In a thread of its own: hand over the document, then look at /health until it is well or gone."""
        deadline = time.monotonic() + self._launch.start_timeout_seconds
        assert process.stdin is not None
        write_all(process.stdin.fileno(), document, deadline)
        delay = _FIRST_POLL_SECONDS
        watch: TemplateWatch | None = None
        while (rest := deadline - time.monotonic()) > 0:
            if self._gone.wait(min(delay, rest)):
                return
            if healthy(endpoint, timeout_seconds=min(_HEALTH_TIMEOUT_SECONDS, rest)):
                self._become_ready()
                return
            if watch is None and self._launch.is_at_template(log.text()):
                watch = TemplateWatch(process.pid)
            elif watch is not None and (overuse := watch.overuse()) is not None:
                self._give_up_starting(overuse)
                return
            delay = min(delay * 1.3, _LAST_POLL_SECONDS)
        self._give_up_starting(
            Explanation(
                sentence=f"The engine was not ready after {self._launch.start_timeout_seconds:g} seconds.",
                hint="Give it more time to start, or a smaller model.",
                error=EngineStartTimeout,
            )
        )

    def _become_ready(self) -> None:
        with self._changed:
            if self._state is State.STARTING:
                if self._log_file is not None:
                    self._log_file.expect_prompts()  # before anybody who waits here can ask anything
                self._state = State.READY
                self._changed.notify_all()

    def _give_up_starting(self, why: Explanation) -> None:
        with self._changed:
            if self._state is not State.STARTING:
                return
            self._given_up = why
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send to the worker's whole process group, which is its as long as we have not reaped it."""
        with self._changed:
            if self._process is not None and not self._reaped:
                with contextlib.suppress(
                    ProcessLookupError, PermissionError
                ):  # EPERM: macOS, only zombies left
                    os.killpg(self._process.pid, number)

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        starting: threading.Thread,
        folder: RuntimeFolder,
        log: LogTail,
    ) -> None:
        """In a thread of its own: wait for the end, clear up, tell."""
        wait_without_reaping(process.pid)
        self._signal(signal.SIGKILL)  # whatever the worker started goes with it
        self._gone.set()
        starting.join()  # it writes to the child's standard input, which is closed next
        with self._changed:
            returncode = process.wait()
            self._reaped = True
            if process.stdin is not None:
                process.stdin.close()
        end = Ended(state=State.CRASHED, returncode=returncode, explanation=_UNEXPLAINED)
        try:
            log.finish()
            folder.remove()
            end = self._how_it_ended(returncode, log.text())
            if self._log_file is not None:
                self._log_file.close(_last_line(end))
        finally:  # whatever went wrong here, nobody may wait forever
            with self._changed:
                self._end = end
                self._state = end.state
                self._changed.notify_all()
            self.ended.set()
            _LIVING.discard(self)
        if self._on_end is not None:
            self._on_end(end)

    def _how_it_ended(self, returncode: int, log: str) -> Ended:
        if self._state is State.DRAINING:
            return Ended(state=State.STOPPED, returncode=returncode, explanation=_STOPPED)
        if self._given_up is not None:
            explanation = self._given_up
        else:
            explanation = self._launch.explain(returncode, log)
            if self._state is State.STARTING and explanation.error is EngineFailed:
                explanation = dataclasses.replace(explanation, error=EngineStartFailed)
        return Ended(state=State.CRASHED, returncode=returncode, explanation=explanation)


_LIVING: weakref.WeakSet[Worker] = weakref.WeakSet()


def _stop_the_living() -> None:
    """At the interpreter's end: an interrupt at a bad moment may have left a worker without its owner."""
    for worker in list(_LIVING):
        worker.stop(grace_seconds=0.0)


def _put_down(process: subprocess.Popen[bytes]) -> None:
    """End a child that nobody watches yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()  # a LogTail has the other two, or they go with the process object


def _last_line(end: Ended) -> str:
    """How it ended, for the log. Not the explanation, which may have the engine's words in it."""
    return json.dumps({"ended": end.state.value, "returncode": end.returncode})


_STOPPED = Explanation(sentence="The engine was stopped.", error=EngineStopped)
_UNEXPLAINED = Explanation(sentence="The engine ended, and why could not be found out.")
