"""What people and programs see: tables, sizes, ages, JSON documents, notes and progress.

stdout is data, stderr is talk. Nothing here needs more than the standard library, because `list` and
`version` must start fast; and what they do not always need of it is imported where it is used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from registry.errors import SlmctlError

if TYPE_CHECKING:
    from slmctl.app.events import Event, Progress, Transfer
    from slmctl.cli.transfers import TransferView

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_VERBS = {
    "copy": "storing",
    "hash": "hashing",
    "verify": "verifying",
    "export": "exporting",
    "import": "importing",
    "unpack": "unpacking",
    "convert": "converting",
    "quantize": "quantizing",
    "measure": "measuring",
}

_REFRESH_FRACTION = 0.01  # a progress line is drawn again when another hundredth is done


class Output:
    """How one command talks. `progress` is "auto", "json" or "none"; `verbose` shows what engines wrote,
    `quiet` leaves out notes and progress."""

    def __init__(self, command: str, *, as_json: bool, progress: str = "auto") -> None:
        self.command = command
        self.as_json = as_json
        self.progress = progress
        self.verbose = False
        self.quiet = False
        self._line_open = False
        self._drawn: dict[str, float] = {}
        self._transfers: TransferView | None = None

    def document(self, fields: Mapping[str, object]) -> None:
        """Write the command's one JSON document."""
        print_json(self.command, fields)

    def result(self, fields: Mapping[str, object], human: Callable[[], str]) -> None:
        """Write the outcome: the document with --json, else the text that `human` gives, if any."""
        self.end_progress()
        if self.as_json:
            self.document(fields)
        elif text := human():
            print(text, flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """A line for people; nothing with --progress json, where stderr is for programs."""
        if self.quiet:
            return
        if self.progress == "json":
            _write_json_line({"event": "note", "text": text})
        elif self._transfers is not None and self._transfers.is_open:
            self._transfers.note(clean(text))
        else:
            self.end_progress()
            _write_line(sys.stderr, clean(text))

    def on_event(self, event: Event) -> None:
        from slmctl.app.events import EngineLog, Note, ReadsFromDisk, Transfer

        if isinstance(event, Transfer):
            self._transfer(event)
        elif isinstance(event, Note):
            self.note(event.text)
        elif isinstance(event, EngineLog):
            if self.verbose:
                self.note(event.text.rstrip("\n"))
        elif isinstance(event, ReadsFromDisk):
            if self.progress == "auto" and not self.as_json and sys.stderr.isatty():
                size = human_bytes(event.size)
                self.note(f"Loading {size} from disk; while it stays in memory, the next start is faster.")
        elif self.progress == "json":
            _write_json_line(
                {"event": event.stage, "item": event.item, "done": event.done, "total": event.total}
            )
        elif self.progress == "auto" and sys.stderr.isatty():
            self._draw(event)

    def status(self, text: str) -> None:
        """A line that whatever comes next takes away."""
        if self.progress == "auto" and not self.quiet and sys.stderr.isatty():
            _write(sys.stderr, f"\r{clean(text)}\x1b[K")
            self._line_open = True

    def _transfer(self, event: Transfer) -> None:
        if self.quiet or self.progress == "none":
            return
        if self.progress == "json":
            _write_json_line(
                {
                    "event": event.stage,
                    "item": event.item,
                    "done": event.done,
                    "total": event.total,
                    "all_done": event.all_done,
                    "all_total": event.all_total,
                    "reused": event.reused,
                }
            )
            return
        if self._transfers is None:
            from slmctl.cli.transfers import new_view  # few commands transfer

            self.end_progress()
            self._transfers = new_view()
        self._transfers.show(event)

    def end_progress(self) -> None:
        if self._transfers is not None:
            self._transfers.end()
            self._transfers = None
        if self._line_open:
            _write(sys.stderr, "\r\x1b[K")
            self._line_open = False

    def _draw(self, event: Progress) -> None:
        share = event.done / event.total if event.total else 1.0
        what = f"{event.stage} {event.item}"
        if share < 1 and share - self._drawn.get(what, -1.0) < _REFRESH_FRACTION:
            return
        self._drawn[what] = share
        verb = _VERBS.get(event.stage, event.stage)
        text = f"{verb} {clean(event.item)[:40]}  {share:4.0%} of {human_bytes(event.total)}"
        _write(sys.stderr, f"\r{text}\x1b[K")
        self._line_open = True


def print_json(command: str, fields: Mapping[str, object]) -> None:
    """Write one document to stdout; indented for people, on one line for programs."""
    import json

    document = {"schema": f"slmctl.{command}/1", **fields}
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(document, ensure_ascii=not unicode, indent=2 if sys.stdout.isatty() else None)
    print(text, flush=True)  # noqa: T201


def print_error(error: SlmctlError, *, command: str, as_json: bool) -> None:
    """One sentence, then the line that says what to do; with --json a document on stdout."""
    if as_json:
        print_json(command, {"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        return
    _write_line(sys.stderr, f"slmctl: {clean(error.message)}")
    if error.hint:
        _write_line(sys.stderr, f"  {clean(error.hint)}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, four blanks apart, no borders."""
    lines = [list(header), *[[_one_line(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "    ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def sections(parts: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Titled blocks of rows (a name and a value, or a text and ""), as `show` prints them.

    Empty blocks are left out.
    """
    blocks = []
    for title, rows in parts.items():
        if rows:
            cells = [(_one_line(name), _one_line(value)) for name, value in rows]
            width = max(len(name) for name, _ in cells)
            lines = [f"    {name.ljust(width)}    {value}".rstrip() for name, value in cells]
            blocks.append("\n".join([f"  {title}", *lines]))
    return "\n\n".join(blocks)


def human_bytes(count: int | None) -> str:
    """Decimal units, one decimal below ten: `1.9 GB`, `12 GB`, `512 B`; `-` for an unknown size."""
    if count is None:
        return "-"
    for unit, suffix in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f} {suffix}" if value < 9.95 else f"{value:.0f} {suffix}"
    return f"{count} B"


def human_count(count: int | None) -> str:
    """`260K`, `596.05M`, `8.03B`; `-` when unknown."""
    if count is None:
        return "-"
    for unit, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.2f}".rstrip("0").rstrip(".") + suffix
    return str(count)


def human_age(moment: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 moment was: `2 hours ago`; `-` when unknown."""
    if moment is None:
        return "-"
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return "-"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    seconds = (now - then).total_seconds()
    if seconds < 0:
        return "in the future"
    for length, unit in ((31_557_600, "year"), (2_629_800, "month"), (604_800, "week"), (86_400, "day")):
        if seconds >= length * (2 if unit != "day" else 1):
            return _ago(int(seconds // length), unit)
    for length, unit in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length:
            return _ago(int(seconds // length), unit)
    return "just now"


def human_duration(seconds: float) -> str:
    """A length of time in its largest unit, rounded up: `5 minutes`, `1 second`."""
    for length, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return counted(math.ceil(seconds / length), unit)
    return counted(max(0, math.ceil(seconds)), "second")


def _ago(count: int, unit: str) -> str:
    return f"{counted(count, unit)} ago"


def counted(count: int, unit: str) -> str:
    """A number with its unit: `1 file`, `3 files`."""
    return f"{count} {unit}{'' if count == 1 else 's'}"


def clean(text: str) -> str:
    """Text from outside, harmless for a terminal: control characters but newline and tab become U+FFFD."""
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" or not _is_control(char) else "\ufffd" for char in text)


def _is_control(char: str) -> bool:
    """Control characters, line separators, and Unicode's controls of a text's direction."""
    import unicodedata

    return unicodedata.category(char) in {"Cc", "Zl", "Zp"} or char in _DIRECTIONS


def _one_line(text: str) -> str:
    return text if text.isprintable() else clean(text).replace("\n", " ").replace("\t", " ")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _write_json_line(fields: Mapping[str, object]) -> None:
    import json

    _write_line(sys.stderr, json.dumps(fields, ensure_ascii=False))


def _write_line(stream: TextIO, text: str) -> None:
    _write(stream, f"{text}\n")
