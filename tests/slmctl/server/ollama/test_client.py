"""Ollama's client from PyPI asks models of a running server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import ollama
import pytest
from pydantic import BaseModel, Field

from tests.slmctl.server.models import GO_TOOLS, HELLO, RANKER, TINY, TOOLS

STILL = {"temperature": 0.0, "seed": 1, "num_predict": 24}
HI = [{"role": "user", "content": "Hi!"}]


class City(BaseModel):
    name: str = Field(max_length=12)
    is_capital: bool


def whole_durations(answer: Mapping[str, Any]) -> bool:
    """Whether the parts of an answer's time are whole nanoseconds, and no longer than all of it."""
    parts = [answer.get(name) or 0 for name in ("load_duration", "prompt_eval_duration", "eval_duration")]
    return all(type(part) is int for part in parts) and 0 < sum(parts) <= answer["total_duration"] * 1.1


def test_generate_answers_and_tells_counts_and_durations(client: ollama.Client) -> None:
    answer = client.generate(HELLO, "Hi!", options=STILL)
    assert answer.response
    assert (answer.done, answer.model) == (True, HELLO)
    assert answer.done_reason in {"stop", "length"}
    assert (answer.prompt_eval_count or 0) > 3
    assert 0 < (answer.eval_count or 0) <= 24
    assert whole_durations(answer.model_dump())
    assert datetime.fromisoformat(str(answer.created_at)[:19] + "+00:00") <= datetime.now(UTC)


def test_a_stream_of_generate_is_the_same_text_in_pieces(client: ollama.Client) -> None:
    whole = client.generate(HELLO, "Hi!", options=STILL)
    *pieces, last = list(client.generate(HELLO, "Hi!", options=STILL, stream=True))
    assert len(pieces) > 1
    assert "".join(piece.response or "" for piece in pieces) == whole.response
    assert not any(piece.done for piece in pieces)
    assert (last.done, last.response, last.done_reason) == (True, "", whole.done_reason)
    assert last.eval_count == whole.eval_count


