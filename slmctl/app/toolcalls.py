"""Tool calls in a text that comes in pieces, for models whose prompts slmctl renders.

Text before a call passes at once; what may be the beginning of a mark is held back, and a call until it is
whole. Every character is looked at a bounded number of times. What turns out to be no call of an offered tool
stays text, as it was written. Blanks between calls, and between a call and the end, go.
"""

from __future__ import annotations

import dataclasses
import secrets
import string
from collections.abc import Callable, Collection

from runtimes.protocol import Event, Finished, Progress, TextDelta, TokenLogprob, ToolCallDelta
from slmctl.app.tool_bodies import BARE, Reading
from slmctl.app.tool_formats import Format

MOST_CALLS = 128

MOST_BLANKS = 4096
"""Behind more blanks than this nothing stands at a beginning."""

_ALPHABET = string.ascii_lowercase + string.digits
_BETWEEN = " \t\r\n;,"


def new_id() -> str:
    return "call_" + "".join(secrets.choice(_ALPHABET) for _ in range(8))


class ToolCalls:
    """A stage (slmctl.app.stages): TextDelta in, TextDelta and whole ToolCallDelta out.

    `offered` are the names that count. With `begun` the prompt ends in what opens a call.
    """

    def __init__(
        self,
        kind: Format,
        offered: Collection[str],
        *,
        begun: bool = False,
        make_id: Callable[[], str] = new_id,
    ) -> None:
        self._kind = kind
        self._offered = offered
        self._make_id = make_id
        self._calls = 0
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self._held = ""  # not looked at yet, or the beginning of a mark
        self._blanks: list[str] = []  # behind a call: they go unless text follows
        self._at_start = True
        self._reading: Reading | None = None
        if begun:
            self._reading = Reading(kind.marks[0] if kind.required else BARE, "")

    def read(self, event: Event) -> list[Event]:
        if isinstance(event, TextDelta):
            self._logprobs += event.logprobs
            self._held += event.text
            return self._with_logprobs(self._look(at_end=False))
        if isinstance(event, Progress):
            return [event]
        out = self._with_logprobs(self._look(at_end=True))
        if self._logprobs:
            out.append(TextDelta("", self._logprobs))
            self._logprobs = ()
        if isinstance(event, Finished) and self._calls and event.reason == "stop":
            event = dataclasses.replace(event, reason="tool_calls")
        return [*out, event]

    def _with_logprobs(self, events: list[Event]) -> list[Event]:
        for at, event in enumerate(events):
            if self._logprobs and isinstance(event, TextDelta):
                events[at] = TextDelta(event.text, self._logprobs)
                self._logprobs = ()
        return events

    def _look(self, *, at_end: bool) -> list[Event]:
        out: list[Event] = []
        while True:
            if self._reading is None:
                out += self._text(at_end)
                if self._reading is None:
                    return out
            text, self._held = self._held, ""
            if not self._reading.feed(text, at_end):
                return out
            self._held = self._reading.rest
            out += self._ended(self._reading)
            self._reading = None

    def _text(self, at_end: bool) -> list[Event]:
        """Up to the next mark, all but what may be its beginning."""
        marks = self._kind.marks
        if self._kind.bare and self._at_start:
            bare = self._held.lstrip(_BETWEEN if self._calls else None)
            blanks = len(self._held) - len(bare)
            if blanks > MOST_BLANKS:
                self._at_start = False
            elif not at_end and any(mark.opening.startswith(bare) for mark in marks):
                return []  # also of nothing but blanks
            elif bare[:1] in ("{", "[") and not any(bare.startswith(mark.opening) for mark in marks):
                self._reading = Reading(BARE, self._held[:blanks])
                self._held = bare
                return []
        found = [(self._held.find(mark.opening), mark) for mark in marks]
        here = min(((at, mark) for at, mark in found if at >= 0), key=lambda each: each[0], default=None)
        if here is not None:
            at, mark = here
            before, self._held = self._held[:at], self._held[at + len(mark.opening) :]
            self._reading = Reading(mark, mark.opening)
            return self._plain(before)
        keep = 0 if at_end else max((_beginning(self._held, mark.opening) for mark in marks), default=0)
        end = len(self._held) - keep
        text, self._held = self._held[:end], self._held[end:]
        return self._plain(text)

    def _plain(self, text: str) -> list[Event]:
        if not text:
            return []
        if self._calls:
            if not text.strip():
                self._blanks.append(text)
                return []
            whole = "".join((*self._blanks, text))
            text = whole.rstrip()
            self._blanks = [whole[len(text) :]]
        self._at_start = self._at_start and not text.strip()
        return [TextDelta(text)]

    def _ended(self, reading: Reading) -> list[Event]:
        """The calls of a body that is whole, or the text that it is."""
        calls = [call for call in reading.calls if call.name in self._offered]
        if not calls or len(calls) < len(reading.calls) or self._calls + len(calls) > MOST_CALLS:
            self._at_start = False
            return self._plain(reading.raw)
        out: list[Event] = []
        self._blanks.clear()
        for call in calls:
            out.append(ToolCallDelta(self._calls, self._make_id(), call.name, call.arguments))
            self._calls += 1
        self._at_start = True
        return out


def _beginning(text: str, mark: str) -> int:
    """How many characters at the end of `text` may begin `mark`."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)
