"""What engines wrote, in slmctl's home: a file for each start of a model, with nothing of prompts or answers.

    logs/<model>.<number>.log      one line about the start, then the engine's, at the end how it ended
    logs/<model>.<number>.log.1    the lines before those, of an engine that wrote many

<model> is what a file system takes of the model's name, and a hash of all of it. Numbers rise with each start
of any model, so that the newest is the one that ran last whatever the clock says.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from registry.errors import NotFound, OperationFailed
from registry.names import short_name
from runtimes.logfile import is_written, older

KEPT_STARTS = 4
"""Of each model; each start keeps 64 KiB at most."""

KEPT_MODELS = 32

_FILE = re.compile(r"(?P<model>.+-[0-9a-f]{16})\.(?P<number>\d{1,18})\.log(?:\.1)?")
_READ_BYTES = 1 << 20
_NAME_CHARACTERS = 80
_POLL_SECONDS = 0.2
_PATIENCE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One start: `started` is RFC 3339 text. `ended` is "stopped" or "crashed", with the exit status as
    subprocess gives it; None while the engine runs, and for ever when slmctl was killed.
    """

    path: Path
    name: str
    variant: str
    engine: str
    started: str
    ended: str | None
    returncode: int | None
    lines: tuple[str, ...]


def begin_log(home: Path, *, name: str, variant: str, engine: str) -> Path | None:
    """Make the file for a start that is about to be; None where it cannot be made: a model runs without."""
    folder = home / "logs"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        starts = _starts(folder)
        _remove_oldest(starts, _file_name(name))
        number = max((number for _, number in starts), default=0)
        while True:
            number += 1
            path = folder / f"{_file_name(name)}.{number}.log"
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                break
        try:
            now = datetime.fromtimestamp(os.fstat(fd).st_mtime, UTC).isoformat(timespec="seconds")
            started = now.replace("+00:00", "Z")
            first = {"name": name, "variant": variant, "engine": engine, "started": started}
            os.write(fd, json.dumps(first).encode() + b"\n")
        finally:
            os.close(fd)
    except OSError:
        return None
    return path


def has_log(home: Path, name: str) -> bool:
    """Whether the model with this full name has run, as far as the logs go back."""
    try:
        return any(model == _file_name(name) for model, _ in _starts(home / "logs"))
    except OSError:
        return False


def newest_log(home: Path, name: str | None = None) -> Log:
    """The log of the newest start of the model with this full name, or of any model.

    Raises NotFound when there is none, OperationFailed when the logs cannot be read.
    """
    try:
        starts = _starts(home / "logs")
        wanted = None if name is None else _file_name(name)
        for model, number in sorted(starts, key=lambda start: start[1], reverse=True):
            if wanted in {None, model} and (log := read_log(home / "logs" / f"{model}.{number}.log")):
                return log
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OperationFailed(
            f"The logs in {home / 'logs'} cannot be read ({reason}).", hint="Check who owns them."
        ) from None
    if name is None:
        raise NotFound("No model has run yet.", hint="Logs begin with the first 'slmctl run NAME'.")
    short = short_name(name)
    raise NotFound(f"There is no log of a model {short}.", hint=f"Logs begin with 'slmctl run {short}'.")


def follow_log(log: Log) -> Generator[str]:
    """All lines of a log, those that are there and those that come, until its engine has ended.

    Of an engine whose slmctl was killed nobody writes the end: close the generator then.
    """
    try:
        current = log.path.open("rb")
    except FileNotFoundError:  # removed meanwhile: newer starts have taken its place
        return
    try:
        with contextlib.suppress(FileNotFoundError), older(log.path).open("rb") as stream:
            if not os.path.samestat(os.fstat(stream.fileno()), os.fstat(current.fileno())):
                yield from stream.read(_READ_BYTES).decode("utf-8", errors="replace").split("\n")[1:-1]
        current.readline()
        has_lines = False
        while True:
            # asked first: what is in it then is all of it
            is_over = has_lines and not is_written(current.fileno())
            has_next = not _is_at(current, log.path)
            while (line := current.readline()).endswith(b"\n"):
                text = line.decode("utf-8", errors="replace").rstrip("\n")
                if "ended" in _object(text):
                    return
                has_lines = True
                yield text
            current.seek(-len(line), os.SEEK_CUR)  # half a line
            if has_next:
                current.close()
                try:
                    current = log.path.open("rb")
                except FileNotFoundError:
                    return
                current.readline()
            elif is_over:  # its writer is gone and left no last line: slmctl was killed
                return
            else:
                time.sleep(_POLL_SECONDS)
    finally:
        current.close()


def _is_at(stream: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one at `path`. For a moment between two files there is none."""
    for _ in range(_PATIENCE):
        try:
            return os.path.samestat(os.fstat(stream.fileno()), path.stat())
        except FileNotFoundError:
            time.sleep(_POLL_SECONDS)
    return False


def _file_name(name: str) -> str:
    readable = re.sub(r"[^a-z0-9._-]", "_", name.lower())[:_NAME_CHARACTERS]
    return f"{readable}-{sha256(name.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _starts(folder: Path) -> dict[tuple[str, int], list[Path]]:
    """All starts with their files, by model and number; none when there is no folder."""
    starts: dict[tuple[str, int], list[Path]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if match := _FILE.fullmatch(entry.name):
                    starts.setdefault((match["model"], int(match["number"])), []).append(Path(entry.path))
    except (FileNotFoundError, NotADirectoryError):
        pass
    return starts


def _remove_oldest(starts: dict[tuple[str, int], list[Path]], starting: str) -> None:
    """Make room for one start more, of the model `starting`."""
    models = {starting: 1}
    for model, number in sorted(starts, key=lambda start: start[1], reverse=True):
        models[model] = models.get(model, 0) + 1
        if models[model] > KEPT_STARTS or len(models) > KEPT_MODELS:
            for path in starts[model, number]:
                path.unlink(missing_ok=True)


def read_log(path: Path) -> Log | None:
    """None for a file that is gone, or that is no log."""
    lines: list[str] = []
    for part in (older(path), path):
        with contextlib.suppress(FileNotFoundError), part.open("rb") as stream:
            first, *rest = stream.read(_READ_BYTES).decode("utf-8", errors="replace").split("\n")
            lines = [*(lines or [first]), *rest[:-1], *filter(None, rest[-1:])]  # the last may be cut
    about = _object(lines[0]) if lines else {}
    end = _object(lines[-1]) if len(lines) > 1 else {}
    returncode = end.get("returncode")
    if not about:
        return None
    return Log(
        path=path,
        name=str(about.get("name")),
        variant=str(about.get("variant")),
        engine=str(about.get("engine")),
        started=str(about.get("started")),
        ended=str(end["ended"]) if "ended" in end else None,
        returncode=returncode if isinstance(returncode, int) else None,
        lines=tuple(lines[1:-1] if "ended" in end else lines[1:]),
    )


def _object(line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
