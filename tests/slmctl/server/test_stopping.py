from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from runtimes.protocol import Finished, Progress, TextDelta, ThinkingDelta, ToolCallDelta
from slmctl.server.answering import AnswerEvent
from slmctl.server.stopping import StopWatch, stopping

letters = st.text(alphabet="ab<", max_size=12)
stops = st.lists(st.text(alphabet="ab<", min_size=1, max_size=4), min_size=1, max_size=3)


def slowly(text: str, texts: Sequence[str]) -> tuple[str, str | None]:
    """What is shown of `text`, and the stop: looked for from the beginning at every letter."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in texts if text[:end].endswith(stop)]
        if ended:
            stop = max(ended, key=len)
            return text[: end - len(stop)], stop
    return text, None


@given(letters, stops, st.lists(st.integers(0, 12)))
def test_however_the_pieces_fall_the_same_stop_ends_the_text(
    text: str, texts: list[str], cuts: list[int]
) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    watch = StopWatch(texts)
    shown = "".join(watch.feed(text[a:b]) for a, b in itertools.pairwise(places))
    assert (shown + watch.rest(), watch.found) == slowly(text, texts)


@given(letters, stops)
def test_nothing_is_held_back_that_cannot_be_the_beginning_of_a_stop(text: str, texts: list[str]) -> None:
    watch = StopWatch(texts)
    shown = watch.feed(text)
    held = watch.rest()
    assert watch.found is not None or shown + held == text
    assert not held or any(stop.startswith(held) for stop in texts)


def stopped(events: Sequence[AnswerEvent], texts: Sequence[str]) -> tuple[list[AnswerEvent], bool]:
    """What comes out, and whether what is below was closed before its end."""
    closed = False

    async def engine() -> AsyncGenerator[AnswerEvent]:
        nonlocal closed
        try:
            for event in events:
                yield event
        except GeneratorExit:
            closed = True
            raise

    async def gathered() -> list[AnswerEvent]:
        return [event async for event in stopping(engine(), texts)]

    return asyncio.run(gathered()), closed


def test_the_engine_is_stopped_and_what_it_told_until_then_is_told() -> None:
    told, closed = stopped(
        [
            Progress(prompt_tokens=9, cached_tokens=2, generated_tokens=0),
            Progress(prompt_tokens=9, cached_tokens=2, generated_tokens=1),
            TextDelta("one <"),
            Progress(prompt_tokens=9, cached_tokens=2, generated_tokens=2),
            TextDelta("end> two"),
            TextDelta(" three"),
        ],
        ["<end>"],
    )
    assert closed
    assert told[-1] == Finished(
        reason="stop", stopped_by="<end>", prompt_tokens=9, cached_tokens=2, generated_tokens=2
    )
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["one "]


def test_what_was_held_back_comes_before_what_follows() -> None:
    call = ToolCallDelta(0, "c", "f", "{}")
    end = Finished(reason="tool_calls", generated_tokens=3)
    told, closed = stopped([TextDelta("a <"), call, TextDelta("<"), end], ["<end>"])
    assert told == [TextDelta("a "), TextDelta("<"), call, TextDelta("<"), end]
    assert not closed


def test_only_what_is_said_can_end_it() -> None:
    events: list[AnswerEvent] = [
        ThinkingDelta("<end>"),
        ToolCallDelta(0, "c", "f", '"<end>"'),
        Finished(reason="stop"),
    ]
    assert stopped(events, ["<end>"])[0] == events


def test_a_stop_of_the_models_own_is_just_an_end() -> None:
    told, _ = stopped([TextDelta("a"), Finished(reason="stop", stopped_by="<|im_end|>")], [])
    assert told == [TextDelta("a"), Finished(reason="stop")]
    told, _ = stopped([TextDelta("a"), Finished(reason="stop", stopped_by="b")], ["b"])
    assert told[-1] == Finished(reason="stop", stopped_by="b")
