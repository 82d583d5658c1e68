from __future__ import annotations

import pytest

from runtimes.protocol import ANY_OBJECT, Think
from slmctl.app.asks import ChatAsk, NamedTool
from slmctl.server.openai.responses_request import CANNOT, ask_of, prompt_of, read_count, read_response
from slmctl.server.problems import BadField, Problem

TOOL = {
    "type": "function",
    "name": "f",
    "description": "A function.",
    "parameters": {"type": "object"},
    "strict": True,
}
OTHER = {"type": "function", "name": "g", "parameters": None, "strict": None}
PIXEL = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}


def ask(**fields: object) -> ChatAsk:
    return ask_of(read_response({"model": "m", "input": "Hi"} | fields))


def told(*items: object) -> list[object]:
    return list(ask(input=list(items)).messages)


def refused(**fields: object) -> str:
    with pytest.raises(BadField) as caught:
        ask(**fields)
    problem = Problem.of(caught.value)
    assert problem.status == 400
    assert problem.parameter
    return problem.message


def test_the_least() -> None:
    assert ask() == ChatAsk(messages=[{"role": "user", "content": "Hi"}], tools=[])


def test_sampling_and_our_extensions() -> None:
    asked = ask(temperature=0, top_p=0.5, max_output_tokens=7, top_k=3, options={"seed": 4, "num_ctx": 512})
    assert asked.parameters == {"temperature": 0.0, "top_p": 0.5, "num_predict": 7, "top_k": 3, "seed": 4}


def test_a_conversation() -> None:
    assert told(
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "input_text", "text": "What is"}, {"type": "input_text", "text": "this?", "prompt_cache_breakpoint": {}}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "1"}, PIXEL]},
        {"role": "assistant", "content": "It is"},
    ) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is\nthis?"},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "name": "g", "content": "2"},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "1"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL["image_url"]}}]},
        {"role": "assistant", "content": "It is"},
    ]  # fmt: skip


def test_two_answers_in_a_row_stay_two() -> None:
    first, second = ({"role": "assistant", "content": text} for text in ("One.", "Two."))
    assert told(first, second) == [first, second]


def test_a_call_without_words_has_empty_content() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert told(call)[0] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


def test_an_image_beside_text() -> None:
    content = [{"type": "input_text", "text": "What is this?"}, PIXEL]
    assert told({"role": "user", "content": content})[0] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL["image_url"]}},
        ],
    }


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        (None, "auto", ["f", "g"]),
        ("none", "none", ["f", "g"]),
        ("required", "required", ["f", "g"]),
        ({"type": "function", "name": "g"}, NamedTool("g"), ["f", "g"]),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
            "required",
            ["g"],
        ),
    ],
)
def test_tools(choice: object, expected: object, names: list[str]) -> None:
    asked = ask(tools=[TOOL, OTHER], tool_choice=choice, parallel_tool_calls=False)
    assert asked.tool_choice == expected
    assert not asked.parallel_tool_calls
    tools = {
        "f": {"name": "f", "description": "A function.", "parameters": {"type": "object"}},
        "g": {"name": "g"},
    }
    assert asked.tools == [{"type": "function", "function": tools[name]} for name in names]


@pytest.mark.parametrize(
    ("effort", "think"),
    [(None, None), ("none", False), ("minimal", "low"), ("high", "high"), ("xhigh", "max")],
)
def test_reasoning(effort: str | None, think: Think | None) -> None:
    assert ask(reasoning={"effort": effort, "summary": "auto"}).think == think


def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert ask(text={"format": {"type": "json_schema", "name": "x", "schema": schema}}).schema == schema
    assert ask(text={"format": {"type": "json_object"}}).schema == ANY_OBJECT
    assert ask(text={"format": {"type": "text"}}).schema is None


def test_probabilities() -> None:
    assert ask().top_logprobs is None
    assert ask(top_logprobs=3).top_logprobs == 3
    assert ask(include=["message.output_text.logprobs"]).top_logprobs == 0
    assert ask(include=["reasoning.encrypted_content"]).top_logprobs is None


def test_truncation() -> None:
    assert ask(truncation="auto").truncate
    assert not ask(truncation="disabled").truncate


def test_what_changes_nothing() -> None:
    assert (
        ask(
            user="x",
            metadata={"a": "b"},
            store=False,
            service_tier="auto",
            prompt_cache_key="k",
            safety_identifier="s",
            background=False,
            previous_response_id=None,
            max_tool_calls=3,
            text={"verbosity": "medium"},
        )
        == ask()
    )


@pytest.mark.parametrize("name", sorted(CANNOT))
def test_fields_that_are_refused(name: str) -> None:
    assert refused(**{name: "x"}) == CANNOT[name]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": []}, "'input' must have at least 1 item."),
        ({"input": 5}, "'input' must be text or a list."),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}] * 10_001}]},
            "'input' must have at most 10,000 parts.",
        ),
        ({"x": 1}, "Unknown parameter: 'x'."),
        ({"max_output_tokens": 0}, "'max_output_tokens' must be at least 1."),
        ({"stream_options": {"include_obfuscation": True}}, "'stream_options' is only for a stream."),
        ({"tool_choice": "required"}, "'tool_choice' asks for a tool, and the request has no 'tools'."),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "h"}},
            "'tool_choice' names a tool that is not among 'tools'.",
        ),
        (
            {"include": ["web_search_call.action.sources"]},
            "'include[0]' must be 'message.output_text.logprobs' or 'reasoning.encrypted_content'.",
        ),
        ({"text": {"verbosity": "high"}}, "'text.verbosity' must be 'medium'."),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]},
            "'input[0].call_id' is the id of no function_call before it.",
        ),
        (
            {"service_tier": "flex"},
            "There is one tier of service here: 'service_tier' may be 'auto' or 'default'.",
        ),
    ],
)
def test_what_is_wrong(fields: dict[str, object], message: str) -> None:
    assert refused(**fields) == message


def test_a_tool_of_openais_own_is_refused() -> None:
    assert refused(tools=[{"type": "web_search"}]) == (
        "'tools[0]' has the type 'web_search': this server runs no tools of its own; a model here calls functions."
    )


def test_an_item_that_is_not_known_is_refused() -> None:
    assert refused(input=[{"type": "item_reference", "id": "x"}]).startswith(
        "'input[0]' has the type 'item_reference'; what is read here: function_call, "
    )


def test_an_image_that_is_only_named_is_refused() -> None:
    part = {"type": "input_image", "image_url": "http://127.0.0.1:1/x.png"}
    assert "nothing is fetched" in refused(input=[{"role": "user", "content": [part]}])


def test_what_is_counted() -> None:
    assert (
        prompt_of(read_count({"model": "m", "input": "Hi", "tools": [TOOL]})).tools == ask(tools=[TOOL]).tools
    )
    with pytest.raises(BadField, match="stream"):
        read_count({"model": "m", "input": "Hi", "stream": True})
