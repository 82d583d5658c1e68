"""Work that would hold up the event loop, in a bounded number of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

MOST_THREADS = 4
"""Each can hold a child process that renders a template, or be at a schema."""

_POOL = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="slmctl-answering")  # starts none before its time


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` gives, from a thread; others wait for one of the threads meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, work)
