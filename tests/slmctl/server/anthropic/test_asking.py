from __future__ import annotations

import pytest

from runtimes.protocol import Think
from slmctl.app.asks import ChatAsk, NamedTool
from slmctl.server.anthropic.asking import ask_of, count_request, messages_request
from slmctl.server.anthropic.fields import REFUSED, REFUSED_BLOCKS
from slmctl.server.problems import BadField, NotSupported, Problem

HI = {"role": "user", "content": "Hi"}
TOOL = {"name": "f", "description": "A function.", "input_schema": {"type": "object"}}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def ask(**fields: object) -> ChatAsk:
    return ask_of(messages_request({"model": "m", "max_tokens": 9, "messages": [HI]} | fields))


def told(*turns: object) -> list[object]:
    return list(ask(messages=list(turns)).messages)


def refused(**fields: object) -> str:
    with pytest.raises((BadField, NotSupported)) as caught:
        ask(**fields)
    assert Problem.of(caught.value).status == 400
    return caught.value.message


def test_the_least() -> None:
    assert ask() == ChatAsk(messages=[HI], parameters={"num_predict": 9}, tools=[], think=False)


def test_sampling() -> None:
    sampled = ask(temperature=0.5, top_p=1, top_k=3)
    assert sampled.parameters == {"num_predict": 9, "temperature": 0.5, "top_p": 1.0, "top_k": 3}


def test_system_is_text_or_blocks() -> None:
    assert ask(system="Be short.").system == "Be short."
    blocks = [
        {"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "short."},
    ]
    assert ask(system=blocks).system == "Be\nshort."


def test_turns_of_one_role_are_one_turn() -> None:
    assert told(HI, {"role": "user", "content": [{"type": "text", "text": "there"}]}) == [
        {"role": "user", "content": "Hi\nthere"}
    ]


def test_a_call_and_its_result() -> None:
    assert told(
        HI,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "Let me see.", "citations": None},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "ñ"}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t2", "content": "bad", "is_error": True},
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "1"}, PIXEL],
                },
                {"type": "text", "text": "So?"},
            ],
        },
    )[1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ñ"}'}},
                {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t2", "name": "g", "content": "Error: bad"},
        {"role": "tool", "tool_call_id": "t1", "name": "f", "content": "1"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                {"type": "text", "text": "So?"},
            ],
        },
    ]


def test_a_result_alone_is_no_message_of_the_users() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t"}
    assert told(HI, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]})[-1] == {
        "role": "tool",
        "tool_call_id": "t",
        "name": "f",
        "content": "",
    }


def test_the_beginning_of_an_answer_stays_last() -> None:
    assert told(HI, {"role": "assistant", "content": "It is"})[-1] == {
        "role": "assistant",
        "content": "It is",
    }


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, "auto", True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", False),
        ({"type": "any"}, "required", True),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": True}, NamedTool("f"), False),
        ({"type": "none"}, "none", True),
    ],
)
def test_tools(choice: object, expected: object, parallel: bool) -> None:
    asked = ask(tools=[TOOL], tool_choice=choice)
    function = {"name": "f", "description": "A function.", "parameters": {"type": "object"}}
    assert asked.tools == [{"type": "function", "function": function}]
    assert (asked.tool_choice, asked.parallel_tool_calls) == (expected, parallel)


@pytest.mark.parametrize(
    ("thinking", "effort", "think", "tokens"),
    [
        (None, None, False, None),
        (None, "high", False, None),
        ({"type": "disabled"}, "high", False, None),
        ({"type": "enabled", "budget_tokens": 5}, None, True, 5),
        ({"type": "enabled", "budget_tokens": 5}, "low", "low", 5),
        ({"type": "adaptive"}, None, None, None),
        ({"type": "adaptive", "display": "omitted"}, "xhigh", "max", None),
    ],
)
def test_thinking(thinking: object, effort: str | None, think: Think | None, tokens: int | None) -> None:
    asked = ask(thinking=thinking, output_config={"effort": effort})
    assert (asked.think, asked.think_tokens) == (think, tokens)


def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert ask(output_config={"format": {"type": "json_schema", "schema": schema}}).schema == schema


def test_what_is_told_on_the_way() -> None:
    assert ask().progress is None
    assert ask(stream=True).progress == "prompt"
    assert ask(stop_sequences=["x"]).progress == "tokens"


