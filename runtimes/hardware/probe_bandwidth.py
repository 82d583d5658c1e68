"""How fast the memory is read: measured once per machine, by a child process."""

from __future__ import annotations

import dataclasses
import sys

from runtimes.hardware.cache import Cache
from runtimes.hardware.machine import Cpu, Memory
from runtimes.hardware.parse_memory import decimal
from runtimes.hardware.system import System
from runtimes.launch import worker_argv

MOST_THREADS = 8
LEAST_AVAILABLE = 1 << 30
"""Below this nothing is measured: 64 MiB for each thread would be missed elsewhere (fit.md 4.3)."""

_SECONDS = 5.0
_NAME = "bandwidth"


def with_bandwidth(
    system: System,
    cpu: Cpu,
    memory: Memory,
    *,
    cache: Cache,
    notes: list[str],
    measure: bool,
    again: bool = False,
) -> Memory:
    """The memory with its bandwidth, of the cache or measured now (0.3 s of reading, fit.md 4.3).

    Without `measure` only the cache is looked at. With `again` it is measured even where there is a figure,
    and the larger one is kept: whatever else runs makes it smaller, and nothing makes it larger. It is what
    the decoding threads reach together, and so the product of bandwidth and efficiency that decoding sees.
    """
    threads = min(cpu.threads, MOST_THREADS)
    key = [_NAME, str(cpu.model), cpu.architecture, str(threads)]
    kept = decimal(cache.text(_NAME, key) or "")
    if (again or not kept) and measure:
        if min([memory.available, *(each.limit - each.usage for each in memory.limits)]) < LEAST_AVAILABLE:
            return _known(memory, kept, threads)
        answer = system.run(
            [*worker_argv("bandwidth", python=sys.executable), str(threads)], seconds=_SECONDS
        )
        found = decimal((answer.text or "").strip())
        if not found:
            notes.append(f"The memory's bandwidth could not be measured: {answer.problem or 'no answer'}.")
        elif found > (kept or 0):
            kept = found
            cache.keep(_NAME, key, str(kept))
    return _known(memory, kept, threads)


def _known(memory: Memory, bandwidth: int | None, threads: int) -> Memory:
    if not bandwidth:
        return memory
    return dataclasses.replace(
        memory,
        bandwidth=bandwidth,
        bandwidth_measured=True,
        source=f"{memory.source}; bandwidth: read by {threads} thread{'s' if threads > 1 else ''}",
    )
