"""Asks of every kind against real workers: hello, its copies with tools, a model without a template."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

import pytest

from runtimes.protocol import TextDelta
from slmctl.app.asks import ChatAsk, CompletionAsk, EmbedAsk, NamedTool, RankAsk
from slmctl.server import answering
from slmctl.server.problems import NotSupported, PromptTooLong, SchemaNotMet
from slmctl.server.scheduler import Served
from tests.slmctl.cli.program import Program
from tests.slmctl.server.asking import CONTEXT, Asker, calls_of, cut_of, end_of, listed, text_of, thoughts_of
from tests.slmctl.server.models import GO_TOOLS, HELLO, RANKER, THINKER, TINY, TOOLS

GREEDY = {"temperature": 0.0, "num_predict": 24}
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"$ref": "#/$defs/zone"}},
            "required": ["zone"],
            "additionalProperties": False,
            "$defs": {"zone": {"enum": ["UTC", "CET"]}},
        },
    },
}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "boolean"}, "note": {"type": "string", "maxLength": 8}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def asker(stocked: Program) -> Iterator[Asker]:
    asker = Asker(stocked, parallel=2)
    yield asker
    asker.close()


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS, TINY])
def test_a_chat_ends_once_and_says_the_same_twice(asker: Asker, model: str) -> None:
    ask = ChatAsk(messages=HI, parameters=GREEDY)
    first, second = asker.chat(model, ask), asker.chat(model, ask)
    assert text_of(first) == text_of(second) != ""
    end = end_of(first)
    assert end.reason in ("stop", "length")
    assert end.prompt_tokens is not None
    assert end.generated_tokens is not None
    assert 0 < end.generated_tokens <= 24


def test_the_count_is_the_one_of_the_answer(asker: Asker) -> None:
    ask = ChatAsk(messages=HI, parameters=GREEDY)
    for model in (HELLO, GO_TOOLS, TINY):
        counted = asker.with_model(model, lambda served: answering.count(served, ask))
        assert counted == end_of(asker.chat(model, ask)).prompt_tokens


def test_the_prompt_has_what_the_author_and_the_client_say(asker: Asker) -> None:
    ask = ChatAsk(
        messages=[{"role": "user", "content": [{"type": "text", "text": "Who?"}]}], system="Be brief."
    )
    for model in (HELLO, GO_TOOLS):
        prompt = asker.with_model(model, lambda served: answering.prompt_of(served, ask))
        assert "Be brief." in prompt
        assert "Who?" in prompt
        assert prompt.endswith("<|im_start|>assistant\n")


def test_a_template_of_the_ask_takes_the_models_place(asker: Asker) -> None:
    ask = ChatAsk(messages=HI, template="{{ range .Messages }}[{{ .Content }}]{{ end }}")
    prompt = asker.with_model(HELLO, lambda served: answering.prompt_of(served, ask))
    assert prompt == "[Hi]"


def test_an_answer_that_began_is_gone_on_with(asker: Asker) -> None:
    whole = text_of(asker.chat(HELLO, ChatAsk(messages=HI, parameters=GREEDY)))
    begun = whole[: len(whole) // 2]
    rest = asker.chat(
        HELLO, ChatAsk(messages=[*HI, {"role": "assistant", "content": begun}], parameters=GREEDY)
    )
    assert not text_of(rest).startswith(begun)


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS])
def test_log_probabilities_are_those_of_the_text(asker: Asker, model: str) -> None:
    events = asker.chat(model, ChatAsk(messages=HI, parameters=GREEDY, top_logprobs=2))
    told = [each for event in events if isinstance(event, TextDelta) for each in event.logprobs]
    assert b"".join(each.data or b"" for each in told).decode() == text_of(events)
    assert all(each.logprob <= 0 and len(each.top) == 2 for each in told)


def test_a_bias_decides(asker: Asker) -> None:
    tokens = asker.with_model(HELLO, lambda served: answering.tokenize(served, "#"))
    events = asker.chat(HELLO, ChatAsk(messages=HI, parameters=GREEDY, logit_bias={tokens[-1]: 100.0}))
    assert set(text_of(events)) == {"#"}


def test_tokens_and_back(asker: Asker) -> None:
    async def there_and_back(served: Served) -> str:
        return await answering.detokenize(served, await answering.tokenize(served, "Hello, world"))

    assert asker.with_model(HELLO, there_and_back).strip() == "Hello, world"
    assert asker.with_model(HELLO, lambda served: answering.detokenize(served, ())) == ""


def test_a_stop_text_that_ended_a_completion_is_told(asker: Asker) -> None:
    whole = text_of(asker.complete(HELLO, CompletionAsk(prompt="The", parameters=GREEDY)))
    stop = whole.strip().split()[1]
    events = asker.complete(HELLO, CompletionAsk(prompt="The", parameters={**GREEDY, "stop": (stop,)}))
    assert stop not in text_of(events)
    assert end_of(events).stopped_by == stop


def test_tokens_are_completed_as_their_text(asker: Asker) -> None:
    tokens = asker.with_model(HELLO, lambda served: answering.tokenize(served, "The", add_special=True))
    by_text = asker.complete(HELLO, CompletionAsk(prompt="The", parameters=GREEDY))
    by_tokens = asker.complete(HELLO, CompletionAsk(prompt=tuple(tokens), parameters=GREEDY))
    assert text_of(by_text) == text_of(by_tokens)


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS, TINY])
@pytest.mark.parametrize(
    "schema",
    [
        POINT,
        {"type": "array", "items": {"enum": ["a", "b", None]}, "minItems": 2, "maxItems": 3},
        {"$ref": "#/$defs/p", "$defs": {"p": POINT}},
    ],
)
def test_structured_output_fits(asker: Asker, model: str, schema: dict[str, object]) -> None:
    """Tiny's tokenizer is one that llguidance's grammars fail with."""
    ask = ChatAsk(messages=HI, schema=schema, parameters={"num_predict": 200, "seed": 7})
    events = asker.chat(model, ask)
    assert end_of(events).reason == "stop"
    assert [type(event) for event in events[:-1]] == [TextDelta]
    value = json.loads(text_of(events))
    if isinstance(value, list):
        assert 2 <= len(value) <= 3
        assert set(value) <= {"a", "b", None}
    else:
        assert value.keys() <= {"x", "note"}
        assert type(value["x"]) is bool


@pytest.mark.parametrize(
    "ask",
    [
        ChatAsk(messages=HI, schema=POINT),
        ChatAsk(messages=HI, schema={"type": "object"}),
        ChatAsk(messages=HI, grammar='root ::= "yes" | "no"'),
    ],
    ids=["schema", "json", "grammar"],
)
@pytest.mark.parametrize("think", [None, True, False])
def test_thoughts_are_free_and_the_answer_is_not(asker: Asker, ask: ChatAsk, think: bool | None) -> None:
    """The engine's own chat endpoint would hold the thoughts to the grammar, and leave the answer empty."""
    parameters = {"num_predict": 200, "seed": 2}
    events = asker.chat(THINKER, dataclasses.replace(ask, think=think, parameters=parameters))
    end = end_of(events)
    assert bool(thoughts_of(events)) is (think is not False)
    assert (end.cached_tokens or 0) <= (end.prompt_tokens or 0)
    if end.reason == "stop" and ask.grammar is None:
        assert isinstance(json.loads(text_of(events)), dict)
    elif end.reason == "stop":
        assert text_of(events) in ("yes", "no")


