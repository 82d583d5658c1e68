from __future__ import annotations

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import SlmctlError, UsageError
from runtimes.errors import EngineRefused, EngineSpokeNonsense
from runtimes.protocol import (
    ANY_OBJECT,
    ChatReader,
    CompletionReader,
    Event,
    Finished,
    HttpRequest,
    Progress,
    StreamReader,
    TextDelta,
    Think,
    ThinkingDelta,
    ToolCallDelta,
    apply_template_request,
    chat_request,
    completion_request,
    count_request,
    health_request,
    parse_count,
    parse_health,
    parse_prompt,
    parse_tokens,
    raise_for_status,
    reader_for,
    tokenize_request,
)
from runtimes.sampling import Sampling

# as xllamacpp 2026.10.11549 sent them, shortened
COMPLETION_STREAM = b"""\
data: {"index":0,"content":" Once","tokens":[403],"stop":false,"id_slot":-1,"tokens_predicted":1}

data: {"index":0,"content":" ma\xc3\xb1ana","tokens":[407],"stop":false,"tokens_predicted":2}

data: {"index":0,"content":"","tokens":[],"id_slot":0,"stop":true,"model":"m","tokens_predicted":2,\
"tokens_evaluated":9,"stop_type":"limit","timings":{"cache_n":8,"prompt_n":1,"prompt_ms":1.5,"predicted_n":2,\
"predicted_ms":0.25}}


"""
CHAT_STREAM = b"""\
data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"id":"c"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"reasoning_content":"Hm."}}],"id":"c"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"id":"c"}

data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"id":"c"}

data: {"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":42,"total_tokens":45,\
"prompt_tokens_details":{"cached_tokens":1}},"timings":{"cache_n":1,"prompt_n":41,"prompt_ms":2,\
"predicted_n":3,"predicted_ms":4.0}}

data: [DONE]

"""


def read(reader: StreamReader, *pieces: bytes) -> list[Event]:
    events = [event for piece in pieces for event in reader.feed(piece)]
    reader.close()
    return events


def line(answer: object) -> bytes:
    return b"data: " + json.dumps(answer).encode() + b"\n\n"


def body_of(request: HttpRequest) -> dict[str, object]:
    body = json.loads(request.body)
    assert isinstance(body, dict)
    return body


def test_a_completion() -> None:
    assert read(CompletionReader(), COMPLETION_STREAM) == [
        TextDelta(" Once"),
        TextDelta(" mañana"),
        Finished(
            reason="length",
            prompt_tokens=9,
            cached_tokens=8,
            generated_tokens=2,
            prompt_seconds=0.0015,
            generation_seconds=0.00025,
        ),
    ]


def test_a_chat() -> None:
    assert read(ChatReader(), CHAT_STREAM) == [
        ThinkingDelta("Hm."),
        TextDelta("Hi"),
        Finished(
            reason="stop",
            prompt_tokens=42,
            cached_tokens=1,
            generated_tokens=3,
            prompt_seconds=0.002,
            generation_seconds=0.004,
        ),
    ]


def test_progress_where_it_was_asked_for() -> None:
    chunk = {
        "choices": [{"index": 0, "delta": {}}],
        "prompt_progress": {"total": 20, "cache": 4, "time_ms": 0},
    }
    timed = {
        "choices": [{"index": 0, "delta": {"content": "Hi"}}],
        "timings": {"cache_n": 4, "prompt_n": 16, "predicted_n": 1},
    }
    end = b"".join(CHAT_STREAM.partition(b'data: {"choices":[{"finish_reason":"stop"')[1:])
    assert read(ChatReader(), line(chunk), line(timed), end)[:-1] == [
        Progress(prompt_tokens=20, cached_tokens=4, generated_tokens=0),
        Progress(prompt_tokens=20, cached_tokens=4, generated_tokens=1),
        TextDelta("Hi"),
    ]


@given(st.lists(st.integers(0, len(COMPLETION_STREAM))))
def test_a_completion_cut_anywhere_reads_the_same(cuts: list[int]) -> None:
    places = sorted({0, len(COMPLETION_STREAM), *cuts})
    pieces = [COMPLETION_STREAM[start:stop] for start, stop in itertools.pairwise(places)]
    assert read(CompletionReader(), *pieces) == read(CompletionReader(), COMPLETION_STREAM)


