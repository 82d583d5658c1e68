"""Running a command under strace: which calls it makes, in which order, and making one of them fatal or fail.

Every thread has an output file of its own (`-ff`), and `when=N` counts the calls of each thread by itself
(strace(1), "Tampering"), so a call's ordinal is counted per thread and per name of the call. Strings are asked
for in hexadecimal (`-xx`): then no quote or bracket inside one can be taken for strace's own.

A signal is sent when the call is entered. A thread that has a SIGKILL pending does not execute the call
(syscall_trace_enter in kernel/entry/common.c), so the process dies between the call before and this one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tests.recording.judging import is_here

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "openat": ("open", "openat", "openat2", "creat"),
    "write": ("write", "writev"),
    "pwrite64": ("pwrite64", "pwritev", "pwritev2"),
    "fsync": ("fsync", "fdatasync", "syncfs", "sync_file_range"),
    "rename": ("rename", "renameat", "renameat2"),
    "link": ("link", "linkat", "symlink", "symlinkat"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "ftruncate": ("ftruncate", "truncate", "fallocate"),
    "copy_file_range": ("copy_file_range", "sendfile", "ioctl"),
    "chmod": ("chmod", "fchmod", "fchmodat"),
    "mkdir": ("mkdir", "mkdirat"),
}
"""The calls that can change a store, by the names in the tables. Of `ioctl` only FICLONE and its kin count."""

FAMILY_OF = {call: family for family, calls in FAMILIES.items() for call in calls}

_OFFSETS = ("lseek",)
_CONNECTIONS = ("connect",)
_CLONES = ("FICLONE", "FICLONERANGE", "FIDEDUPERANGE")
_MACHINE = {
    "x86_64": (),
    "aarch64": ("open", "creat", "rename", "link", "symlink", "unlink", "rmdir", "mkdir", "chmod"),
}
DEADLINE_SECONDS = 60.0

_LINE = re.compile(r"(?P<time>\d+\.\d+) (?P<call>[a-z_0-9]+)\((?P<arguments>.*)\)\s+= (?P<result>.*)$")
_CUT = re.compile(r"(?P<time>\d+\.\d+) (?P<call>[a-z_0-9]+)\((?P<arguments>.*)$")
_FD = re.compile(r"(?<![\w<])(-?\d+|AT_FDCWD)<([^>]*)>")
_INTERNET = re.compile(r'connect\(.*sa_family=AF_INET6?,.*"((?:\\x[0-9a-f]{2})*)"')
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One call of one thread.

    `thread` counts the threads from 0, `ordinal` the thread's calls of this name from 1. `descriptors` are the
    numbers and paths of its descriptors, `strings` its strings, `rest` all arguments with both taken out, as
    strace wrote them. `result` is None for a call that did not return; `error` is the errno's name. `of_path` is its
    number among the thread's calls of this name that name its first path, for who wants it told by that; else 0.
    """

    seconds: float
    thread: int
    call: str
    ordinal: int
    descriptors: tuple[tuple[int, str], ...]
    strings: tuple[bytes, ...]
    rest: str
    result: int | None
    result_path: str | None = None
    error: str | None = None
    paths: tuple[str, ...] = field(default=())
    of_path: int = 0

    @property
    def family(self) -> str:
        return FAMILY_OF[self.call]

    @property
    def changes(self) -> bool:
        """Whether it is there to change something: every call but the opening of what is only read."""
        return self.family != "openat" or bool({"O_CREAT", "O_TRUNC"} & {*re.split(r"[|, ]+", self.rest)})

    @property
    def numbers(self) -> list[int]:
        """The plain integer arguments behind descriptors and strings, in order."""
        return [int(text) for text in re.findall(r"(?<![\w.])-?\d+(?![\w.])", self.rest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One traced run: its calls in its world in time's order, how it ended, and what it said."""

    events: tuple[Event, ...]
    killed: bool
    code: int
    out: str
    err: str

    def touching(self, folders: Iterable[Path], exactly: Iterable[Path] = ()) -> list[Event]:
        """The calls that name a path in one of `folders`, or one of the paths `exactly`."""
        roots, themselves = tuple(map(str, folders)), {str(path) for path in exactly}
        return [
            event
            for event in self.events
            if event.call in FAMILY_OF and (_names(event, roots) or themselves & {*event.paths})
        ]


@cache
def why_not() -> str | None:
    """Why strace cannot be used here; None when it can."""
    if sys.platform != "linux":
        return "strace is a program for Linux"
    if shutil.which("strace") is None:
        return "needs strace"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "strace may not trace here" if tried.returncode else None


@dataclass(frozen=True, slots=True)
class Injection:
    """What happens to the call `call` of ordinal `ordinal`: `what` is strace's `signal=KILL`, `error=EIO`...

    With a `path` only the calls that name it are counted, and nothing else is recorded.
    """

    call: str
    ordinal: int
    what: str
    path: str | None = None

    @property
    def option(self) -> str:
        return f"inject={self.call}:{self.what}:when={self.ordinal}"


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    injection: Injection | None = None,
) -> Run:
    """Run `command` under strace to its end; its world is `environment["HOME"]`.

    `scratch` is a folder that is not there and is removed again.
    """
    scratch.mkdir()
    calls = [
        call
        for call in (*FAMILY_OF, *_OFFSETS, *_CONNECTIONS)
        if call not in _MACHINE.get(os.uname().machine, ())
    ]
    tracer = ["strace", "-ff", "-y", "-xx", "-s", str(1 << 28), "-ttt", "-o", str(scratch / "t")]
    tracer += ["-e", f"trace={','.join(calls)}", "-e", "signal=none"]
    if injection is not None:
        tracer += ["-e", injection.option]
        tracer += ["-P", injection.path] if injection.path is not None else []
    try:
        done = subprocess.run(
            [*tracer, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environment),
            cwd="/",
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        events = list(_read(scratch, Path(environment["HOME"])))
    finally:
        shutil.rmtree(scratch)
    return Run(
        events=tuple(events),
        killed=done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL},
        code=done.returncode,
        out=done.stdout.decode(),
        err=done.stderr.decode(),
    )


def _read(folder: Path, world: Path) -> Iterator[Event]:
    """The calls that name a path in `world`; the others, nine of ten, are only counted.

    Without `site` a program is not in the suite's recording (tests/recording), so whom it asks is looked at here.
    """
    found: list[Event] = []
    needle = "".join(f"\\x{byte:02x}" for byte in os.fsencode(world))
    files = sorted(folder.glob("t.*"), key=lambda path: int(path.suffix[1:]))
    for thread, path in enumerate(files):
        counts: Counter[str] = Counter()
        for line in path.read_text().splitlines():
            if asked := _INTERNET.search(line):
                host = _text(asked[1])
                assert is_here(host), f"{host} was asked: {line}"
            if needle not in line:
                if match := _CUT.match(line):
                    counts[match["call"]] += 1
                continue
            event = parse(line, thread, counts, "/")
            if event is not None:
                found.append(event)
    yield from sorted(found, key=lambda event: event.seconds)


def parse(line: str, thread: int, counts: Counter[str], cwd: str) -> Event | None:
    """The call on a line of strace's output, counted in `counts`; None for a line that is none."""
    match = _LINE.match(line) or _CUT.match(line)
    if match is None:
        return None
    call, arguments = match["call"], match["arguments"]
    result = match.groupdict().get("result") or "?"
    counts[call] += 1
    descriptors = tuple(
        (-100 if number == "AT_FDCWD" else int(number), _text(path))
        for number, path in _FD.findall(arguments)
    )
    strings = tuple(_bytes(text) for text, _ in _STRING.findall(arguments))
    if call == "ioctl" and not any(clone in arguments for clone in _CLONES):
        descriptors = ()
    returned = re.match(r"(-?\d+)(?:<([^>]*)>)?(?: (E[A-Z0-9]+))?", result)
    event = Event(
        seconds=float(match["time"]),
        thread=thread,
        call=call,
        ordinal=counts[call],
        descriptors=descriptors,
        strings=strings,
        rest=_STRING.sub("", _FD.sub("", arguments)),
        result=int(returned[1]) if returned else None,
        result_path=_text(returned[2]) if returned and returned[2] else None,
        error=returned[3] if returned else None,
    )
    return _with_paths(event, cwd)


def _with_paths(event: Event, cwd: str) -> Event:
    """The event with the paths that it names: those of its strings first, then those of its descriptors."""
    call = event.call
    paths: list[str] = []
    if call not in {"write", "writev", "pwrite64", "pwritev", "pwritev2", "lseek", "ioctl"}:
        folders = [path for _, path in event.descriptors] if call.endswith(("at", "at2")) else []
        strings = event.strings[1:] if call.startswith("symlink") else event.strings
        for position, raw in enumerate(strings):
            base = folders[min(position, len(folders) - 1)] if folders else cwd
            paths.append(os.path.normpath(os.path.join(base, os.fsdecode(raw))))  # noqa: PTH118
    if not event.strings or not paths:
        paths += [path for _, path in event.descriptors]
    return replace(event, paths=tuple(paths))


def _names(event: Event, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for path in event.paths for root in roots)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    """A path as strace shows it behind a descriptor."""
    plain, _, rest = text.partition(" ")  # " (deleted)"
    try:
        return os.fsdecode(_bytes(plain))
    except ValueError:  # a pipe or a socket, which strace writes in plain
        return f"{plain} {rest}"
