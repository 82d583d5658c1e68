"""How pulls and pushes are shown: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from slmctl.app.events import Transfer
from slmctl.cli.render import clean, human_bytes

if TYPE_CHECKING:
    from rich.console import Console, Group

_SPEED_SECONDS = 5.0
"""The speed is that of so long."""
_FIRST_LOG_SECONDS = 2.0
_LOG_SECONDS = 10.0
"""So often a log gets a line; the first one comes early, unless it is over by then."""
_REFRESH_SECONDS = 0.1
_MOST_BARS = 6
_LABEL_CHARACTERS = 32

VERBS = {"pull": "pulling", "push": "pushing"}


class TransferView(Protocol):
    """Where progress is shown."""

    @property
    def is_open(self) -> bool:
        """Whether lines of others must go through `note`."""

    def show(self, event: Transfer) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...


def new_view() -> TransferView:
    """What fits stderr: bars on a terminal that can redraw them."""
    if not sys.stderr.isatty():
        return LogLines()
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    return LogLines() if console.is_dumb_terminal else Bars(console)


class Speed:
    """Bytes a second over the last seconds, without bytes that were there already."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, event: Transfer) -> None:
        now = self._clock()
        self._seen.append((now, event.all_done - event.reused))
        while len(self._seen) > 2 and now - self._seen[1][0] > _SPEED_SECONDS:
            self._seen.popleft()

    @property
    def bytes_per_second(self) -> float | None:
        """None until there is something to tell it from."""
        if len(self._seen) < 2:
            return None
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return max(0, after - before) / (last - first) if last - first > 0.2 else None

    def seconds_left(self, event: Transfer) -> float | None:
        speed = self.bytes_per_second
        return (event.all_total - event.all_done) / speed if speed else None


def summary(event: Transfer, speed: Speed) -> str:
    """`43% of 2.5 GB, 112 MB/s, 12 s left`."""
    share = event.all_done / event.all_total if event.all_total else 1.0
    parts = [f"{share:4.0%} of {human_bytes(event.all_total)}"]
    if (bytes_per_second := speed.bytes_per_second) is not None:
        parts.append(f"{human_bytes(int(bytes_per_second))}/s")
    if (left := speed.seconds_left(event)) is not None and event.all_done < event.all_total:
        parts.append(f"{human_left(left)} left")
    return ", ".join(parts)


def human_left(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def shortened(label: str) -> str:
    """What a blob is called, without its beginning where it is long: shards differ at their ends."""
    label = clean(label).replace("\n", " ").replace("\t", " ")
    return label if len(label) <= _LABEL_CHARACTERS else f"…{label[1 - _LABEL_CHARACTERS :]}"


class LogLines:
    """A line soon and then every few seconds, for who reads stderr later."""

    is_open = False

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._speed = Speed(clock)
        self._next = clock() + _FIRST_LOG_SECONDS

    def show(self, event: Transfer) -> None:
        self._speed.take(event)
        if self._clock() >= self._next:
            self._next = self._clock() + _LOG_SECONDS
            verb = VERBS.get(event.stage, event.stage)
            print(f"{verb} {summary(event, self._speed)}", file=sys.stderr, flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def end(self) -> None:
        pass


class Bars:
    """A bar for each blob that moves, and a line for all of them below; gone when it is over."""

    is_open = True

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._speed = Speed()
        self._moving: dict[str, Transfer] = {}
        self._drawn = 0.0
        self._started = False

    def show(self, event: Transfer) -> None:
        self._speed.take(event)
        if event.done >= event.total:
            self._moving.pop(event.item, None)
        else:
            self._moving[event.item] = event
        now = time.monotonic()
        if now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        if not self._started:
            self._started = True
            self._live.start()
        self._live.update(self._picture(event), refresh=True)

    def note(self, text: str) -> None:
        self._live.console.print(text, markup=False, soft_wrap=True)

    def end(self) -> None:
        if self._started:
            self._live.stop()

    def _picture(self, event: Transfer) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        for each in list(self._moving.values())[:_MOST_BARS]:
            bar = ProgressBar(total=max(1, each.total), completed=each.done, width=24)
            share = each.done / each.total if each.total else 1.0
            grid.add_row(
                Text(shortened(each.item), no_wrap=True),
                bar,
                Text(f"{share:4.0%} of {human_bytes(each.total)}", no_wrap=True),
            )
        verb = VERBS.get(event.stage, event.stage)
        return Group(grid, Text(f"{verb} {summary(event, self._speed)}", no_wrap=True))