@pytest.mark.parametrize(
    ("make", "stream"), [(CompletionReader, COMPLETION_STREAM), (ChatReader, CHAT_STREAM)]
)
def test_a_stream_that_ends_early_is_an_error_at_every_byte(make: type[StreamReader], stream: bytes) -> None:
    whole = len(stream.rstrip(b"\n")) + 2
    for end in range(whole):
        reader = make()
        list(reader.feed(stream[:end]))
        with pytest.raises(EngineSpokeNonsense):
            reader.close()
    read(make(), stream[:whole])


@pytest.mark.parametrize("reader", [CompletionReader(), ChatReader()])
def test_an_error_inside_the_stream(reader: StreamReader) -> None:
    error = {"error": {"code": 400, "message": "the request exceeds\nthe context", "type": "too_long"}}
    with pytest.raises(EngineRefused) as caught:
        list(reader.feed(line(error)))
    assert caught.value.message == "The engine refused the request: the request exceeds the context."
    assert (caught.value.status, caught.value.kind) == (400, "too_long")


def test_tool_calls() -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"a":1}'}}
    stream = [line({"choices": [{"delta": {"tool_calls": [call]}}]}) for call in (first, rest)]
    end = [line({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}), b"data: [DONE]\n\n"]
    assert read(ChatReader(), *stream, *end) == [
        ToolCallDelta(0, "call_1", "add", ""),
        ToolCallDelta(0, None, None, '{"a":1}'),
        Finished(reason="tool_calls"),
    ]


def test_what_the_engine_does_not_tell_is_none() -> None:
    assert read(CompletionReader(), line({"content": "", "stop": True, "stop_type": "eos"})) == [
        Finished(reason="stop")
    ]


def test_what_follows_the_end_is_not_read() -> None:
    events = read(CompletionReader(), COMPLETION_STREAM + line({"error": "late"}))
    assert isinstance(events[-1], Finished)


@given(st.lists(st.binary() | st.sampled_from([b"data: ", b"\n\n", b"{", b'{"choices":[', b"null", b"[]"])))
@pytest.mark.parametrize("make", [CompletionReader, ChatReader])
def test_a_reader_raises_nothing_but_our_errors(make: type[StreamReader], pieces: list[bytes]) -> None:
    with contextlib.suppress(SlmctlError):
        read(make(), *pieces)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["error", "choices", "delta", "tool_calls", "function", "usage", "timings", "stop", "content"]
            ),
            inner,
        )
    ),
)


@given(JSON_VALUES)
@pytest.mark.parametrize("make", [CompletionReader, ChatReader])
def test_json_of_any_shape_raises_nothing_but_our_errors(make: type[StreamReader], value: object) -> None:
    with contextlib.suppress(SlmctlError):
        read(make(), line(value), line({"choices": value}), line({"choices": [value]}), b"data: [DONE]\n\n")


def test_deep_json_is_refused() -> None:
    with pytest.raises(EngineSpokeNonsense):
        list(CompletionReader().feed(b"data: " + b"[" * 200_000 + b"\n\n"))


def test_requests_always_stream() -> None:
    completion = completion_request(
        "a", Sampling(temperature=0, num_predict=5), json_schema={"type": "array"}
    )
    assert (completion.method, completion.path) == ("POST", "/completion")
    body = body_of(completion)
    told = body.pop("response_fields")
    assert isinstance(told, list)
    assert {"content", "stop", "stop_type", "timings"} <= set(told)
    assert body == {
        "prompt": "a",
        "stream": True,
        "temperature": 0,
        "n_predict": 5,
        "json_schema": {"type": "array"},
    }
    messages = [{"role": "user", "content": "é"}]
    chat = chat_request(messages, tools=[{"type": "function"}], json_schema={"type": "array"}, think=False)
    assert chat.path == "/v1/chat/completions"
    assert body_of(chat) == {
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    }
    assert isinstance(reader_for(completion), CompletionReader)
    assert isinstance(reader_for(chat), ChatReader)


