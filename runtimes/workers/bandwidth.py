"""The child process that measures how fast this machine reads memory: bytes per second on stdout.

Run by path as `python -P bandwidth.py THREADS`; imports the standard library only. Each thread reads a
private buffer of 64 MiB from end to end with memchr(3), looking for a byte that is not in it: libc's is
written for the vector unit, writes nothing, and a call through ctypes lets the other threads run. The best of
three windows of 80 ms counts: whatever disturbs a window makes it slower, and nothing makes it faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import threading
import time

BUFFER_BYTES = 64 << 20
PIECE_BYTES = 4 << 20  # what is read between two looks at the clock
WINDOW_SECONDS = 0.08
WINDOWS = 3

_LIBC = ctypes.CDLL(None)
_LIBC.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_LIBC.memchr.restype = ctypes.c_void_p


def buffer() -> tuple[mmap.mmap, int]:
    """Memory and its address, written to: pages that nobody wrote are all the same page of zeros."""
    memory = mmap.mmap(-1, BUFFER_BYTES)
    with contextlib.suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.memset(address, 1, BUFFER_BYTES)
    return memory, address


def window(addresses: list[int]) -> float:
    """Bytes per second that all threads together read in one window."""
    read = [0] * len(addresses)
    start = time.perf_counter()

    def work(number: int) -> None:
        offset = 0
        while time.perf_counter() - start < WINDOW_SECONDS:
            _LIBC.memchr(addresses[number] + offset, 0xFF, PIECE_BYTES)
            read[number] += PIECE_BYTES
            offset = (offset + PIECE_BYTES) % BUFFER_BYTES

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(addresses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(read) / (time.perf_counter() - start)


def main() -> None:
    threads = int(sys.argv[1])
    buffers = [buffer() for _ in range(threads)]
    addresses = [address for _, address in buffers]
    best = max(window(addresses) for _ in range(WINDOWS))
    sys.stdout.write(f"{int(best)}\n")


if __name__ == "__main__":
    main()