def test_chat_answers_whole_and_in_pieces(client: ollama.Client) -> None:
    whole = client.chat(HELLO, HI, options=STILL)
    assert whole.message.role == "assistant"
    assert whole.message.content
    *pieces, last = list(client.chat(HELLO, HI, options=STILL, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert (last.done, last.done_reason, last.message.content) == (True, whole.done_reason, "")
    assert whole_durations(last.model_dump())


def test_a_limit_ends_the_answer_for_its_length(client: ollama.Client) -> None:
    answer = client.generate(TINY, "a", raw=True, options={"num_predict": 5})
    assert (answer.done_reason, answer.eval_count) == ("length", 5)


def test_what_is_raw_goes_through_no_template(client: ollama.Client) -> None:
    raw = client.generate(HELLO, "Hi!", raw=True, options=STILL)
    assert raw.context is None
    through = client.generate(HELLO, "Hi!", options=STILL)
    assert (through.prompt_eval_count or 0) > (raw.prompt_eval_count or 0)
    for further in ({"system": "s"}, {"template": "{{ .Prompt }}"}, {"context": [1]}):
        with pytest.raises(ollama.ResponseError, match="raw mode does not support") as caught:
            client.generate(HELLO, "Hi!", raw=True, **further)
        assert caught.value.status_code == 400


def test_a_context_is_given_and_goes_before_the_next_prompt(client: ollama.Client) -> None:
    first = client.generate(HELLO, "Hi!", options=STILL)
    assert first.context
    second = client.generate(HELLO, "Bye!", context=first.context, options=STILL)
    alone = client.generate(HELLO, "Bye!", options=STILL)
    grown = (second.prompt_eval_count or 0) - (alone.prompt_eval_count or 0)
    assert abs(grown - len(first.context)) <= 2
    assert second.context
    assert list(second.context[: len(first.context)]) == list(first.context)


def test_a_template_and_a_system_message_take_the_place_of_the_models(client: ollama.Client) -> None:
    template = "{{ .System }}|{{ .Prompt }}|"
    said = rendered(client, "generate", prompt="P", system="S", template=template)
    assert said["rendered_template"] == "S|P|"
    own = rendered(client, "generate", prompt="P", system="You are S.")["rendered_template"]
    assert "You are S." in own
    assert own.index("You are S.") < own.index("P", own.index("You are S.") + 10)
    chat = rendered(client, "chat", messages=[{"role": "system", "content": "S"}, *HI])["rendered_template"]
    assert chat.index("S") < chat.index("Hi!")


def rendered(client: ollama.Client, what: str, **fields: object) -> dict[str, Any]:
    body = {"model": HELLO, "_debug_render_only": True, **fields}
    answer = client._client.post(f"/api/{what}", json=body)
    assert answer.status_code == 200, answer.text
    about: dict[str, Any] = answer.json()["_debug_info"]
    return about


@pytest.mark.parametrize("model", [HELLO, TINY])
def test_a_schema_of_pydantics_is_met(client: ollama.Client, model: str) -> None:
    answer = client.chat(
        model,
        [{"role": "user", "content": "Is Kyiv a capital?"}],
        format=City.model_json_schema(),
        options={"temperature": 0.0, "num_predict": 300},
    )
    city = City.model_validate_json(answer.message.content or "")
    assert isinstance(city.is_capital, bool)


def test_json_mode_gives_an_object(client: ollama.Client) -> None:
    answer = client.generate(HELLO, "Say it in JSON.", format="json", options=STILL | {"num_predict": 200})
    assert isinstance(json.loads(answer.response or ""), dict)


def test_another_format_is_a_400(client: ollama.Client) -> None:
    answer = client._client.post("/api/chat", json={"model": HELLO, "messages": HI, "format": "yaml"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("invalid format: ")


def test_probabilities_come_with_every_token(client: ollama.Client) -> None:
    answer = client.chat(HELLO, HI, logprobs=True, top_logprobs=3, options=STILL)
    assert answer.logprobs
    assert abs(len(answer.logprobs) - (answer.eval_count or 0)) <= 1
    for each in answer.logprobs:
        assert each.logprob <= 0
        assert each.top_logprobs is not None
        assert 1 <= len(each.top_logprobs) <= 3
    assert answer.message.content == "".join(each.token for each in answer.logprobs)
    streamed = [
        each
        for piece in client.generate(HELLO, "Hi!", logprobs=True, options=STILL, stream=True)
        for each in piece.logprobs or ()
    ]
    assert [each.token for each in streamed] == [each.token for each in answer.logprobs]
    refused = client._client.post(
        "/api/generate", json={"model": HELLO, "prompt": "a", "logprobs": True, "top_logprobs": 21}
    )
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "top_logprobs must be between 0 and 20"},
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"think": True}, '"hello" does not support thinking'),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, '"hello" does not support tools'),
        ({"messages": [{"role": "user", "content": "?", "images": ["iVBORw0KGgo="]}]}, "support vision"),
        ({"options": {"num_ctx": "8k"}}, 'option "num_ctx" must be of type integer'),
        ({"keep_alive": "300"}, 'time: missing unit in duration "300"'),
        ({"shift": True}, "shift is not supported"),
        ({"messages": [{"content": "no role"}]}, "a message has no role"),
        ({"model": ""}, "model is required"),
    ],
)
def test_what_cannot_be_done_is_a_400_in_ollamas_words(
    client: ollama.Client, fields: dict[str, object], said: str
) -> None:
    answer = client._client.post("/api/chat", json={"model": HELLO, "messages": HI, **fields})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]


def test_what_is_not_known_is_passed_over(client: ollama.Client) -> None:
    fields = {"model": HELLO, "messages": HI, "stream": False, "novelty": 1, "options": STILL | {"flux": 2}}
    answer = client._client.post("/api/chat", json=fields)
    assert answer.status_code == 200
    assert answer.json()["message"]["content"]


@pytest.mark.parametrize(
    "name", ["nobody", "nobody:1b", "hf.co/nobody/nothing", "/etc/passwd", "./x", "file:///etc/passwd", "a b"]
)
def test_a_model_that_is_not_here_is_a_404_and_nobody_is_asked(client: ollama.Client, name: str) -> None:
    for ask in (
        lambda: client.generate(name, "a"),
        lambda: client.chat(name, HI),
        lambda: client.embed(name, "a"),
        lambda: client.generate(name, keep_alive=0),
    ):
        with pytest.raises(ollama.ResponseError) as caught:
            ask()
        assert caught.value.status_code == 404
        assert caught.value.error == f'model "{name}" not found, try pulling it first'
    with pytest.raises(ollama.ResponseError) as caught:
        client.show(name)
    assert (caught.value.status_code, caught.value.error) == (404, f"model '{name}' not found")


