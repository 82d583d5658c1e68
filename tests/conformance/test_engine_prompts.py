"""`slmctl render` makes the prompt that the engine's own /apply-template makes, for every chat format.

Each format is loaded once, as the chat template in a file, with the tokens that begin and end its texts; all of
its conversations and some more are compared byte for byte, and where the maker's text is known, with that too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelfiles.spec import ModelSpec
from modelfiles.template.errors import TemplateError
from registry.errors import EngineFailed
from registry.names import parse_name
from registry.store.store import Store
from runtimes import protocol
from runtimes.client import Client
from runtimes.engines.base import LaunchRequest
from slmctl.app.clock import now
from slmctl.app.create import CreateRequest, create
from slmctl.app.formats import chat_formats, jinja_format
from slmctl.app.package import Package
from slmctl.app.rendering import Template, render, template_of
from tests.gguf_copies import tokens_of_format, write_copy
from tests.modelfiles.template.golden import Case, cases
from tests.runtimes.launches import llama_worker

CASES = [case for case in cases("jinja") if case.given["add_generation_prompt"]]
PROMPT_BYTES = 2**20

USER: dict[str, Any] = {"role": "user", "content": 'Is "<müller>" {{ one }}?\n\t\'\\ 😀'}
TOOL = {"type": "function", "function": {"name": "f", "description": "Ünï <&>", "parameters": {
    "type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}, "required": ["z"]}}}  # fmt: skip


def called(arguments: object) -> list[dict[str, Any]]:
    call = {"id": "a1B2c3D4e", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a1B2c3D4e", "content": '{"ok": true}'},
    ]


FURTHER: dict[str, dict[str, Any]] = {
    "odd-characters": {"messages": [USER]},
    "answer-begun": {"messages": [USER, {"role": "assistant", "content": "Well, "}]},
    "answer-begun-think": {"messages": [USER, {"role": "assistant", "content": "Well, "}], "think": True},
    "answer-begun-no-think": {"messages": [USER, {"role": "assistant", "content": "Well, "}], "think": False},
    "think": {"messages": [USER], "think": True},
    "no-think": {"messages": [USER], "think": False},
    "effort": {"messages": [USER], "think": "high"},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, USER]},
    "late-system": {"messages": [USER, {"role": "assistant", "content": "No."}, {"role": "system", "content": "Be brief."}, USER]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]},
    "null": {"messages": [USER, {"role": "assistant", "content": None}, USER]},
    "thought": {"messages": [USER, {"role": "assistant", "content": "No.", "reasoning_content": "Hm."}, USER]},
    "call-of-object": {"messages": called({"z": "é", "a": 1.5}), "tools": [TOOL]},
    "call-of-text": {"messages": called('{"z": "é", "a": 1.5}'), "tools": [TOOL]},
}  # fmt: skip


def chat(content: str = "{{ m.content }}", *, before: str = "", answer: str = "", behind: str = "") -> str:
    """A template of the plainest kind, with something of its own in one place."""
    turns = "{% for m in messages %}<|{{ m.role }}|>" + content + "<|end|>{% endfor %}"
    return before + turns + "{% if add_generation_prompt %}<|assistant|>" + answer + "{% endif %}" + behind


HI = {"role": "user", "content": "Hi"}
CALLS = "{{ m.content }}{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + '=' + ARGUMENTS }}{% endfor %}"
TYPED = "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }};{% endfor %}{% endif %}"
NO_SYSTEM = "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.content }}"
ONE_SYSTEM = "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
TODAY = "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ date_string }} {{ datetime }}"
TOLD = "{% if enable_thinking is defined and enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"

MENDED = [
    ("no-system-role", chat(NO_SYSTEM), "<|user|>S\nHi<|end|>"),
    ("system-left-out", ONE_SYSTEM, "<|user|>S\nHi<|end|>"),
    ("arguments-as-text", chat(CALLS.replace("ARGUMENTS", "c.function.arguments")), '<call>f={"z":"é","a":1.5}'),
    ("arguments-as-json", chat(CALLS.replace("ARGUMENTS", "(c.function.arguments | tojson)")), '<call>f={"z": "é", "a": 1.5}'),
    ("date", chat(before=TODAY), " 20"),
    ("parts", chat(TYPED), "one;two;"),
]  # fmt: skip
"""Templates that cannot take everything, and a text that they make of the conversations all the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Where the engine means something else than we, on purpose or by its nature, and what each makes of it."""

    name: str
    why: str
    template: str
    asked: Mapping[str, Any]
    engine: str
    ours: str


DIFFERENCES = [
    Difference(
        name="tools-that-are-not-there",
        why="Transformers, for which makers write, gives None for no tools; llama.cpp gives nothing",
        template=chat(before="{{ tools is defined }}{{ documents is defined }}"),
        asked={"messages": [HI]},
        engine="FalseFalse<|user|>Hi<|end|><|assistant|>",
        ours="TrueTrue<|user|>Hi<|end|><|assistant|>",
    ),
    Difference(
        name="fields-of-nobody's",
        why="llama.cpp drops what OpenAI's messages do not have; a template is for whoever wrote both",
        template=chat("{{ m.content }}{{ m.mood }}"),
        asked={"messages": [{**HI, "mood": ":-)"}]},
        engine="<|user|>Hi<|end|><|assistant|>",
        ours="<|user|>Hi:-)<|end|><|assistant|>",
    ),
    Difference(
        name="thoughts-by-another-name",
        why="Ollama's messages have `thinking`, which means the same as `reasoning_content`",
        template=chat("{{ m.content }}{{ m.reasoning_content }}"),
        asked={"messages": [HI, {"role": "assistant", "content": "Yes", "thinking": "Hm."}, HI]},
        engine="<|user|>Hi<|end|><|assistant|>Yes<|end|><|user|>Hi<|end|><|assistant|>",
        ours="<|user|>Hi<|end|><|assistant|>YesHm.<|end|><|user|>Hi<|end|><|assistant|>",
    ),
    Difference(
        name="a-call-that-has-begun",
        why="an engine cannot go on with one; what it would see can still be shown",
        template=chat("{{ m.content }}{{ (m.tool_calls or [])|length }}"),
        asked={"messages": called({})[:2]},
        engine="REFUSED: The engine refused the request: Cannot continue an assistant message that contains tool calls.",
        ours="<|user|>" + USER["content"] + "0<|end|><|assistant|>1<|end|>",
    ),
    Difference(
        name="remainder-of-nothing",
        why="llama.cpp's integers are the machine's",
        template=chat(behind="{{ 1 % 0 }}"),
        asked={"messages": [HI]},
        engine="<|user|>Hi<|end|><|assistant|>-9223372036854775808",
        ours="REFUSED: The chat template fails on line 1: integer modulo by zero (ZeroDivisionError).",
    ),
    Difference(
        name="an-answer-begun-and-thinking",
        why="an answer that has begun is not thought about first; llama.cpp leaves a thought open there that is",
        template=chat(answer=TOLD),
        asked={"messages": [HI, {"role": "assistant", "content": "Well, "}], "think": True},
        engine="<|user|>Hi<|end|><|assistant|><think>\nWell, ",
        ours="<|user|>Hi<|end|><|assistant|><think>\n\n</think>\n\nWell, ",
    ),
    Difference(
        name="a-filter-of-jinja's",
        why="llama.cpp has those that chat templates use",
        template=chat("{{ m.content }}{{ 'x' | center(3) if m.content == 'Hi' else '' }}"),
        asked={"messages": [HI]},
        engine="REFUSED: Unknown (built-in) filter 'center' for type String.",
        ours="<|user|>Hi x <|end|><|assistant|>",
    ),
]


@pytest.fixture
def base() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    yield folder
    shutil.rmtree(folder)


def refusal(message: str) -> str:
    """What was said in place of a prompt; the template's own words alone, where it has refused."""
    return f"REFUSED: {re.split('Jinja Exception: |Error: |refuses this conversation: ', message)[-1]}"


