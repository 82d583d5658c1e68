"""The only place that starts workers: one thread that lives as long as the process.

Linux ties the parent-death signal to the *thread* that forked. A worker started from a thread of a pool would
be killed when that thread ends, so all of them are started from here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    argv: tuple[str, ...]
    env: dict[str, str]
    pass_fds: tuple[int, ...]
    started: Future[subprocess.Popen[bytes]]

    def carry_out(self) -> None:
        try:
            self.started.set_result(
                subprocess.Popen(
                    self.argv,
                    env=self.env,
                    pass_fds=self.pass_fds,
                    close_fds=True,
                    start_new_session=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                )
            )
        except Exception as error:  # noqa: BLE001 - it is the caller's; this thread must live on
            self.started.set_exception(error)


class Launcher:
    """Starts child processes from a daemon thread of its own, which begins with the first launch."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def launch(
        self, argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start `argv` in a session of its own with pipes on stdin, stdout and stderr (all unbuffered).

        On return the child has its copies of `pass_fds`. Thread-safe. Raises OSError when it cannot start.
        """
        self._ensure_thread()
        order = _Order(argv=tuple(argv), env=dict(env), pass_fds=tuple(pass_fds), started=Future())
        self._orders.put(order)
        try:
            return order.started.result()
        except BaseException:
            # Ctrl-C while waiting: nobody will ever own the child that is being started
            order.started.add_done_callback(_abandon)
            raise

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="slmctl-launcher", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while True:
            self._orders.get().carry_out()


def _abandon(started: Future[subprocess.Popen[bytes]]) -> None:
    if started.exception() is None:
        child = started.result()
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


_of_this_process = Launcher()


def launch(
    argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """`Launcher.launch` of the one launcher of this process."""
    return _of_this_process.launch(argv, env=env, pass_fds=pass_fds)
