"""Text that is there together goes on together; everything else as it came, in its order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtimes.errors import EngineSpokeNonsense
from runtimes.events import (
    Event,
    Finished,
    Progress,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
    joined,
)

END = Finished(reason="stop")
CALL = ToolCallDelta(0, None, None, "{")
LOGPROB = TokenLogprob("b", -1.0, b"b")


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ([], []),
        ([TextDelta("a")], [TextDelta("a")]),
        ([TextDelta("a"), TextDelta("b"), TextDelta("c"), END], [TextDelta("abc"), END]),
        (
            [ThinkingDelta("a"), ThinkingDelta("b"), TextDelta("c"), TextDelta("d"), ThinkingDelta("e")],
            [ThinkingDelta("ab"), TextDelta("cd"), ThinkingDelta("e")],
        ),
        (
            [TextDelta("a"), CALL, CALL, TextDelta("b"), TextDelta("c")],
            [TextDelta("a"), CALL, CALL, TextDelta("bc")],
        ),
    ],
)
def test_texts_that_follow_each_other_are_one(came: list[Event], goes: list[Event]) -> None:
    assert list(joined(came)) == goes


@pytest.mark.parametrize(
    "came",
    [
        [TextDelta("a", (LOGPROB,)), TextDelta("b", (LOGPROB,)), TextDelta("c"), END],
        [TextDelta("a"), TextDelta("", (LOGPROB,)), TextDelta("b")],
        [Progress(generated_tokens=1), TextDelta("a"), Progress(generated_tokens=2), TextDelta("b")],
    ],
)
def test_what_tells_of_single_tokens_stays_apart(came: list[Event]) -> None:
    assert list(joined(came)) == came


def test_what_came_before_an_error_comes_before_it() -> None:
    def broken() -> Iterator[Event]:
        yield TextDelta("a")
        yield TextDelta("b")
        raise EngineSpokeNonsense("no")

    events = joined(broken())
    assert next(events) == TextDelta("ab")
    with pytest.raises(EngineSpokeNonsense, match="no"):
        next(events)
