"""The workers of a server, seen from outside (Linux)."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from tests.processes import children, until

_TICK = os.sysconf("SC_CLK_TCK")


def workers_of(server: int) -> dict[int, set[str]]:
    """The engine processes of a server, each with the digests (hex) of the blobs that it was given."""
    found = {}
    for child in children(server):
        with suppress(OSError):
            if b"workers/llamacpp.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                found[child] = _blobs(child)
    return found


def worker_with(server: int, blob: str) -> int | None:
    """The worker that was given the blob, None where there is none (yet)."""
    return next((pid for pid, blobs in workers_of(server).items() if blob in blobs), None)


def _blobs(pid: int) -> set[str]:
    """Open files, and those that are mapped: an engine closes what it has loaded."""
    paths = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    paths += [line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {Path(path).name for path in paths if "/blobs/sha256/" in path}


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_bytes(pid: int) -> int:
    """The memory of a process that is its own: libraries and files of the page cache are not counted."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssAnon")


def wait_until_idle(pid: int, *, seconds: float = 0.5, deadline_seconds: float = 30.0) -> None:
    """Until a process uses less than a tenth of one processor for `seconds`."""
    before = (time.monotonic(), processor_seconds(pid))

    def look() -> bool | None:
        nonlocal before
        now = time.monotonic()
        if now - before[0] < seconds:
            return None
        used = processor_seconds(pid)
        idle = used - before[1] < 0.1 * (now - before[0])
        before = (now, used)
        return idle or None

    until(look, deadline_seconds=deadline_seconds)
