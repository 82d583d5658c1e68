"""Trying again: how often, after how long, and when not any more.

Waits grow twofold with full jitter (each is drawn evenly between nothing and the step), as in "Exponential
backoff and jitter" (AWS architecture blog, 2015), so that many clients do not come back at once. What a
server asks for in Retry-After (RFC 9110, section 10.2.3) is obeyed up to a limit.
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from registry.errors import Unreachable
from registry.remotes.base import TryAgain

T = TypeVar("T")

LONGEST_ASKED_SECONDS = 120.0
"""A server that wants to be left alone for longer is given up."""


def retry_after(value: str | None, *, now: float) -> float | None:
    """The seconds that a Retry-After header asks for; None for nothing, garbage and a negative number.

    It is a number of seconds or a date; a date that has passed is 0. `now` is seconds since 1970.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,15}", value, re.ASCII):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": UTC, from nowhere in particular
        return None
    return max(date.timestamp() - now, 0.0)


def pause_after(
    failures: int,
    asked: float | None,
    *,
    first: float,
    most: float,
    chance: Callable[[], float] = random.random,
) -> float:
    """Seconds to wait after so many failures in a row: drawn from 0 to `first`, which doubles up to `most`.

    A server that asks for a time gets it, and a little more by chance, which is a number from 0 up to 1.
    """
    jittered = chance() * min(first * 2.0 ** min(failures - 1, 60), most)
    return jittered if asked is None else asked + min(jittered, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how long to try.

    `attempts` in all; the first wait is drawn from 0 to `first_step` seconds, the step doubles up to
    `longest_step`; a server may ask for up to `longest_asked`; when `total` seconds would be over, it ends.
    Clock, sleep and chance (a number from 0 up to 1) are given so that tests need not wait.
    """

    attempts: int = 6
    first_step: float = 1.0
    longest_step: float = 30.0
    longest_asked: float = LONGEST_ASKED_SECONDS
    total: float = 300.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    chance: Callable[[], float] = field(default=random.random, repr=False)

    def wait_before(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait before attempt number `attempt` (the second is 1); see `pause_after`."""
        return pause_after(attempt, asked, first=self.first_step, most=self.longest_step, chance=self.chance)


OnWait = Callable[[float, TryAgain], None]
"""Told of each wait before it begins: seconds, and what went wrong."""


def silent(_seconds: float, _error: TryAgain) -> None:
    """Tells nobody."""


def patient(call: Callable[[], T], patience: Patience, on_wait: OnWait = silent) -> T:
    """Call until it works, and give what it gives. Raises its TryAgain when patience is over."""
    began = patience.clock()
    attempt = 1
    while True:
        try:
            return call()
        except TryAgain as error:
            failure = error
        if failure.after is not None and failure.after > patience.longest_asked:
            asked = in_words(failure.after)
            raise Unreachable(
                f"{failure.message.rstrip('.')}; the server wants to be left alone for {asked}.",
                hint="Try again after that.",
            ) from None
        wait = patience.wait_before(attempt, failure.after)
        if attempt >= patience.attempts or patience.clock() - began + wait > patience.total:
            raise failure
        on_wait(wait, failure)
        patience.sleep(wait)
        attempt += 1


def in_words(seconds: float) -> str:
    """A time for a sentence: `90 seconds`, `5 minutes`, `11574 days`."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
