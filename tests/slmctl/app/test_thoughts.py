"""Thoughts are taken out of a text however it is cut into pieces."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfiles.spec import ModelSpec
from runtimes.protocol import Event, Finished, Progress, TextDelta, Think, ThinkingDelta, TokenLogprob
from slmctl.app.thoughts import thoughtful, thoughts_stage

END = Finished(reason="stop")
GO = "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}"


def stream(pieces: Sequence[str]) -> Generator[Event]:
    yield from (TextDelta(piece) for piece in pieces if piece)
    yield END


def read(
    pieces: Sequence[str], parser: str | None, *, prompt: str = "", think: Think | None = None
) -> tuple[str, str]:
    """The thoughts and the answer; the end comes last and once, and no delta is empty."""
    spec = ModelSpec(parser=parser, template=GO if parser is None else None)
    *events, last = thoughtful(stream(pieces), spec, think, prompt=prompt)
    assert last == END
    assert all(isinstance(event, TextDelta | ThinkingDelta) and event.text for event in events)
    thoughts = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    return thoughts, "".join(event.text for event in events if isinstance(event, TextDelta))


CASES = [
    ("qwen3", "<think>\nwhy not\n</think>\n\nYes.", ("why not", "Yes.")),
    ("qwen3", "\n <think>why</think>Yes <think>no</think>", ("why", "Yes <think>no</think>")),
    ("qwen3", "<think>\n\n</think>\n\nYes. ", ("", "Yes. ")),
    ("qwen3", "Yes, <think>", ("", "Yes, <think>")),
    ("qwen3", "  indented", ("", "  indented")),
    ("qwen3", "<thin", ("", "<thin")),
    ("qwen3", "<think>for ever </thi", ("for ever </thi", "")),
    ("qwen3", "<think>a < b </ c</think>d", ("a < b </ c", "d")),
    ("qwen3", "", ("", "")),
    ("qwen3-thinking", "\nwhy\n</think>\nYes", ("why", "Yes")),
    ("qwen3-thinking", "<think>why</think>Yes", ("why", "Yes")),
    ("qwen3-thinking", "<", ("<", "")),
    ("deepseek-r1", "why</think>Yes", ("why", "Yes")),
    ("passthrough", "<think>why</think>Yes", ("", "<think>why</think>Yes")),
    (None, "<think>why</think>Yes", ("why", "Yes")),
]


@pytest.mark.parametrize(("parser", "text", "expected"), CASES)
def test_at_once_and_letter_by_letter(parser: str | None, text: str, expected: tuple[str, str]) -> None:
    assert read([text], parser) == expected
    assert read(list(text), parser) == expected


@given(st.data(), st.sampled_from(CASES))
def test_in_any_pieces(data: st.DataObject, case: tuple[str | None, str, tuple[str, str]]) -> None:
    parser, text, expected = case
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(pieces, parser) == expected


def test_a_prompt_that_ends_in_the_mark_begins_the_thought() -> None:
    assert read(["why</think>Yes"], "qwen3", prompt="Hi\n<think>\n") == ("why", "Yes")
    assert read(["why</think>Yes"], "qwen3", prompt="<think>\n\n</think>\n") == ("", "why</think>Yes")


def test_who_wants_no_thoughts_gets_none_begun() -> None:
    assert read(["Yes"], "qwen3-thinking", think=False) == ("", "Yes")


def test_a_template_without_thoughts_leaves_the_text_alone() -> None:
    events = thoughtful(stream(["<think>a"]), ModelSpec(template="{{ .Prompt }}"), None)
    assert list(events) == [TextDelta("<think>a"), END]


def test_what_is_no_longer_wanted_is_stopped() -> None:
    source = stream(["<think>", "a", "b"])
    events = thoughtful(source, ModelSpec(parser="qwen3"), None)
    assert next(events) == ThinkingDelta("a")
    events.close()
    assert next(source, None) is None


def test_probabilities_stay_with_their_text() -> None:
    told = [TokenLogprob(piece, -1.0, piece.encode()) for piece in ("<thi", "nk>", "a", "</think>", "b")]
    stage = thoughts_stage(ModelSpec(parser="qwen3"), None)
    assert stage is not None
    out: list[Event] = []
    for each in told:
        out += stage.read(TextDelta(each.token, (each,)))
    out += stage.read(END)
    assert out == [ThinkingDelta("a", tuple(told[:3])), TextDelta("b", tuple(told[3:])), END]


def test_progress_ends_nothing() -> None:
    stage = thoughts_stage(ModelSpec(parser="qwen3"), None)
    assert stage is not None
    far = Progress(prompt_tokens=3)
    assert [*stage.read(TextDelta("<thi")), *stage.read(far), *stage.read(TextDelta("nk>a"))] == [
        far,
        ThinkingDelta("a"),
    ]


def test_a_prompt_that_ends_in_a_thought_has_begun_one() -> None:
    stage = thoughts_stage(ModelSpec(), None, prompt="<|assistant|><think>\n")
    assert stage is not None
    assert stage.read(TextDelta("a</think>b")) == [ThinkingDelta("a"), TextDelta("b")]
    assert stage.answers
    assert thoughts_stage(ModelSpec(), None, prompt="<|assistant|>") is None
