"""Tool calls are read out of a text however it is cut into pieces, and what is none stays text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.protocol import Event, Finished, TextDelta, TokenLogprob, ToolCallDelta
from slmctl.app.tool_formats import (
    DEEPSEEK,
    DEEPSEEK_BEGIN,
    DEEPSEEK_END,
    DEEPSEEK_SEPARATOR,
    FORMATS,
    GENERIC,
    HERMES,
    LLAMA,
    MISTRAL,
    PHI,
    Format,
    format_of,
)
from slmctl.app.tool_schemas import call_schema
from slmctl.app.toolcalls import ToolCalls

END = Finished(reason="stop")
OFFERED = frozenset({"f", "get_weather"})
DEEPSEEK_ALL = DEEPSEEK.marks[0].opening
DEEPSEEK_ALL_END = DEEPSEEK.marks[0].closings[0]

Said = tuple[str, tuple[tuple[str, str], ...]]


def read(pieces: Sequence[str], kind: Format, *, begun: bool = False) -> Said:
    """The text and the calls; ids are made in order, no delta is empty, the end comes once and last."""
    numbers = itertools.count()
    stage = ToolCalls(kind, OFFERED, begun=begun, make_id=lambda: f"call_{next(numbers)}")
    events: list[Event] = []
    for piece in pieces:
        events += stage.read(TextDelta(piece))
    events += stage.read(END)
    *others, last = events
    calls = [event for event in others if isinstance(event, ToolCallDelta)]
    assert last == Finished(reason="tool_calls" if calls else "stop")
    assert [call.index for call in calls] == list(range(len(calls)))
    assert [call.id for call in calls] == [f"call_{number}" for number in range(len(calls))]
    texts = [event.text for event in others if isinstance(event, TextDelta)]
    assert all(texts)
    return "".join(texts), tuple((call.name or "", call.arguments) for call in calls)


F = ("f", '{"a":1}')
CASES: list[tuple[Format, str, Said]] = [
    (HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', ("", (F,))),
    (HERMES, 'So:\n<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>\n', ("So:\n", (F,))),
    (
        HERMES,
        '<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>\n<tool_call>{"name":"f","arguments":{}}</tool_call>',
        ("", (F, ("f", "{}"))),
    ),
    (HERMES, '<tool_call>{"name":"f","arguments":{"a":1}}</tool_call> and so', (" and so", (F,))),
    (HERMES, '<tool_call>{"name":"f","arguments":{"a":1}}', ("", (F,))),
    (HERMES, '<tool_call>{"name":"f","arguments":"{\\"a\\": 1}"}</tool_call>', ("", (F,))),
    (
        HERMES,
        '<tool_call>[{"name":"f","arguments":{"a":1}},{"name":"f"}]</tool_call>',
        ("", (F, ("f", "{}"))),
    ),
    (
        HERMES,
        '<tool_call>{"name":"g","arguments":{}}</tool_call>',
        ('<tool_call>{"name":"g","arguments":{}}</tool_call>', ()),
    ),
    (HERMES, '<tool_call>{"name": "f", "argum', ('<tool_call>{"name": "f", "argum', ())),
    (HERMES, "<tool_call>no</tool_call>", ("<tool_call>no</tool_call>", ())),
    (HERMES, '{"name":"f","arguments":{}}', ('{"name":"f","arguments":{}}', ())),
    (HERMES, "a <tool b <", ("a <tool b <", ())),
    (
        HERMES,
        '<tool_call>{"name":"f","arguments":{"a":"}</tool_call>\\""}}</tool_call>',
        ("", (("f", '{"a":"}</tool_call>\\""}'),)),
    ),
    (
        HERMES,
        "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nx y\nz\n</parameter>\n</function>\n</tool_call>",
        ("", (("f", '{"a":1,"b":"x y\\nz"}'),)),
    ),
    (LLAMA, '{"name": "f", "parameters": {"a": 1}}', ("", (F,))),
    (LLAMA, '<|python_tag|>{"name": "f", "parameters": {"a": 1}}', ("", (F,))),
    (LLAMA, '{"name":"f","parameters":{"a":1}}; {"name":"f","parameters":{}}', ("", (F, ("f", "{}")))),
    (LLAMA, '{"type":"function","function":{"name":"f","parameters":{"a":1}}}', ("", (F,))),
    (LLAMA, 'Here: {"name":"f","parameters":{}}', ('Here: {"name":"f","parameters":{}}', ())),
    (LLAMA, '{"answer": 42}', ('{"answer": 42}', ())),
    (LLAMA, "Hello", ("Hello", ())),
    (MISTRAL, '[TOOL_CALLS] [{"name":"f","arguments":{"a":1}}]', ("", (F,))),
    (MISTRAL, '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]f[ARGS]{}', ("", (F, ("f", "{}")))),
    (MISTRAL, '[TOOL_CALLS]f[CALL_ID]x1[ARGS]{"a": 1}', ("", (F,))),
    (MISTRAL, "[TOOL_CALLS]f is", ("[TOOL_CALLS]f is", ())),
    (MISTRAL, "[TOOL", ("[TOOL", ())),
    (PHI, '<|tool_call|>[{"name":"f","arguments":{"a":1}}]<|/tool_call|>', ("", (F,))),
    (PHI, 'functools[{"name":"f","arguments":{"a":1}}]', ("", (F,))),
    (PHI, "functools are fun", ("functools are fun", ())),
    (PHI, '<|tool_call|>[{"name":"f","arguments":{"a":1}}]', ("", (F,))),
    (
        DEEPSEEK,
        f'{DEEPSEEK_ALL}{DEEPSEEK_BEGIN}function{DEEPSEEK_SEPARATOR}f\n```json\n{{"a": 1}}\n```{DEEPSEEK_END}{DEEPSEEK_ALL_END}',
        ("", (F,)),
    ),
    (
        DEEPSEEK,
        f'Well.{DEEPSEEK_ALL}{DEEPSEEK_BEGIN}f{DEEPSEEK_SEPARATOR}{{"a": 1}}{DEEPSEEK_END}{DEEPSEEK_BEGIN}f{DEEPSEEK_SEPARATOR}{{}}{DEEPSEEK_END}{DEEPSEEK_ALL_END}',
        ("Well.", (F, ("f", "{}"))),
    ),
    (GENERIC, '[{"name":"f","arguments":{"a":1}}]', ("", (F,))),
    (GENERIC, ' \n{"name":"f","arguments":{"a":1}}', ("", (F,))),
    (GENERIC, '[TOOL_CALLS][{"name":"f","arguments":{"a":1}}]', ("", (F,))),
    (GENERIC, '<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>', ("", (F,))),
    (GENERIC, "[1, 2]", ("[1, 2]", ())),
    (GENERIC, "", ("", ())),
]


@pytest.mark.parametrize(("kind", "text", "expected"), CASES)
def test_at_once_and_letter_by_letter(kind: Format, text: str, expected: Said) -> None:
    assert read([text], kind) == expected
    assert read(list(text), kind) == expected


@given(
    kind=st.sampled_from(FORMATS),
    text=st.lists(
        st.sampled_from(
            [text for _, text, _ in CASES]
            + [
                "<tool_call>",
                "</tool_call>",
                "[TOOL_CALLS]",
                "{",
                "}",
                "[",
                "]",
                '"',
                "\\",
                " ",
                "\n",
                "f",
                "[ARGS]",
            ]
            + ['{"name":"f","arguments":{}}', "functools", "<|tool_call|>", "<function=f>", ";", "<"]
        ),
        max_size=6,
    ).map("".join),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    begun=st.booleans(),
)
def test_any_pieces_give_the_same(kind: Format, text: str, cuts: list[int], begun: bool) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert (
        read(pieces, kind, begun=begun)
        == read([text], kind, begun=begun)
        == read(list(text), kind, begun=begun)
    )


@given(st.text(alphabet="ab {}[]<>\"'\\n", max_size=60))
def test_no_text_is_lost(text: str) -> None:
    for kind in FORMATS:
        said, calls = read([text], kind)
        assert not calls
        assert said == text


def test_text_before_a_call_comes_at_once() -> None:
    stage = ToolCalls(HERMES, OFFERED)
    assert stage.read(TextDelta("Let me see <")) == [TextDelta("Let me see ")]
    assert stage.read(TextDelta("tool_call>{")) == []
    assert stage.read(TextDelta('"name": "f", "arguments": {}}')) == []
    [call] = stage.read(TextDelta("</tool_call>"))
    assert isinstance(call, ToolCallDelta)
    assert call.name == "f"
    assert call.id is not None
    assert call.id.startswith("call_")
    assert len(call.id) == len("call_") + 8


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "text", ["[" * 100_000, "<tool_call>" * 10_000, "{" * 100_000, '<tool_call>{"' + "\\" * 100_000]
)
def test_what_never_ends_takes_no_longer_than_its_length(kind: Format, text: str) -> None:
    """A deadline that only quadratic work would miss."""
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    assert read(pieces, kind) == (text, ())


def test_the_probabilities_go_with_the_text() -> None:
    stage = ToolCalls(HERMES, OFFERED)
    told = TokenLogprob("<", -1.0, b"<")
    assert stage.read(TextDelta("<", (told,))) == []
    assert stage.read(TextDelta("b")) == [TextDelta("<b", (told,))]
    assert stage.read(TextDelta("<", (told,))) == []
    assert stage.read(END) == [TextDelta("<", (told,)), END]


def test_a_call_that_was_cut_by_the_limit_is_text() -> None:
    stage = ToolCalls(HERMES, OFFERED)
    events = [*stage.read(TextDelta('<tool_call>{"na')), *stage.read(Finished(reason="length"))]
    assert events == [TextDelta('<tool_call>{"na'), Finished(reason="length")]


def test_the_format_is_seen_in_the_template() -> None:
    assert format_of("... <tool_call> ...") is HERMES
    assert format_of("[AVAILABLE_TOOLS] [TOOL_CALLS]") is MISTRAL
    assert format_of("<|start_header_id|>user") is LLAMA
    assert format_of("functools[") is PHI
    assert format_of(DEEPSEEK_ALL) is DEEPSEEK
    assert format_of("{{ .Prompt }}") is GENERIC


def test_a_call_that_must_come_has_a_schema_with_the_tools_own_references() -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {"z": {"$ref": "#/$defs/z"}},
                "$defs": {"z": {"enum": [1]}},
            },
        },
    }
    schema = json.loads(
        json.dumps(
            call_schema([tool, {"type": "function", "function": {"name": "g"}}], arguments="parameters")
        )
    )
    assert [each["properties"]["name"]["const"] for each in schema["anyOf"]] == ["f", "g"]
    assert schema["$defs"]["tool0"]["properties"]["z"] == {"$ref": "#/$defs/tool0/$defs/z"}
    assert schema["$defs"]["tool1"] == {"type": "object"}