def test_what_the_limit_of_tokens_cuts_comes_as_it_is(asker: Asker) -> None:
    ask = ChatAsk(messages=HI, schema=POINT, parameters={"num_predict": 3})
    events = asker.chat(GO_TOOLS, ask)
    assert end_of(events).reason == "length"
    assert text_of(events).startswith("{")


def test_what_no_grammar_can_hold_is_seen_by_the_validation(asker: Asker) -> None:
    schema = {"type": "array", "items": {"const": "a"}, "minItems": 3, "maxItems": 3, "uniqueItems": True}
    with pytest.raises(SchemaNotMet, match="uniqueItems"):
        asker.chat(HELLO, ChatAsk(messages=HI, schema=schema, parameters={"num_predict": 200}))


def test_a_grammar_is_kept_to(asker: Asker) -> None:
    grammar = 'root ::= "yes" | "no"'
    for model in (HELLO, TINY):
        assert text_of(asker.chat(model, ChatAsk(messages=HI, grammar=grammar))) in ("yes", "no")
    assert text_of(asker.complete(HELLO, CompletionAsk(prompt="Hi", grammar=grammar))) in ("yes", "no")


@pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])
def test_a_demanded_call_comes_and_is_the_named_one(asker: Asker, model: str) -> None:
    ask = ChatAsk(
        messages=HI,
        tools=[WEATHER, CLOCK],
        tool_choice=NamedTool("get_time"),
        parallel_tool_calls=False,
        parameters={"num_predict": 200, "seed": 1},
    )
    events = asker.chat(model, ask)
    assert end_of(events).reason == "tool_calls"
    [(name, arguments)] = calls_of(events)
    assert name == "get_time"
    assert json.loads(arguments)["zone"] in ("UTC", "CET")
    assert text_of(events).strip() == ""


@pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])
def test_some_call_comes_where_one_is_required(asker: Asker, model: str) -> None:
    ask = ChatAsk(
        messages=HI,
        tools=[WEATHER, CLOCK],
        tool_choice="required",
        parameters={"num_predict": 200, "seed": 3},
    )
    calls = calls_of(asker.chat(model, ask))
    assert calls
    assert {name for name, _ in calls} <= {"get_weather", "get_time"}


def test_tools_that_must_not_be_called_are_not_told_of(asker: Asker) -> None:
    ask = ChatAsk(messages=HI, tools=[WEATHER], tool_choice="none")
    for model in (TOOLS, GO_TOOLS):
        assert "get_weather" not in asker.with_model(model, lambda served: answering.prompt_of(served, ask))


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (ChatAsk(messages=HI, tools=[WEATHER]), "tools"),
        (ChatAsk(messages=HI, think=True), "thinking"),
        (
            ChatAsk(
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
                    }
                ]
            ),
            "vision",
        ),
    ],
)
def test_what_hello_cannot_is_said_in_ollamas_words(asker: Asker, ask: ChatAsk, what: str) -> None:
    with pytest.raises(NotSupported, match=f'"hello.*" does not support {what}'):
        asker.chat(HELLO, ask)


def test_filling_in_needs_a_model_that_can(asker: Asker) -> None:
    with pytest.raises(NotSupported, match="does not support insert"):
        asker.complete(HELLO, CompletionAsk(prompt="a", suffix="b"))


LONG = [
    {"role": "system", "content": "You know numbers."},
    *({"role": "user" if at % 2 == 0 else "assistant", "content": f"number {at} " * 8} for at in range(81)),
]


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS])
def test_the_oldest_messages_go_and_that_is_told(asker: Asker, model: str) -> None:
    with pytest.raises(PromptTooLong) as refused:
        asker.chat(model, ChatAsk(messages=LONG, parameters=GREEDY))
    tokens, context = refused.value.tokens, refused.value.context
    assert tokens is not None
    assert context == CONTEXT < tokens
    events = asker.chat(model, ChatAsk(messages=LONG, parameters=GREEDY, truncate=True))
    cut = cut_of(events)
    assert cut is not None
    end = end_of(events)
    assert end.prompt_tokens == tokens - cut.tokens
    assert end.prompt_tokens <= CONTEXT - 24
    assert 0 < cut.messages < len(LONG) - 1
    kept = LONG[:1] + LONG[1 + cut.messages :]
    assert kept[1]["role"] == "user"
    counted = asker.with_model(model, lambda served: answering.count(served, ChatAsk(messages=kept)))
    assert counted == end.prompt_tokens
    fewer = LONG[:1] + LONG[1 + cut.messages - 2 :]
    counted = asker.with_model(model, lambda served: answering.count(served, ChatAsk(messages=fewer)))
    assert counted > CONTEXT - 24  # no more was cut than had to be


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS, TINY])
def test_of_a_last_message_that_is_too_long_the_end_stays(asker: Asker, model: str) -> None:
    messages = [{"role": "user", "content": "go " * 2000 + "farm"}]
    events = asker.chat(model, ChatAsk(messages=messages, parameters=GREEDY, truncate=True))
    cut = cut_of(events)
    assert cut is not None
    assert cut.messages == 0
    assert cut.tokens > 1000
    assert (end_of(events).prompt_tokens or 0) < CONTEXT