def test_what_changes_nothing() -> None:
    assert (
        ask(
            metadata={"user_id": "x"},
            service_tier="auto",
            cache_control={"type": "ephemeral"},
            inference_geo=None,
            container=None,
            mcp_servers=[],
            speed="standard",
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        )
        == ask()
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_fields_that_are_refused(name: str) -> None:
    assert refused(**{name: {"a": 1}}) == f"'{name}' is not supported: {REFUSED[name]}"


@pytest.mark.parametrize("kind", sorted(REFUSED_BLOCKS))
def test_blocks_that_are_refused(kind: str) -> None:
    block = {"type": kind, "source": {"type": "text", "data": "x"}}
    said = f"'messages[0].content[0]' is a {kind} block: {REFUSED_BLOCKS[kind]}"
    assert refused(messages=[{"role": "user", "content": [block]}]) == said
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    assert refused(messages=turns).startswith("'messages[1].content[0].content[0]' is a ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": 0}, "'max_tokens' must be more than 0."),
        ({"max_tokens": "9"}, "'max_tokens' must be a whole number."),
        ({"max_tokens": True}, "'max_tokens' must be a whole number."),
        ({"messages": []}, "'messages' must have at least 1 item."),
        ({"messages": [HI] * 10_001}, "'messages' must have at most 10,000 items."),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 10_001}]},
            "'messages' must have at most 10,000 blocks.",
        ),
        ({"top_x": 1}, "Unknown parameter: 'top_x'."),
        ({"stop_sequences": [""]}, "'stop_sequences[0]' must have at least 1 character."),
        ({"temperature": 1.5}, "'temperature' must be at most 1."),
        ({"tools": [TOOL | {"name": "f g"}]}, "'tools[0].name' must match ^[A-Za-z0-9_.:/-]{1,128}$."),
        ({"tools": [TOOL, TOOL]}, "'tools[1].name' is the name of another tool, too."),
        ({"tool_choice": {"type": "any"}}, "'tool_choice' asks for a tool, and 'tools' has none."),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
            "'tool_choice.name' is the name of no tool in 'tools'.",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            "'thinking.budget_tokens' must be less than max_tokens.",
        ),
    ],
)
def test_what_is_wrong(fields: dict[str, object], message: str) -> None:
    assert refused(**fields) == message


@pytest.mark.parametrize("source", ["url", "file"])
def test_an_image_that_is_only_named_is_refused(source: str) -> None:
    image = {"type": "image", "source": {"type": source, "url": "http://127.0.0.1:1/x.png"}}
    assert "no address is ever fetched" in refused(messages=[{"role": "user", "content": [image]}])


def test_a_server_tool_is_refused() -> None:
    assert "runs no tools of its own" in refused(
        tools=[{"type": "web_search_20250305", "name": "web_search"}]
    )


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("assistant", PIXEL),
        ("assistant", {"type": "tool_result", "tool_use_id": "t"}),
        ("user", {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ("user", {"type": "thinking", "thinking": "Hm."}),
        ("system", PIXEL),
    ],
)
def test_blocks_that_stand_in_the_wrong_message(role: str, block: dict[str, object]) -> None:
    said = refused(messages=[{"role": role, "content": [block]}])
    assert said.startswith(
        f"'messages[0].content[0]' has the type '{block['type']}', which is none of 'text'"
    )


def test_a_result_without_its_call_is_refused() -> None:
    turn = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
    assert (
        refused(messages=[turn])
        == "'messages[0].content[0].tool_use_id' is the id of no tool_use block before it."
    )


def test_what_is_counted_needs_no_limit() -> None:
    assert ask_of(count_request({"model": "m", "messages": [HI], "tools": [TOOL]})).parameters == {}
    with pytest.raises(BadField, match="max_tokens"):
        count_request({"model": "m", "messages": [HI], "max_tokens": 1})


def test_null_is_not_given() -> None:
    optional = [
        "system", "tools", "tool_choice", "thinking", "output_config", "speed", "stream", "stop_sequences",
        "temperature", "top_p", "top_k", "metadata", "container", "context_management",
    ]  # fmt: skip
    assert ask(**dict.fromkeys(optional)) == ask()
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "1"}
    thought = {"type": "thinking", "thinking": "Hm."}
    plain = told(HI, {"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]})
    assert plain == told(
        HI,
        {"role": "assistant", "content": [thought | {"signature": None}, call | {"cache_control": None}]},
        {"role": "user", "content": [result | {"is_error": None, "cache_control": None}]},
    )
    for choice in ({"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "f"}):
        null = choice | {"disable_parallel_tool_use": None}
        assert ask(tools=[TOOL], tool_choice=null) == ask(tools=[TOOL], tool_choice=choice)
