"""Tool calls, thoughts and shapes that a model really writes: one that says texts by heart.

The prompts are ours (a Go TEMPLATE), so slmctl reads what the engine passes on as plain text.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtimes.protocol import ToolCallDelta
from slmctl.app.asks import ChatAsk
from tests.slmctl.cli.program import Program
from tests.slmctl.server.asking import Asker, calls_of, end_of, text_of, thoughts_of
from tools.reciting_model import cue, write_reciting_model

HI = [{"role": "user", "content": "Hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
BODY = "{{ range .Messages }}{{ .Content }}{{ end }}"


@contextmanager
def reciting(folder: Path, text: str, template: str) -> Iterator[Asker]:
    """A model that says `text`, whose TEMPLATE is `template` and the cue for it."""
    with tempfile.TemporaryDirectory(prefix="slm") as runtime:
        program = Program(folder / "home", Path(runtime))
        write_reciting_model(folder / "reciting.gguf", [text])
        modelfile = folder / "Modelfile"
        modelfile.write_text(
            f'FROM {folder / "reciting.gguf"}\nTEMPLATE """{template}{cue(0)}"""\n', encoding="utf-8"
        )
        done = program("create", "reciting", "-f", str(modelfile))
        assert done.code == 0, done.err
        asker = Asker(program)
        try:
            yield asker
        finally:
            asker.close()


HERMES = BODY + "{{ if .Tools }}<tool_call>{{ .Tools }}{{ end }}"
LLAMA = BODY + "{{ if .Tools }}{{ .Tools }}<|start_header_id|>{{ end }}"
MISTRAL = BODY + "{{ if .Tools }}[TOOL_CALLS]{{ .Tools }}{{ end }}"
WEATHER = ("get_weather", '{"city":"Ulm"}')


@pytest.mark.parametrize(
    ("template", "text", "said", "calls"),
    [
        (
            HERMES,
            'Sure.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ulm"}}\n</tool_call>',
            "Sure.\n",
            [WEATHER],
        ),
        (
            HERMES,
            '<tool_call>{"name":"get_weather","arguments":{"city":"Ulm"}}</tool_call>\n' * 2,
            "",
            [WEATHER, WEATHER],
        ),
        (HERMES, "<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>", []),
        (LLAMA, '{"name": "get_weather", "parameters": {"city": "Ulm"}}', "", [WEATHER]),
        (MISTRAL, '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Ulm"}}]', "", [WEATHER]),
    ],
)
def test_calls_that_a_model_writes(
    tmp_path: Path, template: str, text: str, said: str, calls: Sequence[tuple[str, str]]
) -> None:
    with reciting(tmp_path, text, template) as asker:
        events = asker.chat("reciting", ChatAsk(messages=HI, tools=[TOOL]))
        assert calls_of(events) == calls
        assert text_of(events) == said
        assert end_of(events).reason == ("tool_calls" if calls else "stop")
        first = asker.chat("reciting", ChatAsk(messages=HI, tools=[TOOL], parallel_tool_calls=False))
        assert calls_of(first) == list(calls[:1])
        plain = asker.chat("reciting", ChatAsk(messages=HI))
        assert text_of(plain) == text
        assert not any(isinstance(event, ToolCallDelta) for event in plain)


THINKS = (
    "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}"
)
SCHEMA = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}


def test_thoughts_come_before_a_shape(tmp_path: Path) -> None:
    """The grammar begins where the thoughts end, and the counts are those of both."""
    with reciting(tmp_path, '<think>so be it</think>{"yes": true}', THINKS) as asker:
        free = asker.chat("reciting", ChatAsk(messages=HI))
        assert (thoughts_of(free), text_of(free)) == ("so be it", '{"yes": true}')
        shaped = asker.chat("reciting", ChatAsk(messages=HI, schema=SCHEMA))
        assert thoughts_of(shaped) == "so be it"
        assert json.loads(text_of(shaped)) == {"yes": True}
        assert end_of(shaped).reason == "stop"
        assert end_of(shaped).prompt_tokens == end_of(free).prompt_tokens
        generated = end_of(shaped).generated_tokens
        assert generated is not None
        assert abs(generated - (end_of(free).generated_tokens or 0)) <= 2
        cut = asker.chat("reciting", ChatAsk(messages=HI, schema=SCHEMA, parameters={"num_predict": 2}))
        assert end_of(cut).reason == "length"
        assert text_of(cut) == ""
        assert thoughts_of(cut)


def test_who_does_not_think_is_held_to_the_shape_at_once(tmp_path: Path) -> None:
    with reciting(tmp_path, '{"yes": true}', THINKS) as asker:
        for think in (None, True, False):
            events = asker.chat("reciting", ChatAsk(messages=HI, schema=SCHEMA, think=think))
            assert thoughts_of(events) == ""
            assert json.loads(text_of(events)) == {"yes": True}
            assert end_of(events).reason == "stop"
