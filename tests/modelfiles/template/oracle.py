"""Ours and Go's answer to a template: text, or None where it fails."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modelfiles.template.errors import TemplateError
from modelfiles.template.go.evaluate import MissingKey, evaluate
from modelfiles.template.go.meter import Limits
from modelfiles.template.go.parser import parse
from modelfiles.template.go.strings import to_bytes
from modelfiles.template.ollama_functions import functions
from modelfiles.template.records import Message, ToolCall, message_record, tools_value

SOURCE = Path(__file__).parents[3] / "tools" / "go_template_oracle"
FUNCTIONS = functions(dt.date(2026, 3, 1))


class Question(NamedTuple):
    """`data` has the marks that tools/go_template_oracle/main.go describes."""

    template: str
    data: Any
    zero: bool = False


def build(folder: Path) -> Path | None:
    """Go's side, or None where there is no Go of the versions that the answers are from.

    Go 1.18 brought break and continue; from 1.22 on later versions read more templates, or write other JSON.
    """
    go = shutil.which("go")
    if go is None:
        return None
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    if re.search(r"\bgo1\.(18|19|20|21)\b", version) is None:
        return None
    program = folder / "oracle"
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": str(folder / "cache")}
    subprocess.run([go, "build", "-o", program, "."], cwd=SOURCE, env=environment, check=True)
    return program


def ask_go(program: Path, questions: Sequence[Question]) -> list[tuple[bytes | None, str]]:
    """Output and error of each; one of them is None or empty."""
    lines = "".join(json.dumps(question._asdict()) + "\n" for question in questions)
    done = subprocess.run([program], input=lines.encode(), capture_output=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        (None if answer["error"] else base64.b64decode(answer["output"] or ""), answer["error"])
        for answer in answers
    ]


def ask_us(question: Question) -> tuple[bytes | None, str]:
    try:
        text = evaluate(
            parse(question.template, FUNCTIONS),
            decode(question.data),
            FUNCTIONS,
            limits=Limits(),
            missing_key=MissingKey.ZERO if question.zero else MissingKey.INVALID,
        )
    except TemplateError as error:
        return None, error.message
    return to_bytes(text), ""


def decode(value: Any) -> Any:
    match value:
        case {"$int": number}:
            return int(number)
        case {"$messages": messages}:
            return [message_record(_message(message)) for message in messages]
        case {"$tools": tools}:
            return tools_value(tools)
        case dict():
            return {key: decode(entry) for key, entry in value.items()}
        case list():
            return [decode(entry) for entry in value]
        case int() if not isinstance(value, bool):
            return float(value)
    return value


def _message(given: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(
            id=call.get("ID", ""),
            index=call["Function"].get("Index", 0),
            name=call["Function"]["Name"],
            arguments=call["Function"]["Arguments"],
        )
        for call in given.get("ToolCalls", ())
    )
    return Message(
        role=given["Role"],
        content=given.get("Content", ""),
        thinking=given.get("Thinking", ""),
        tool_calls=calls,
        tool_name=given.get("ToolName", ""),
        tool_call_id=given.get("ToolCallID", ""),
    )
