"""What the probes look at: a tree of files, a runner of tools, and what the system says of this process.

Tests give a folder with captured files and a table of captured texts; `this_system` gives the machine itself.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtimes.environment import worker_environment
from runtimes.hardware.tools import TOOL_SECONDS, Answer, run_tool

_MOST_BYTES = 1 << 20


class Runner(Protocol):
    def __call__(
        self, argv: Sequence[str], *, seconds: float = TOOL_SECONDS, with_errors: bool = False
    ) -> Answer:
        """Run a tool by its name or path for at most `seconds`; never raises.

        A tool that is not there has an Answer without text and without problem.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One machine, as far as probes can see it.

    Paths are absolute ones of that machine, below `root` here. `platform` is `sys.platform`'s word, `machine`
    that of uname(2). `run` runs a tool by its bare name (or a path) and never raises; `affinity` are the
    numbers of the CPUs that this process may run on, None where the system has no such thing. `environment`
    is what `worker_environment` leaves, and KUBERNETES_SERVICE_HOST.
    """

    root: Path
    platform: str
    machine: str
    environment: Mapping[str, str]
    run: Runner
    affinity: frozenset[int] | None = None

    def read_bytes(self, path: str, most: int = _MOST_BYTES) -> bytes | None:
        """The file, or its first MiB; None where there is none to read. Never blocks on a pipe."""
        try:
            fd = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            data = bytearray()
            while len(data) < most and (chunk := os.read(fd, min(65536, most - len(data)))):
                data += chunk
            return bytes(data)
        except OSError:  # EINVAL, EPERM, ENODEV: sysfs has all of them
            return None
        finally:
            os.close(fd)

    def read(self, path: str, most: int = _MOST_BYTES) -> str | None:
        """As `read_bytes`, as text; what is no UTF-8 becomes U+FFFD."""
        data = self.read_bytes(path, most)
        return None if data is None else data.decode(errors="replace")

    def value(self, path: str) -> str | None:
        """A file of one short line without its line end, as sysfs has them; None where there is none."""
        text = self.read(path, 4096)
        return None if text is None else text.strip("\n\0 ")

    def number(self, path: str) -> int | None:
        """A file with one decimal number; None where there is none."""
        text = self.value(path)
        return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None

    def names(self, path: str) -> tuple[str, ...]:
        """What a folder has, sorted; empty where there is none."""
        try:
            return tuple(sorted(os.listdir(self._at(path))))  # noqa: PTH208 - strings are what is wanted
        except (OSError, ValueError):
            return ()

    def exists(self, path: str) -> bool:
        return os.path.exists(self._at(path))  # noqa: PTH110 - never raises, unlike pathlib's

    def target(self, path: str) -> str | None:
        """The last name in a symbolic link's target: what sysfs calls a driver. None where there is none."""
        try:
            return os.path.basename(os.readlink(self._at(path)))  # noqa: PTH115, PTH119 - strings
        except (OSError, ValueError):
            return None

    def _at(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))  # noqa: PTH118 - thousands of small files are read


def this_system(environment: Mapping[str, str]) -> System:
    """The machine that this runs on; `environment` is the process's, from `slmctl.config`."""
    kept = worker_environment(environment)
    if "KUBERNETES_SERVICE_HOST" in environment:
        kept["KUBERNETES_SERVICE_HOST"] = environment["KUBERNETES_SERVICE_HOST"]
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return System(
        root=Path("/"),
        platform=sys.platform,
        machine=os.uname().machine,
        environment=kept,
        run=functools.partial(_run, environment=kept),
        affinity=frozenset(affinity(0)) if affinity else None,
    )


def _run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float = TOOL_SECONDS,
    with_errors: bool = False,
) -> Answer:
    path = shutil.which(argv[0], path=environment.get("PATH", os.defpath))
    if path is None:
        return Answer()
    command = [path, *argv[1:]]
    return run_tool(command, environment=environment, seconds=seconds, with_errors=with_errors)