def wanted(case: Case) -> bool | None:
    """What the case's variables ask for: `enable_thinking` or `thinking`."""
    return next(iter(case.variables.values()), None)


@dataclasses.dataclass(frozen=True)
class Both:
    """A model that both sides have."""

    client: Client
    template: Template

    def engines(self, asked: Mapping[str, Any]) -> str:
        question = protocol.chat_request(
            asked["messages"], tools=asked.get("tools", ()), think=asked.get("think")
        )
        try:
            return protocol.parse_prompt(self.client.preview(question, PROMPT_BYTES))
        except EngineFailed as error:
            return refusal(error.message)

    def ours(self, asked: Mapping[str, Any]) -> str:
        try:
            return render(
                self.template,
                asked["messages"],
                tools=asked.get("tools", ()),
                think=asked.get("think"),
                environment=os.environ,
            )
        except TemplateError as error:
            return refusal(error.message)


@contextlib.contextmanager
def loaded(base: Path, template: str, texts: Mapping[int, str], *, add_bos: bool = False) -> Iterator[Both]:
    model = base / "model.gguf"
    write_copy(model, chat_template=template, texts=texts, add_bos=add_bos)
    store = Store(base / "store")
    request = CreateRequest(name=parse_name("m"), bases=[str(model)], folder=base, spec=ModelSpec())
    create(store, request, now=now())
    package = Package.open(store, parse_name("m"))
    with llama_worker(base, model, LaunchRequest(model="", context_length=256, threads=1)) as worker:
        yield Both(Client(worker.endpoint, worker), template_of(store, package, package.choose(None)))


@pytest.mark.parametrize("name", chat_formats())
def test_a_format(base: Path, name: str) -> None:
    with loaded(base, jinja_format(name), tokens_of_format(name)) as both:
        for case in (case for case in CASES if case.format == name):
            asked = {"messages": case.messages, "tools": case.given["tools"], "think": wanted(case)}
            assert both.ours(asked) == case.expected, case.name
            assert both.engines(asked) == case.expected, case.name
        for what, asked in FURTHER.items():
            assert both.ours(asked) == both.engines(asked), what


@pytest.mark.parametrize("name", chat_formats())
def test_where_the_tokenizer_begins_each_text(base: Path, name: str) -> None:
    """The engine takes away what the tokenizer puts back; render shows the text as the model gets it."""
    with loaded(base, jinja_format(name), tokens_of_format(name), add_bos=True) as both:
        asked = {"messages": [USER]}
        begin = both.template.bos_token or ""
        assert both.engines(asked) == both.ours(asked).removeprefix(begin)


@pytest.mark.parametrize(("name", "template", "text"), MENDED, ids=[name for name, _, _ in MENDED])
def test_what_a_template_cannot_is_mended_alike(base: Path, name: str, template: str, text: str) -> None:
    conversations = {**FURTHER, "system": {"messages": [{"role": "system", "content": "S"}, HI]}}
    with loaded(base, template, {}) as both:
        for what, asked in conversations.items():
            assert both.ours(asked) == both.engines(asked), what
        assert text in "".join(map(both.ours, conversations.values()))


@pytest.mark.parametrize("case", DIFFERENCES, ids=lambda case: case.name)
def test_where_the_two_differ(base: Path, case: Difference) -> None:
    with loaded(base, case.template, {}) as both:
        assert both.engines(case.asked) == case.engine, case.why
        assert both.ours(case.asked) == case.ours, case.why
