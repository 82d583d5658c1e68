"""Tool calls and thoughts, from models that give them by heart, through both kinds of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.slmctl.server.reciting import GO_TOOLS, JINJA_TOOLS
from tools.reciting_model import cue, write_reciting_model

CALLS = """\
<tool_call>
{"name": "weather", "arguments": {"city": "Kyiv", "days": 2}}
</tool_call>"""
ANSWER = "It is 20 degrees in Kyiv."
THOUGHTS = "<think>\nTwo and two.\n</think>\n\nThat makes four."
ASKED = [{"role": "user", "content": "How is the weather?"}]

JINJA_THINKING = (
    "{%- for message in messages %}"
    "{%- if message.reasoning_content %}{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n' }}"
    "{%- endif %}{{- message.role + ': ' + message.content + '\\n' }}{%- endfor %}"
    f"{{%- if enable_thinking is defined and enable_thinking is false %}}{{{{- '{cue(1)}' }}}}"
    f"{{%- else %}}{{{{- '{cue(0)}' }}}}{{%- endif %}}"
)
GO_THINKING = (
    "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"
    f"{{{{ if and .IsThinkSet (not .Think) }}}}{cue(1)}{{{{ else }}}}{cue(0)}{{{{ end }}}}"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models' files."""
    folder = tmp_path_factory.mktemp("reciting")
    write_reciting_model(folder / "tools.gguf", [CALLS, ANSWER], chat_template=JINJA_TOOLS)
    write_reciting_model(folder / "thinking.gguf", [THOUGHTS, "Four."], chat_template=JINJA_THINKING)
    return folder


@pytest.fixture(params=["jinja", "go"])
def with_tools(author: ollama.Client, files: Path, request: pytest.FixtureRequest) -> str:
    """The name of a model that calls a tool, and answers when the tool has."""
    template = GO_TOOLS if request.param == "go" else None
    return made(author, files / "tools.gguf", f"tools-{request.param}", template=template)


@pytest.fixture(params=["jinja", "go"])
def thinking(author: ollama.Client, files: Path, request: pytest.FixtureRequest) -> str:
    """The name of a model that thinks before it answers, unless it is told not to."""
    template = GO_THINKING if request.param == "go" else None
    more = {"parser": "qwen3"} if request.param == "go" else {}
    return made(author, files / "thinking.gguf", f"thinking-{request.param}", template=template, **more)


def made(author: ollama.Client, file: Path, name: str, **fields: Any) -> str:
    digest = author.create_blob(file)
    body = {"model": name, "files": {file.name: digest}, "stream": False}
    answer = author._client.post("/api/create", json=body | {k: v for k, v in fields.items() if v})
    assert answer.json() == {"status": "success"}
    return name


def weather(city: str, days: int) -> str:
    """How the weather will be.

    Args:
      city: Where.
      days: For how long.
    """
    return f"{city}: 20 degrees for {days} days"


def test_a_tool_is_called_and_its_answer_leads_to_one(author: ollama.Client, with_tools: str) -> None:
    assert author.show(with_tools).capabilities == ["completion", "tools"]
    asked = author.chat(with_tools, ASKED, tools=[weather])
    calls = asked.message.tool_calls or []
    assert calls  # the engine's own grammar lets a model call again, which this one then may
    for call in calls:
        assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Kyiv", "days": 2})
    assert (asked.message.content, asked.done_reason) == ("", "stop")
    result = {"role": "tool", "tool_name": "weather", "content": weather(**call.function.arguments)}
    answer = author.chat(with_tools, [*ASKED, asked.message, result], tools=[weather])
    assert (answer.message.content, answer.message.tool_calls) == (ANSWER, None)


def test_a_call_comes_whole_in_a_stream(author: ollama.Client, with_tools: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    body = {"model": with_tools, "messages": ASKED, "tools": [tool]}
    answer = author._client.post("/api/chat", json=body)
    lines = [ollama.ChatResponse.model_validate_json(line) for line in answer.iter_lines()]
    assert [bool(line.message.tool_calls) for line in lines] == [False] * (len(lines) - 2) + [True, False]
    assert not any(line.message.content for line in lines)
    assert '"function":{"index":0,"name":"weather","arguments":{' in answer.text
    assert (lines[-1].done, lines[-1].done_reason) == (True, "stop")


def test_without_tools_the_same_text_is_text(author: ollama.Client, with_tools: str) -> None:
    answer = author.chat(with_tools, ASKED)
    assert (answer.message.content, answer.message.tool_calls) == (CALLS, None)


def test_thoughts_are_told_apart_from_the_answer(author: ollama.Client, thinking: str) -> None:
    assert author.show(thinking).capabilities == ["completion", "thinking"]
    answer = author.chat(thinking, ASKED, think=True)
    assert (answer.message.thinking or "").strip() == "Two and two."
    assert (answer.message.content or "").strip() == "That makes four."
    pieces = list(author.chat(thinking, ASKED, think=True, stream=True))
    assert "".join(piece.message.thinking or "" for piece in pieces).strip() == "Two and two."
    assert "".join(piece.message.content or "" for piece in pieces).strip() == "That makes four."
    generated = author.generate(thinking, "How?", think=True)
    assert (generated.thinking or "").strip() == "Two and two."
    assert (generated.response or "").strip() == "That makes four."


def test_a_model_that_is_told_not_to_think_does_not(author: ollama.Client, thinking: str) -> None:
    answer = author.chat(thinking, ASKED, think=False)
    assert (answer.message.thinking, answer.message.content) == (None, "Four.")
