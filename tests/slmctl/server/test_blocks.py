from __future__ import annotations

import pytest

from runtimes.errors import EngineSpokeNonsense
from runtimes.protocol import (
    Event,
    Finished,
    Progress,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
)
from slmctl.server.blocks import Began, Block, Blocks, Ended, Grew


def changes(blocks: Blocks, *pieces: Event) -> list[tuple[str, int, str]]:
    told = [change for piece in pieces for change in blocks.take(piece)] + list(blocks.end())
    return [
        (
            type(change).__name__,
            change.block.index,
            change.piece if isinstance(change, Grew) else change.block.kind,
        )
        for change in told
    ]


def test_each_kind_in_its_block() -> None:
    blocks = Blocks()
    assert changes(
        blocks,
        Progress(prompt_tokens=1),
        ThinkingDelta("Hm"),
        ThinkingDelta("."),
        TextDelta(""),
        TextDelta("Hi"),
        ToolCallDelta(0, "c1", "f", ""),
        ToolCallDelta(0, None, None, '{"a":'),
        ToolCallDelta(0, None, None, "1}"),
        ToolCallDelta(1, "c2", "g", "{}"),
        Finished(reason="tool_calls"),
    ) == [
        ("Began", 0, "thinking"),
        ("Grew", 0, "Hm"),
        ("Grew", 0, "."),
        ("Ended", 0, "thinking"),
        ("Began", 1, "text"),
        ("Grew", 1, "Hi"),
        ("Ended", 1, "text"),
        ("Began", 2, "call"),
        ("Grew", 2, '{"a":'),
        ("Grew", 2, "1}"),
        ("Ended", 2, "call"),
        ("Began", 3, "call"),
        ("Grew", 3, "{}"),
        ("Ended", 3, "call"),
    ]
    assert [block.text for block in blocks.all] == ["Hm.", "Hi", '{"a":1}', "{}"]
    assert blocks.all[2].arguments() == {"a": 1}
    assert [(block.call_id, block.name) for block in blocks.all[2:]] == [("c1", "f"), ("c2", "g")]


def test_half_a_character_has_a_probability_and_no_text() -> None:
    blocks = Blocks()
    half = TokenLogprob("\ufffd", -1.0, b"\xf0")
    told = list(blocks.take(TextDelta("", (half,))))
    assert isinstance(told[0], Began)
    assert told[1] == Grew(blocks.all[0], "", (half,))
    assert blocks.all[0].logprobs == [half]


def test_thoughts_can_be_hidden() -> None:
    blocks = Blocks(hide_thoughts=True)
    told = changes(blocks, ThinkingDelta("secret"), TextDelta("Hi"))
    assert told[:2] == [("Began", 0, "thinking"), ("Ended", 0, "thinking")]
    assert [block.text for block in blocks.all] == ["", "Hi"]


@pytest.mark.parametrize("text", ['{"a":', "[]", "1", '"a"', "nothing"])
def test_arguments_that_are_none(text: str) -> None:
    block = Block(index=0, kind="call", pieces=[text])
    assert not block.is_whole
    with pytest.raises(EngineSpokeNonsense):
        block.arguments()


def test_a_call_without_arguments_is_whole() -> None:
    assert Block(index=0, kind="call").is_whole
    assert Block(index=0, kind="text", pieces=["{"]).is_whole


def test_an_end_of_nothing_is_nothing() -> None:
    assert not [change for change in Blocks().end() if isinstance(change, Ended)]
