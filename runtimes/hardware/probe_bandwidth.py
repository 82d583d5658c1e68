"""How fast the memory is read: measured once per machine, by a child process."""

from __future__ import annotations

import dataclasses
import sys
from datetime import date, timedelta

from runtimes.hardware.cache import Cache
from runtimes.hardware.machine import Cpu, Memory
from runtimes.hardware.parse_memory import decimal
from runtimes.hardware.system import System
from runtimes.launch import worker_argv

MOST_THREADS = 8
LEAST_AVAILABLE = 1 << 30
"""Below this nothing is measured: 64 MiB for each thread would be missed elsewhere (fit.md 4.3)."""

LASTS = timedelta(days=30)
"""After so long it is measured anew: the disk may be in another machine, and a VM on another host."""

_SLOWEST, _FASTEST = 50_000_000, 1_000_000_000_000
"""Bytes per second that can be true. 8 threads that read 1 TB/s would be 125 GB/s each, which no core reads
beyond its second cache (with HBM or in an L3 it is a third of that); 50 MB/s is slower than a disk."""

_SECONDS = 5.0
_MUCH_LESS = 0.8
"""A share of the best figure; what is below it is worth a note."""

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
    today: str | None = None,
) -> Memory:
    """The memory with its bandwidth, of the cache or measured now (0.3 s of reading, fit.md 4.3).

    Without `measure` only the cache is looked at. With `again` it is measured even where there is a figure,
    and the larger one is kept: whatever else runs makes it smaller, and nothing makes it larger. It is what
    the decoding threads reach together, and so the product of bandwidth and efficiency that decoding sees.
    `today` is a date to keep with it; on a day that is more than `LASTS` from that of the figure, that is
    measured anew and counts no more. Without `measure`, or where it cannot be measured, an old one is better
    than none. What no machine has is no figure, whoever says it.
    """
    threads = min(cpu.threads, MOST_THREADS)
    key = [_NAME, str(cpu.model), cpu.architecture, str(threads)]
    kept, _, day = (cache.text(_NAME, key) or "").partition(" ")
    best = _plausible(kept)
    lapsed = today is not None and not _is_recent(day, today)
    if measure and (again or not best or lapsed) and _has_room(memory):
        answer = system.run(
            [*worker_argv("bandwidth", python=sys.executable), str(threads)], seconds=_SECONDS
        )
        found = _plausible((answer.text or "").strip())
        if not found:
            problem = answer.problem or ("no machine is like that" if answer.text else "no answer")
            notes.append(f"The memory's bandwidth could not be measured: {problem}.")
        elif lapsed or found > (best or 0):
            best, day = found, today or ""
            cache.keep(_NAME, key, f"{best} {day}".strip())
        elif best and found < _MUCH_LESS * best:
            notes.append(
                f"The memory was read at {found / 1e9:.1f} GB/s just now, and at {best / 1e9:.1f} GB/s"
                f"{f' on {day}' if day else ' before'}, which counts: what else runs makes it look slower."
            )
    if not best:
        return memory
    how = f"read by {threads} thread{'s' if threads > 1 else ''}{f', {day}' if day else ''}"
    return dataclasses.replace(
        memory, bandwidth=best, bandwidth_measured=True, source=f"{memory.source}; bandwidth: {how}"
    )


def _plausible(text: str) -> int | None:
    found = decimal(text)
    return found if found is not None and _SLOWEST <= found <= _FASTEST else None


def _is_recent(day: str, today: str) -> bool:
    try:
        return abs(date.fromisoformat(today) - date.fromisoformat(day)) <= LASTS
    except ValueError:  # of before figures had a date
        return False


def _has_room(memory: Memory) -> bool:
    """Whether there is memory for the buffers, in all control groups too."""
    return min([memory.available, *(each.limit - each.usage for each in memory.limits)]) >= LEAST_AVAILABLE