def test_a_model_is_loaded_and_unloaded_by_saying_nothing(client: ollama.Client) -> None:
    loaded = client.generate(HELLO, keep_alive="10m")
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
    row = loaded_row(client)
    assert row.expires_at is not None
    assert 500 < (row.expires_at - datetime.now(UTC)).total_seconds() <= 600
    assert row.details is not None
    assert row.details.family == "llama"
    assert (row.context_length or 0) > 0
    assert client.chat(HELLO, [], keep_alive=-1).done_reason == "load"
    row = loaded_row(client)
    assert row.expires_at is not None
    assert row.expires_at.year > 2200
    unloaded = client.chat(HELLO, [], keep_alive=0)
    assert (unloaded.done_reason, unloaded.message.content) == ("unload", "")


def loaded_row(client: ollama.Client) -> ollama.ProcessResponse.Model:
    """What `ps` says of the one that answers; another turns texts into vectors."""
    purposes = [row["purpose"] for row in client._client.get("/api/ps").json()["models"]]
    rows = [
        row
        for row, purpose in zip(client.ps().models, purposes, strict=True)
        if (row.model, purpose) == ("hello:latest", "text")
    ]
    assert len(rows) == 1
    return rows[0]


def test_tools_go_through_both_kinds_of_templates(client: ollama.Client) -> None:
    """The model knows no tools: what counts is that they reach it, and that its text comes back as text."""

    def weather(city: str) -> str:
        """The weather in a city.

        Args:
          city: Where.
        """
        return city

    for model in (TOOLS, GO_TOOLS):
        answer = client.chat(model, HI, tools=[weather], options=STILL)
        plain = client.chat(model, HI, options=STILL)
        assert (answer.prompt_eval_count or 0) > (plain.prompt_eval_count or 0) + 20
        assert answer.message.content or answer.message.tool_calls


def plan(days: int | str, stops: list[str], budget: float | None = None) -> str:
    """Plan a journey.

    Args:
      days: How many, or "many".
    """
    return str((days, stops, budget))


def test_a_function_of_pythons_is_a_tool_whatever_its_parameters_are(client: ollama.Client) -> None:
    for model in (TOOLS, GO_TOOLS):
        answer = client.chat(model, HI, tools=[plan], options=STILL)
        assert answer.message.content or answer.message.tool_calls


def test_every_answer_names_the_digest(client: ollama.Client) -> None:
    (digest,) = [model.digest for model in client.list().models if model.model == "hello:latest"]
    fields = {"model": HELLO, "prompt": "a", "options": {"num_predict": 1}}
    assert client._client.post("/api/generate", json=fields).headers["x-slmctl-digest"] == f"sha256:{digest}"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("generate", {"model": RANKER, "prompt": "a"}, f'"{RANKER}" does not support generate'),
        ("chat", {"model": RANKER, "messages": HI}, f'"{RANKER}" does not support chat'),
        ("embed", {"model": RANKER, "input": "a"}, f'"{RANKER}" does not support embed'),
        ("generate", {"model": HELLO, "prompt": "a", "suffix": "b"}, '"hello" does not support insert'),
        ("generate", {"model": HELLO, "prompt": "a", "think": "high"}, '"hello" does not support thinking'),
    ],
)
def test_a_model_of_another_kind_says_what_it_cannot(
    client: ollama.Client, path: str, body: dict[str, object], said: str
) -> None:
    answer = client._client.post(f"/api/{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"].startswith(said)


def test_what_lies_between_two_texts_goes_through_a_template_that_knows_both(client: ollama.Client) -> None:
    name = "inserting"
    template = "<fim>{{ .Prompt }}<gap>{{ .Suffix }}<end>"
    assert client.create(name, from_=HELLO, template=template).status == "success"
    assert client.show(name).capabilities == ["completion", "insert"]
    answer = client.generate(name, "def f(", suffix="return", options={"num_predict": 4})
    assert (answer.done, answer.context) == (True, None)
    assert (answer.prompt_eval_count or 0) > 5
    client.delete(name)
