from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from runtimes.protocol import ANY_OBJECT
from slmctl.app.asks import ChatAsk, NamedTool
from slmctl.server.openai.chat_request import ask_of, read_chat
from slmctl.server.openai.fields import another_seed
from slmctl.server.problems import BadField

IMAGE = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def ask(**fields: object) -> ChatAsk:
    return ask_of(read_chat({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}))


def wrong(**fields: object) -> BadField:
    with pytest.raises(BadField) as caught:
        ask(**fields)
    return caught.value


def test_what_is_not_said_is_left_to_the_model() -> None:
    assert ask() == ChatAsk(messages=[{"role": "user", "content": "hi"}], tools=[])


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({"temperature": 0, "top_p": 1}, {"temperature": 0.0, "top_p": 1.0}),
        ({"max_tokens": 5}, {"num_predict": 5}),
        ({"max_completion_tokens": 5}, {"num_predict": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 5}, {"num_predict": 5}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"seed": -1}, {"seed": -1}),
        (
            {"presence_penalty": -2, "frequency_penalty": 2},
            {"presence_penalty": -2.0, "frequency_penalty": 2.0},
        ),
        ({"top_k": 5, "min_p": 0.1, "typical_p": 0.5}, {"top_k": 5, "min_p": 0.1, "typical_p": 0.5}),
        ({"repeat_penalty": 1.1, "repeat_last_n": -1}, {"repeat_penalty": 1.1, "repeat_last_n": -1}),
        ({"options": {"num_predict": 7, "top_k": 3}}, {"num_predict": 7, "top_k": 3}),
        ({"options": {"num_ctx": 512, "stop": ["a"]}}, {"stop": ("a",)}),
        ({"seed": 5, "options": {"seed": 5}}, {"seed": 5}),
        ({"prompt_cache_options": {"mode": "explicit"}, "moderation": None}, {}),
        ({"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}, {}),
        ({"modalities": ["text"], "verbosity": "medium", "audio": None, "functions": None}, {}),
    ],
)
def test_parameters(fields: Mapping[str, object], parameters: Mapping[str, object]) -> None:
    assert ask(**fields).parameters == parameters