def test_system_messages_are_never_cut(asker: Asker) -> None:
    messages = [{"role": "system", "content": "word " * 2000}, *HI]
    with pytest.raises(PromptTooLong):
        asker.chat(HELLO, ChatAsk(messages=messages, truncate=True))


def test_a_text_keeps_its_first_tokens_and_its_end(asker: Asker) -> None:
    prompt = "word " * 1000
    with pytest.raises(PromptTooLong):
        asker.complete(HELLO, CompletionAsk(prompt=prompt))
    ask = CompletionAsk(prompt=prompt, truncate=True, parameters={**GREEDY, "num_keep": 8})
    events = asker.complete(HELLO, ask)
    cut = cut_of(events)
    assert cut is not None
    assert end_of(events).prompt_tokens == CONTEXT - 24


def test_vectors_have_the_length_1_and_long_texts_are_cut(asker: Asker) -> None:
    inputs = ("Hi", (5, 6, 7), "word " * 1000)
    embedded = asker.with_model(
        HELLO, lambda served: answering.embed(served, EmbedAsk(inputs=inputs)), purpose="embedding"
    )
    assert len(embedded.vectors) == 3
    assert all(math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-5) for vector in embedded.vectors)
    assert embedded.cut == (2,)
    few = asker.with_model(
        HELLO,
        lambda served: answering.embed(served, EmbedAsk(inputs=inputs[:1], dimensions=8)),
        purpose="embedding",
    )
    [vector] = few.vectors
    assert len(vector) == 8
    assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-9)
    with pytest.raises(PromptTooLong):
        asker.with_model(
            HELLO,
            lambda served: answering.embed(served, EmbedAsk(inputs=inputs, truncate=False)),
            purpose="embedding",
        )


def test_documents_are_ranked(asker: Asker) -> None:
    ask = RankAsk(query="a", documents=["b", "c d", "e"])
    ranked = asker.with_model(RANKER, lambda served: answering.rank(served, ask), purpose="rank")
    assert len(ranked.scores) == 3
    with pytest.raises(NotSupported, match="rerank"):
        asker.with_model(HELLO, lambda served: answering.rank(served, ask))


THINKS = "{{ range .Messages }}<|{{ .Role }}|>{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}"


def test_a_model_thinks_first_and_then_keeps_to_the_schema(asker: Asker) -> None:
    """The template leaves the model in the middle of a thought; hello never ends one, so its end is cut."""
    ask = ChatAsk(messages=HI, template=THINKS + "<think>", schema=POINT, parameters={"num_predict": 30})
    events = asker.chat(HELLO, ask)
    assert thoughts_of(events)
    end = end_of(events)
    if end.reason == "stop":
        assert type(json.loads(text_of(events))["x"]) is bool


@pytest.mark.parametrize("model", [HELLO, GO_TOOLS])
def test_a_slot_that_was_somebody_elses_tells_nothing(asker: Asker, model: str) -> None:
    """What was computed for the prompt before is used again, but not where the slot is to be fresh."""

    async def cached(served: Served, *, fresh: bool) -> tuple[int, int]:
        mine = dataclasses.replace(served, slot=0)
        again = dataclasses.replace(mine, fresh=fresh)
        parameters = {"num_predict": 2}
        chat = ChatAsk(messages=HI, parameters=parameters)
        text = CompletionAsk(prompt="word " * 40, parameters=parameters)
        await listed(answering.chat(mine, chat))
        chatted = await listed(answering.chat(again, chat))
        await listed(answering.complete(mine, text))
        completed = await listed(answering.complete(again, text))
        return end_of(chatted).cached_tokens or 0, end_of(completed).cached_tokens or 0

    assert min(asker.with_model(model, lambda served: cached(served, fresh=False))) > 0
    assert asker.with_model(model, lambda served: cached(served, fresh=True)) == (0, 0)