@pytest.mark.parametrize(
    ("think", "kwargs"),
    [
        (True, {"enable_thinking": True, "thinking": True}),
        (False, {"enable_thinking": False, "thinking": False}),
        ("high", {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_thinking_is_the_templates_business(think: Think, kwargs: dict[str, object]) -> None:
    assert body_of(chat_request([], think=think))["chat_template_kwargs"] == kwargs


def test_json_mode_is_a_grammar_of_llama_cpps_own_kind() -> None:
    for request in (
        completion_request("a", json_schema=ANY_OBJECT),
        chat_request([], json_schema=ANY_OBJECT),
    ):
        body = body_of(request)
        assert str(body["grammar"]).startswith("\nroot ::= object")
        assert not body.keys() & {"json_schema", "response_format"}


def test_small_requests() -> None:
    assert (health_request().method, health_request().path) == ("GET", "/health")
    assert body_of(tokenize_request("a b", add_special=True)) == {"content": "a b", "add_special": True}
    assert body_of(apply_template_request([{"role": "user", "content": "x"}], tools=[{}])) == {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{}],
    }


def test_what_is_told_on_the_way_and_how_long_it_thinks() -> None:
    quiet, prompt, tokens = (
        body_of(chat_request([], progress=telling)) for telling in (None, "prompt", "tokens")
    )
    assert prompt == quiet | {"return_progress": True}
    assert tokens == prompt | {"timings_per_token": True}
    assert body_of(completion_request("", progress="tokens")).keys() >= {
        "return_progress",
        "timings_per_token",
    }
    assert body_of(chat_request([], think_tokens=9)) == quiet | {"thinking_budget_tokens": 9}


def test_a_count_is_asked_for_by_the_body_of_the_chat() -> None:
    question = chat_request([{"role": "user", "content": "Hi"}])
    assert count_request(question).body == question.body
    assert parse_count(b'{"input_tokens":20,"object":"response.input_tokens"}') == 20
    with pytest.raises(EngineSpokeNonsense):
        parse_count(b"{}")


def test_the_key_goes_into_a_header() -> None:
    assert health_request().with_key("k").headers == {"Authorization": "Bearer k"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": "https://example.org/a.png"},
        {"type": "image_url", "image_url": {"url": 7}},
        {"type": "video", "video": {"url": "/etc/passwd"}},
    ],
)
def test_media_by_address_never_reaches_the_engine(part: dict[str, object]) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, part]}]
    with pytest.raises(UsageError):
        chat_request(messages)
    with pytest.raises(UsageError):
        apply_template_request(messages)


def test_media_inside_the_message_is_passed_on() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert chat_request([{"role": "user", "content": [part]}]).body.count(b"data:image/png") == 1


def test_answers_of_small_requests() -> None:
    assert parse_tokens(b'{"tokens":[1,2]}') == (1, 2)
    assert parse_prompt(b'{"prompt":"x"}') == "x"
    assert parse_health(200)
    assert not parse_health(503)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tokens":1,"prompt":1}',
        b'{"tokens":["1"]}',
        b"\xff",
    ],
)
def test_answers_without_what_was_asked_for(body: bytes) -> None:
    with pytest.raises(EngineSpokeNonsense):
        parse_tokens(body)
    with pytest.raises(EngineSpokeNonsense):
        parse_prompt(body)


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (
            401,
            b'{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}',
            "Invalid API Key",
            "authentication_error",
        ),
        (500, b"<html>", "HTTP status 500", None),
        (500, b'{"error":"text"}', "text", None),
        (404, b"", "HTTP status 404", None),
    ],
)
def test_refusals(status: int, body: bytes, message: str, kind: str | None) -> None:
    with pytest.raises(EngineRefused) as caught:
        raise_for_status(status, body)
    assert caught.value.message == f"The engine refused the request: {message}."
    assert (caught.value.status, caught.value.kind) == (status, kind)
    raise_for_status(200, b"")


def test_what_came_before_an_error_comes_before_it() -> None:
    """However much of the stream was read at once."""
    error = {"error": {"code": 500, "message": "Context size exceeded.", "type": "server_error"}}
    whole = line({"content": "a", "stop": False}) + line({"content": "b", "stop": False}) + line(error)
    events = CompletionReader().feed(whole)
    assert [next(events), next(events)] == [TextDelta("a"), TextDelta("b")]
    with pytest.raises(EngineRefused, match="Context size exceeded"):
        next(events)


def test_a_text_that_one_batch_cannot_hold_is_too_long() -> None:
    body = (
        b'{"error":{"code":500,"type":"server_error","message":"input (1003 tokens) is too large to process. '
        b'increase the physical batch size (current batch size: 512)"}}'
    )
    with pytest.raises(EngineRefused) as caught:
        raise_for_status(500, body)
    assert caught.value.is_too_long
    assert (caught.value.prompt_tokens, caught.value.context) == (1003, 512)
