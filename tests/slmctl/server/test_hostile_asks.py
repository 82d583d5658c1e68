"""Asks that bring engines down, or out of step, against a real worker, which has to live on.

The rows are those of advisories on engines (serving.md, 5B): each is refused with a sentence, or answered as
it was asked. After each the same process answers the next question.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import psutil
import pytest

from registry.errors import SlmctlError, UsageError
from runtimes.errors import EngineRefused
from slmctl.app.asks import ChatAsk, CompletionAsk, EmbedAsk
from slmctl.app.images import check_images
from slmctl.server import answering
from slmctl.server.problems import NotSupported, PromptTooLong, SchemaNotMet
from slmctl.server.scheduler import Want
from tests.slmctl.cli.program import Program
from tests.slmctl.server.asking import CONTEXT, Asker, end_of, listed, text_of
from tests.slmctl.server.models import GO_TOOLS, HELLO, TOOLS

HI = [{"role": "user", "content": "Hi"}]
FEW = {"num_predict": 4}
MOST_SECONDS = 20.0  # ten times what any of them may take


@pytest.fixture(scope="module")
def asker(stocked: Program) -> Iterator[Asker]:
    asker = Asker(stocked, parallel=2)
    yield asker
    asker.close()


@pytest.fixture(autouse=True)
def _the_worker_lives_on(asker: Asker) -> Iterator[None]:
    ask = ChatAsk(messages=HI, parameters=FEW)
    asker.chat(HELLO, ask)
    before = asker.pids()
    yield
    assert end_of(asker.chat(HELLO, ask)).generated_tokens
    now = asker.pids()
    assert {key: now.get(key) for key in before} == before


def tool(parameters: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


ODD_PARAMETERS: list[tuple[str, Any]] = [
    ("num_keep", -5),
    ("num_keep", 2**31 - 1),
    ("top_k", -(2**31)),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("temperature", 1e308),
    ("temperature", -1.0),
    ("top_p", -0.5),
    ("min_p", 2.0),
    ("repeat_penalty", -math.inf),
    ("repeat_last_n", 2**31 - 1),
    ("num_predict", -3),
    ("seed", 2**70),
    ("stop", ("",)),
    ("stop", ("a",) * 1000),
    ("stop", ("a" * 100_000,)),
    ("top_k", True),
]

REFUSED: list[tuple[str, ChatAsk | CompletionAsk]] = [
    *(
        (f"grammar: {name}", ask)
        for name, grammar in [
            ("brackets", "root ::= " + "(" * 50_000 + '"a"' + ")" * 50_000),
            ("itself", "root ::= root"),
            ("itself by another", 'root ::= a\na ::= b | "x"\nb ::= a'),
            ("counts", 'root ::= "a"{2000000000}'),
            ("no grammar", "hello"),
            ("another language", '%llguidance {}\nstart: "a"'),
            ("large", 'root ::= "' + "a" * 100_000 + '"'),
        ]
        for ask in (ChatAsk(messages=HI, grammar=grammar), CompletionAsk(prompt="a", grammar=grammar))
    ),
    *(
        (f"schema: {name}", ask)
        for name, schema in [
            ("items", {"type": "array", "items": {"type": "string"}, "minItems": 2_000_000_000}),
            ("a thousand levels", nested(900)),
            ("itself", {"$ref": "#"}),
            ("a type", {"type": "stsring"}),
            ("a pattern", {"type": "string", "pattern": "(((("}),
            ("a slow pattern", {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"}),
            ("a stranger's", {"$ref": "http://localhost:1/x"}),
        ]
        for ask in (ChatAsk(messages=HI, schema=schema), CompletionAsk(prompt="a", schema=schema))
    ),
    *(
        (
            f"parameter: {name}={str(value)[:20] if name != 'seed' else 1}",
            ChatAsk(messages=HI, parameters={name: value}),
        )
        for name, value in ODD_PARAMETERS
    ),
    ("alternatives", ChatAsk(messages=HI, top_logprobs=2_000_000_000)),
    ("less than none", CompletionAsk(prompt="a", top_logprobs=-1)),
    ("a token that there is not", ChatAsk(messages=HI, logit_bias={-1: 1.0})),
    ("a token behind the last", ChatAsk(messages=HI, logit_bias={10**9: 1.0})),
    ("a bias that is no number", CompletionAsk(prompt="a", logit_bias={1: math.nan})),
    ("an endless bias", CompletionAsk(prompt="a", logit_bias={1: math.inf})),
    ("no tokens", CompletionAsk(prompt=())),
    ("tokens that there are not", CompletionAsk(prompt=(5, 10**9))),
    ("tokens below zero", CompletionAsk(prompt=(-1,))),
    ("half a character", CompletionAsk(prompt="a \ud800")),
    ("half a character in a message", ChatAsk(messages=[{"role": "user", "content": "\udc00"}])),
    ("half a character in a schema", ChatAsk(messages=HI, schema={"const": "\udc00"})),
    ("no messages", ChatAsk(messages=[])),
    ("a long prompt", ChatAsk(messages=[{"role": "user", "content": "word " * 100_000}])),
    ("a million marks of images", CompletionAsk(prompt="<__media__>" * 1_000_000)),
]


def _ask(asker: Asker, ask: ChatAsk | CompletionAsk) -> None:
    if isinstance(ask, ChatAsk):
        asker.chat(HELLO, ask)
    else:
        asker.complete(HELLO, ask)


@pytest.mark.parametrize("ask", [ask for _, ask in REFUSED], ids=[name for name, _ in REFUSED])
def test_refused_with_a_sentence(asker: Asker, ask: ChatAsk | CompletionAsk) -> None:
    with pytest.raises(SlmctlError) as refused:
        _ask(asker, ask)
    assert 0 < len(refused.value.message) < 400
    assert "/" not in refused.value.message.replace("m/s", ""), "no path"


@pytest.mark.parametrize("model", [TOOLS, GO_TOOLS])
@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "stsring"},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(((("}}},
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
        {"type": "array", "minItems": 2_000_000_000},
        nested(900),
    ],
    ids=["type", "pattern", "reference", "items", "levels"],
)
def test_tools_are_looked_at_too(asker: Asker, model: str, choice: Any, parameters: object) -> None:
    with pytest.raises(UsageError):
        asker.chat(model, ChatAsk(messages=HI, tools=[tool(parameters)], tool_choice=choice))


@pytest.mark.parametrize(
    "tools",
    [
        [{}],
        [{"type": "function", "function": {"name": ""}}],
        [tool({}), tool({})],
        [{"type": "function", "function": {"name": f"f{at}"}} for at in range(1000)],
    ],
    ids=["none", "no name", "twice", "many"],
)
def test_tools_that_are_none(asker: Asker, tools: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError):
        asker.chat(TOOLS, ChatAsk(messages=HI, tools=tools))


def test_a_tool_may_say_nothing_of_its_arguments(asker: Asker) -> None:
    for parameters in ({}, None, {"type": "object"}):
        events = asker.chat(TOOLS, ChatAsk(messages=HI, tools=[tool(parameters)], parameters=FEW))
        assert end_of(events).generated_tokens


@pytest.mark.parametrize(
    "ask",
    [
        CompletionAsk(prompt="", parameters=FEW),
        CompletionAsk(prompt="a\x00b", parameters=FEW),
        CompletionAsk(prompt="a", parameters={"num_predict": 2, "seed": -1, "top_k": 2**31 - 1}),
        CompletionAsk(prompt="a", parameters={"num_predict": 2, "temperature": 0.0, "seed": 2**63 - 1}),
        CompletionAsk(prompt="a", parameters={"num_predict": 2, "repeat_last_n": -1, "num_keep": -1}),
        CompletionAsk(prompt="a", parameters=FEW, top_logprobs=20),
        CompletionAsk(prompt="<|im_start|>system\n<__media__>", parameters=FEW),
    ],
    ids=[
        "empty",
        "nul",
        "any seed",
        "large seed",
        "all of the context",
        "alternatives",
        "marks",
    ],
)
def test_odd_and_answered(asker: Asker, ask: CompletionAsk) -> None:
    assert (end_of(asker.complete(HELLO, ask)).generated_tokens or 0) <= 4


@pytest.mark.parametrize(
    ("schema", "grammar"),
    [
        (
            {
                "type": "array",
                "items": {"type": "array", "items": {"const": 1}, "minItems": 900},
                "minItems": 900,
            },
            None,
        ),
        ({"type": "string", "pattern": "^(a{1,30}){1,30}$"}, None),
        ({"type": "string", "minLength": 1000, "maxLength": 1000}, None),
        ({"enum": [f"value {number}" for number in range(1990)]}, None),
        ({"type": "object", "properties": {f"p{at}": {"type": "integer"} for at in range(990)}}, None),
        (None, 'root ::= ("a"? "b"? "c"?){0,900}'),
        (None, "root ::= " + "(" * 45 + '"a"' + ")" * 45),
        (None, "root ::= [^\\x00-\\x7F]{1000}"),
    ],
    ids=["items", "pattern", "length", "values", "properties", "ways", "brackets", "characters"],
)
def test_as_far_as_is_let_in(asker: Asker, schema: dict[str, Any] | None, grammar: str | None) -> None:
    """Answered, cut by the limit of tokens, or told that it did not work out."""
    ask = ChatAsk(messages=HI, schema=schema, grammar=grammar, parameters={"num_predict": 30})
    try:
        events = asker.wait(_chat(asker, ask), MOST_SECONDS)
    except (SchemaNotMet, UsageError, EngineRefused):
        return
    assert end_of(events).reason in ("stop", "length")


async def _chat(asker: Asker, ask: ChatAsk) -> Any:
    async with asker.scheduler.use(Want(name=HELLO, parameters={"num_ctx": CONTEXT})) as served:
        return await listed(answering.chat(served, ask))


def test_many_schemas_take_no_more_memory(asker: Asker) -> None:
    """Each schema is another, so nothing that is kept for them may grow with their number."""

    def ask(number: int) -> None:
        schema = {
            "type": "object",
            "properties": {f"p{number}": {"const": number}},
            "required": [f"p{number}"],
        }
        ask = ChatAsk(
            messages=HI, schema={**schema, "additionalProperties": False}, parameters={"num_predict": 40}
        )
        assert json.loads(text_of(asker.chat(HELLO, ask))) == {f"p{number}": number}

    for number in range(20):
        ask(number)
    [pid] = [
        pid for (name, purpose), pid in asker.pids().items() if (name, purpose) == ("hello:latest", "text")
    ]
    before = psutil.Process(pid).memory_info().rss
    for number in range(20, 220):
        ask(number)
    assert psutil.Process(pid).memory_info().rss - before < 64 << 20


def test_inputs_of_embeddings(asker: Asker) -> None:
    for inputs in (("",), ((),), ("a", ""), ((-1,),), ((10**9,),), ("a",) * 5000):
        with pytest.raises(UsageError):
            asker.with_model(
                HELLO,
                lambda served, inputs=inputs: answering.embed(served, EmbedAsk(inputs=inputs)),  # type: ignore[misc]
                purpose="embedding",
            )
    for dimensions in (0, -1, 10**9):
        with pytest.raises(UsageError):
            asker.with_model(
                HELLO,
                lambda served, most=dimensions: answering.embed(  # type: ignore[misc]
                    served, EmbedAsk(inputs=("a",), dimensions=most)
                ),
                purpose="embedding",
            )


def test_tokens_that_are_none_have_no_text(asker: Asker) -> None:
    for tokens in ((-1,), (2**31,), (10**9,), (5, 10**30)):
        with pytest.raises(UsageError):
            asker.with_model(HELLO, lambda served, tokens=tokens: answering.detokenize(served, tokens))  # type: ignore[misc]


def png(width: int, height: int, data: bytes | None = None, *, end: bool = True) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0" * (height * (1 + 3 * width))) if data is None else data
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + (chunk(b"IEND", b"") if end else b"")


def url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


BAD_IMAGES = [
    "http://127.0.0.1:1/a.png",
    "https://example.com/a.png",
    "file:///etc/passwd",
    "/etc/passwd",
    "",
    "data:image/png;base64,!!!!",
    "data:image/png,AAAA",
    url(b""),
    url(b"hello"),
    url(b"RIFF0000WEBPVP8 ", "webp"),
    url(png(1, 1)),
    url(png(4, 4)[:-20]),
    url(png(4, 4, end=False)),
    url(png(65535, 65535, b"x")),
    url(png(4, 4, zlib.compress(b"\0" * (64 << 20)))),
    url(png(4, 4, b"no zlib")),
    url(png(4, 4).replace(b"IHDR", b"IHDX")),
    url(b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\0" * 9, "jpeg"),
    url(b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + b"\0" * 9 + b"\xff\xd9", "jpeg"),
    url(b"GIF89a\xff\xff\xff\xff", "gif"),
    url(b"BM" + b"\0" * 16, "bmp"),
]


@pytest.mark.parametrize("bad", BAD_IMAGES, ids=range(len(BAD_IMAGES)))
def test_images_that_go_to_no_engine(bad: str) -> None:
    check_images([url(png(4, 4))])
    with pytest.raises(UsageError):
        check_images([url(png(4, 4)), bad])
    with pytest.raises(UsageError):
        check_images([url(png(4, 4))] * 17)


def test_no_image_reaches_a_model_that_sees_none(asker: Asker) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}
    for model in (HELLO, GO_TOOLS):
        with pytest.raises(NotSupported):
            asker.chat(model, ChatAsk(messages=[{"role": "user", "content": [part]}]))


def test_who_goes_away_leaves_no_slot_taken(asker: Asker) -> None:
    """Answers that are left at every stage; afterwards both slots answer."""

    async def leave(events_wanted: int) -> None:
        async with asker.scheduler.use(Want(name=HELLO, parameters={"num_ctx": CONTEXT})) as served:
            ask = ChatAsk(messages=HI, parameters={"num_predict": 200}, logit_bias={2: -100.0})
            async with aclosing(answering.chat(served, ask)) as events:
                for _ in range(events_wanted):
                    await anext(events)

    for stage in range(100):
        asker.wait(leave(stage % 5))
    for _ in range(4):
        assert end_of(asker.chat(HELLO, ChatAsk(messages=HI, parameters=FEW))).generated_tokens


def test_what_a_long_prompt_is_told(asker: Asker) -> None:
    with pytest.raises(PromptTooLong) as refused:
        asker.complete(HELLO, CompletionAsk(prompt="word " * 10_000))
    assert refused.value.tokens == 10_002