@pytest.mark.parametrize(
    ("fields", "parameter", "sentence"),
    [
        ({"temperature": "0.5"}, "temperature", "must be a number"),
        ({"temperature": 2.5}, "temperature", "must be at most 2"),
        ({"temperature": math.nan}, "temperature", "must be a finite number"),
        ({"max_tokens": True}, "max_tokens", "must be a whole number"),
        ({"max_tokens": 0}, "max_tokens", "must be at least 1"),
        ({"max_tokens": 4, "max_completion_tokens": 5}, "max_tokens", "differ"),
        ({"n": 0}, "n", "must be at least 1"),
        ({"n": 1_000_000}, "n", "must be at most 16"),
        ({"stop": ["a"] * 17}, "stop", "at most 16 items"),
        ({"stop": [""]}, "stop[0]", "at least 1 character"),
        ({"top_k": -(2**31)}, "top_k", "must be at least -1"),
        ({"repeat_last_n": 2_000_000_000}, "repeat_last_n", "must be at most"),
        ({"seed": 2**63}, "seed", "must be at most"),
        ({"logit_bias": {"-1": 1}}, "logit_bias.-1", "must match"),
        ({"logit_bias": {"1": 1e308}}, "logit_bias.1", "must be at most 100"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "logit_bias", "at most 300 items"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "must be at most 20"),
        ({"top_logprobs": 5}, "top_logprobs", "needs 'logprobs'"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only for a stream"),
        ({"options": {"num_ctx": "512"}}, "options.num_ctx", "must be a whole number"),
        ({"options": {"n_discard": -100}}, "options.n_discard", "Unknown parameter"),
        ({"seed": 5, "options": {"seed": 6}}, "options.seed", "is not what the request says"),
        (
            {"response_format": {"type": "xml"}},
            "response_format",
            "none of 'text', 'json_object', 'json_schema'",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing required"),
        (
            {"response_format": {"type": "json_object"}, "grammar": 'root ::= "a"'},
            "grammar",
            "cannot be asked for together",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "must be 'function'"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "must match",
        ),
        ({"tools": [TOOL] * 129}, "tools", "at most 128 items"),
        ({"tool_choice": "required"}, "tool_choice", "the request has no 'tools'"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "not among 'tools'",
        ),
        ({"functions": [{"name": "f"}]}, "functions", "say it by 'tools'"),
        ({"function_call": "auto"}, "function_call", "say it by 'tool_choice'"),
        ({"audio": {"voice": "x"}}, "audio", "makes no audio"),
        ({"modalities": ["text", "audio"]}, "modalities", "in text only"),
        ({"web_search_options": {}}, "web_search_options", "searches no web"),
        ({"moderation": {"model": "x"}}, "moderation", "moderates nothing"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction", "not served"),
        ({"store": True}, "store", "keeps no answers"),
        ({"service_tier": "flex"}, "service_tier", "one tier"),
        ({"verbosity": "low"}, "verbosity", "may be 'medium'"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "must be 'none', 'minimal'"),
        ({"think": True, "reasoning_effort": "none"}, "reasoning_effort", "contradicts 'think'"),
        ({"think": "low", "reasoning": {"effort": "high"}}, "reasoning", "contradicts 'think'"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "cannot bring a chat template"),
        (
            {"chat_template_kwargs": {"chat_template": "{% for i in range(10**9) %}{% endfor %}"}},
            "chat_template_kwargs",
            "cannot set variables",
        ),
        ({"prompt_embeds": "gASV"}, "prompt_embeds", "Unknown parameter"),
        ({"documents": [{"text": "x"}]}, "documents", "Unknown parameter"),
        ({"id_slot": 999}, "id_slot", "Unknown parameter"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0]", "has the role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "must be text or a list"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages[0].content[0]",
            "none of 'text', 'image_url'",
        ),
        *(
            (
                {
                    "messages": [
                        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
                    ]
                },
                "messages[0].content[0].image_url.url",
                "nothing is fetched",
            )
            for url in ("http://127.0.0.1/x.png", "file:///etc/passwd", "data:text/html,x", "//x", "")
        ),
    ],
)
def test_what_cannot_be_is_refused(fields: Mapping[str, object], parameter: str, sentence: str) -> None:
    error = wrong(**fields)
    assert error.parameter == parameter
    assert sentence in error.message


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ({"role": "developer", "content": "a"}, {"role": "system", "content": "a"}),
        ({"role": "system", "content": [{"type": "text", "text": "a"}]}, {"role": "system", "content": "a"}),
        ({"role": "user", "content": "a", "name": "bo"}, {"role": "user", "content": "a", "name": "bo"}),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": IMAGE}},
                ],
            },
        ),
        ({"role": "assistant", "content": None, "refusal": "no"}, {"role": "assistant", "content": "no"}),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "assistant", "content": "no"},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "b", "annotations": [], "audio": None},
            {"role": "assistant", "content": "a", "reasoning_content": "b"},
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
        (
            {"role": "tool", "tool_call_id": "1", "content": "5"},
            {"role": "tool", "tool_call_id": "1", "content": "5"},
        ),
        # as programs write it that speak to many services
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "x"}}]},
            {"role": "user", "content": "a"},
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {}}]},
            {"role": "user", "content": "a"},
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "f", "arguments": ""},
                        "provider_specific_fields": None,
                        "extra_content": {"google": {"thought_signature": "x"}},
                    }
                ],
                "provider_specific_fields": {"refusal": None},
                "reasoning_details": [{"type": "reasoning.text", "text": "b"}],
                "cache_control": None,
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
        *(
            (
                {"role": role, "content": "a", "cache_control": {"type": "ephemeral"}},
                {"role": role, "content": "a"},
            )
            for role in ("system", "user", "tool")
        ),
    ],
)
def test_messages(message: Mapping[str, object], plain: Mapping[str, object]) -> None:
    assert ask(messages=[message]).messages == [plain]


def test_tools_are_handed_on_without_what_says_nothing_here() -> None:
    strict = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object"}, "strict": True},
        "cache_control": {"type": "ephemeral"},
    }
    asked = ask(tools=[strict], tool_choice={"type": "function", "function": {"name": "look"}})
    assert asked.tools == [TOOL]
    assert asked.tool_choice == NamedTool("look")
    assert ask(tools=[strict], parallel_tool_calls=False).parallel_tool_calls is False


@pytest.mark.parametrize(
    ("format_", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, ANY_OBJECT),
        ({"type": "json_object", "schema": {"type": "array"}}, {"type": "array"}),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "x", "strict": True, "schema": {"type": "object", "x": None}},
            },
            {"type": "object", "x": None},
        ),
    ],
)
def test_response_formats(format_: object, schema: object) -> None:
    assert ask(response_format=format_).schema == schema


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({"think": False}, False),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning": {"effort": "medium"}}, "medium"),
        ({"think": True, "reasoning_effort": "high"}, "high"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"thinking": True, "reasoning_effort": "low"}}, "low"),
    ],
)
def test_the_wish_for_reasoning_has_many_names(fields: Mapping[str, object], think: object) -> None:
    assert ask(**fields).think == think


def test_logprobs_and_biases() -> None:
    assert ask(logprobs=True).top_logprobs == 0
    assert ask(logprobs=True, top_logprobs=3).top_logprobs == 3
    assert ask(logprobs=False).top_logprobs is None
    assert ask(top_logprobs=0).top_logprobs is None
    assert ask(logit_bias={"5": -100, "7": 1.5}).logit_bias == {5: -100.0, 7: 1.5}


def test_of_several_answers_with_a_seed_each_has_its_own() -> None:
    assert [another_seed({"seed": 2**63 - 1}, number)["seed"] for number in range(2)] == [2**63 - 1, 0]
    assert another_seed({"seed": -1}, 3) == {"seed": -1}
    assert another_seed({}, 3) == {}
