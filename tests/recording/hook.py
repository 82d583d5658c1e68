"""An audit hook (PEP 578) that notes whom a process asks: one line each, in a file of the process's own.

A line has the event, the host, the port, the program's arguments and the test, with tabs between them. Imports
nothing that an interpreter does not have from its start, and never fails what it watches.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

_SHOWN = 200


def install(folder: str) -> None:
    """Note from now on what this process asks for, and what it forks, in `folder` while that is there."""
    into: set[str] = sys.__dict__.setdefault("_slmctl_recordings", set())
    if folder in into:
        return  # `site` reads its files twice in a virtual environment
    into.add(folder)
    seen: set[tuple[str, str]] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event[:7] != "socket.":
            return
        asked = whom(event, arguments)
        if asked is None or (event, asked) in seen:
            return
        seen.add((event, asked))
        _write(folder, f"{event}\t{asked}")

    sys.addaudithook(hook)


def note(what: str) -> None:
    """Add a line to each recording that is made."""
    for folder in sys.__dict__.get("_slmctl_recordings", ()):
        _write(folder, what)


def _write(folder: str, what: str) -> None:
    said = " ".join(getattr(sys, "argv", ()))[:_SHOWN].replace("\n", " ").replace("\t", " ")
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]  # without "(call)"
    with suppress(OSError):
        fd = os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, f"{what}\t{said}\t{test}\n".encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)


def whom(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Host and port that an event names; None for a socket of this machine's file system, and for no host."""
    match event.removeprefix("socket."), arguments:
        case (("connect" | "sendto" | "sendmsg"), (_, (str() as host, port, *_))):
            return f"{host}\t{port}"
        case "getaddrinfo", (str() | bytes() as host, port, *_):
            return f"{_text(host)}\t{port}"
        case (("gethostbyname" | "gethostbyaddr"), (str() | bytes() as host, *_)):
            return f"{_text(host)}\t"
        case "getnameinfo", ((str() as host, port, *_), *_):
            return f"{host}\t{port}"
    return None


def _text(host: str | bytes) -> str:
    return host if isinstance(host, str) else host.decode("utf-8", "backslashreplace")
