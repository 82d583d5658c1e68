"""What a start of a worker needs, and the pure parts of preparing it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtimes.engines.base import Explanation
from runtimes.logfile import Loggable


def _nothing(_: str) -> None:
    pass


def _never(_: str) -> bool:
    return False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that a start needs.

    `document` is the engine's (`Engine.command`); the worker adds socket, key, folder and parent. `pass_fds`
    are given to the child under the same numbers, and may be closed once `Worker.start` is back. `links`
    become symbolic links in the worker's folder, file name to descriptor, for engines that want files by
    their names (a relative "model" in the document lies in that folder). `folder_candidates` are tried in
    order for the runtime folder. `lease` is a file that a holder removes when its worker is gone. `log` is a
    file that is there and gets the worker's output; once there may be prompts, only what `loggable`
    (`Engine.loggable`) leaves of a line. `is_at_template` is
    `Engine.is_at_template`. The worker steps back `niceness` levels from this process where both want a
    processor. Raises ValueError for a link whose name is no plain file name.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    document: Mapping[str, object]
    explain: Callable[[int | None, str], Explanation]
    folder_candidates: Sequence[Path]
    pass_fds: tuple[int, ...] = ()
    links: Mapping[str, int] = dataclasses.field(default_factory=dict)
    start_timeout_seconds: float = 300.0
    lease: str | None = None
    log: Path | None = None
    loggable: Loggable = _nothing
    is_at_template: Callable[[str], bool] = _never
    niceness: int = 0

    def __post_init__(self) -> None:
        for name in self.links:
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} is no file name")


_WORKERS = Path(__file__).parent / "workers"


def worker_argv(worker: str, *, python: str = sys.executable) -> tuple[str, ...]:
    """How the program runtimes/workers/`worker`.py is run: -P keeps its folder off the import path."""
    return (python, "-P", str(_WORKERS / f"{worker}.py"))


def fd_path(fd: int) -> str:
    """The path by which a child opens the descriptor `fd` that was handed to it."""
    return f"/proc/self/fd/{fd}" if sys.platform == "linux" else f"/dev/fd/{fd}"
