"""Reads the files of a folder as GGUF and prints what that took: a child process of the tests.

The folder's `sizes.json` maps each file's name to the size that it pretends to have, or null.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from pathlib import Path

from registry.errors import MalformedFile
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf


def peak_bytes() -> int:
    """The most memory that this program ever had resident.

    Linux carries ru_maxrss over from the parent of a forked child, so there VmHWM counts (proc_pid_status(5)).
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def read(path: Path, size: int | None) -> float:
    """Header and facts, as far as it goes; the seconds that it took."""
    start = time.perf_counter()
    with path.open("rb") as stream, contextlib.suppress(MalformedFile):
        facts_from_gguf([read_header(stream, size=size)])
    return time.perf_counter() - start


def main(folder: Path) -> None:
    """Print one JSON document: peak growth in bytes and seconds for each file."""
    sizes = json.loads((folder / "sizes.json").read_text())
    before = peak_bytes()
    seconds = {name: read(folder / name, size) for name, size in sizes.items()}
    sys.stdout.write(json.dumps({"growth_bytes": peak_bytes() - before, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
