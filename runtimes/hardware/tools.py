"""Running the tools of other people, which may hang: nvidia-smi does, when its driver does."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

TOOL_SECONDS = 3.0
"""How long a tool may take. nvidia-smi needs 0.1 to 1.5 s where the driver has to wake its devices first."""

_MOST_BYTES = 1 << 20
_KILL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool wrote, None where it wrote nothing in time, and what went wrong, None where nothing did.

    `problem` is a clause without a full stop. A tool that failed may have written something all the same;
    one that is not there has neither.
    """

    text: str | None = None
    problem: str | None = None
    hangs: bool = False
    """Its time was over."""


def run_tool(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float = TOOL_SECONDS,
    with_errors: bool = False,
) -> Answer:
    """Run a program for at most `seconds` and half a second more, and give what it wrote.

    `with_errors` has what it writes on stderr among it. Never raises.
    A program that cannot even be killed (it hangs in its driver) is left behind: the kernel reports it to
    nobody before the driver lets go.
    """
    import subprocess  # `slmctl list` looks at the memory and runs no tools, and must start fast

    name = os.path.basename(argv[0])  # noqa: PTH119 - pathlib is slow to make, and this is only a name
    try:
        child = subprocess.Popen(
            list(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Answer(problem=f"{name} could not be started ({error})")
    assert child.stdout is not None
    deadline = time.monotonic() + seconds
    with child.stdout:
        data, is_whole = _read_until(child.stdout.fileno(), deadline)
    hangs = Answer(problem=f"{name} did not answer within {seconds:g} s", hangs=True)
    if not is_whole:
        _end(child)
        if len(data) >= _MOST_BYTES:
            return Answer(problem=f"{name} wrote more than {_MOST_BYTES >> 20} MiB")
        return hangs
    try:
        code = child.wait(timeout=max(0.05, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _end(child)
        return hangs
    if code != 0:
        how = signal.Signals(-code).name if -code in set(signal.Signals) else str(code)
        return Answer(text=data.decode(errors="replace") or None, problem=f"{name} ended with {how}")
    return Answer(text=data.decode(errors="replace"))


def _read_until(fd: int, deadline: float) -> tuple[bytes, bool]:
    """What a pipe gives before its end or the deadline, and whether its end was seen."""
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = bytearray()
    while len(data) < _MOST_BYTES and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        chunk = os.read(fd, 65536)
        if not chunk:
            return bytes(data), True
        data += chunk
    return bytes(data), False


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    import subprocess  # as above

    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_KILL_SECONDS)
