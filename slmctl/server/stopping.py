"""Ending an answer at one of several texts, and knowing at which.

The engine's chat endpoint stops at a text and does not say which it was. Where a front has to tell, the texts
are watched for here: what may be the beginning of one is held back, and with the first whole one the answer
is over, which frees the engine's slot. Only what is said counts, not thoughts and calls of tools.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from runtimes.protocol import Finished, Progress, TextDelta
from slmctl.server.answering import AnswerEvent


async def stopping(events: AsyncGenerator[AnswerEvent], stops: Sequence[str]) -> AsyncGenerator[AnswerEvent]:
    """The same answer, which ends before the first of `stops`; `Finished.stopped_by` is then that one.

    What the package's own stops ended has just ended. How many tokens there were is known only of an ask with
    `progress`.
    """
    watch = StopWatch(stops)
    latest = Progress()
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(text=text) if stops:
                    if shown := watch.feed(text):
                        yield TextDelta(shown)
                    if watch.found is not None:
                        break
                    continue
                case Progress():
                    latest = event
                case Finished() if event.stopped_by not in stops:
                    event = replace(event, stopped_by=None)
            if rest := "" if isinstance(event, Progress) else watch.rest():
                yield TextDelta(rest)
            yield event
    if watch.found is not None:
        yield Finished(
            reason="stop",
            stopped_by=watch.found,
            prompt_tokens=latest.prompt_tokens,
            cached_tokens=latest.cached_tokens,
            generated_tokens=latest.generated_tokens,
        )


class StopWatch:
    """Watches a text that comes in pieces for the first of `stops`; none of them may be empty.

    The first is the one that is whole first, the longest of several: however the pieces fall, it is the same.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held = ""
        self.found: str | None = None

    def feed(self, piece: str) -> str:
        """What of the text up to here is safe to show. Nothing after a stop is (`found` says which)."""
        if self.found is not None:
            return ""
        text = self._held + piece
        places = [(place + len(stop), place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            _, place, self.found = min(places)
            self._held = ""
            return text[:place]
        kept = self._may_begin(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """What was held back, when the text ends without a stop."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, text: str) -> int:
        """How long the longest end of `text` is with which one of the stops begins."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
