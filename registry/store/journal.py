"""What is known about a partial blob: text beside it, one fact a line, added to as parts arrive.

    slmctl.partial/1 HEX SIZE BOOT     whose it is, and the start of the system under which it was written
    state SOURCE VALIDATOR             the content's state where it was got last (a strong ETag); JSON strings
    done START STOP                    these bytes were written
    kept START-STOP,START-STOP,...     these bytes were flushed to the medium before this line was written

A line counts when it ends and everything before it counts. A process that dies takes nothing with it that it
had written: as long as the system has not been started anew, `done` is believed. After that only `kept` is,
since nothing says whether the other bytes reached the medium. Whatever is believed, the digest decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from registry.digest import Digest
from registry.store.spans import Spans

MAX_JOURNAL_BYTES = 64 << 20
"""More is not read: a chunk's line has some 25 bytes, so that this is a blob of many terabytes."""

_SCHEMA = "slmctl.partial/1"
_SPAN = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)
_DONE = re.compile(r"[0-9]{1,19} [0-9]{1,19}", re.ASCII)


def boot() -> str:
    """What differs after the system was started anew; empty where it does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


@dataclass(slots=True)
class Journal:
    """What a journal says: the bytes that are there, those of them that are durable, and the content's
    state as (source, validator)."""

    done: Spans = field(default_factory=Spans)
    kept: Spans = field(default_factory=Spans)
    state: tuple[str, str] | None = None

    @classmethod
    def parse(cls, raw: bytes, digest: Digest, size: int, *, this_boot: str) -> Journal:
        """Read a journal, whatever is in it: what is not understood ends it."""
        found = cls()
        header, *lines = raw.split(b"\n")[:-1] or [b""]
        written_under = header.rpartition(b" ")[2].decode("ascii", "replace")
        if header + b"\n" != header_line(digest, size, written_under):
            return found
        with suppress(ValueError):  # UnicodeDecodeError is one
            for line in lines:
                found._take(line.decode("utf-8"), size)
        if not this_boot or this_boot != written_under:
            found.done = found.kept.copy()
        return found

    def _take(self, line: str, size: int) -> None:
        """Read one line. Raises ValueError for one that is none."""
        word, _, rest = line.partition(" ")
        if word == "done" and _DONE.fullmatch(rest):
            self.done.add(*_span(rest.split(" "), size))
        elif word == "kept":
            parts = rest.split(",") if rest else []
            if not all(_SPAN.fullmatch(part) for part in parts):
                raise ValueError(line)
            self.kept = Spans(_span(part.split("-"), size) for part in parts)
            for start, stop in self.kept:
                self.done.add(start, stop)
        elif word == "state":
            pair = json.loads(f"[{rest}]")
            if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
                raise ValueError(line)
            self.state = (pair[0], pair[1])
        else:
            raise ValueError(line)

    def clip(self, length: int) -> None:
        """Forget what lies beyond the end of the file, which a power cut may have moved."""
        self.done, self.kept = (
            Spans((start, min(stop, length)) for start, stop in spans) for spans in (self.done, self.kept)
        )

    def to_bytes(self, digest: Digest, size: int, *, this_boot: str) -> bytes:
        lines = [header_line(digest, size, this_boot)]
        if self.state is not None:
            lines.append(state_line(*self.state))
        if self.kept:
            lines.append(kept_line(self.kept))
        lines += [done_line(start, stop) for start, stop in self.done]
        return b"".join(lines)


def header_line(digest: Digest, size: int, this_boot: str) -> bytes:
    return f"{_SCHEMA} {digest.hex} {size} {this_boot}\n".encode()


def state_line(source: str, validator: str) -> bytes:
    return f"state {json.dumps(source)},{json.dumps(validator)}\n".encode()


def done_line(start: int, stop: int) -> bytes:
    return f"done {start} {stop}\n".encode()


def kept_line(spans: Iterable[tuple[int, int]]) -> bytes:
    return f"kept {','.join(f'{start}-{stop}' for start, stop in spans)}\n".encode()


def _span(parts: list[str], size: int) -> tuple[int, int]:
    start, stop = int(parts[0]), int(parts[1])
    if not 0 <= start < stop <= size:
        raise ValueError(parts)
    return start, stop
