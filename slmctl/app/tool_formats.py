"""How models write tool calls: a table of formats, and which of them a model speaks.

    Hermes, Qwen     <tool_call>{"name", "arguments"}</tool_call>
    Qwen3 coder      <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>
    Llama 3          {"name", "parameters"}, alone or behind <|python_tag|>
    Mistral          [TOOL_CALLS][{"name", "arguments"}]   or   [TOOL_CALLS]NAME[ARGS]{...}
    Phi-4            <|tool_call|>[{"name", "arguments"}]<|/tool_call|>   or   functools[...]
    Granite          <|tool_call|>[...]   or   <tool_call>[...]
    DeepSeek         <calls><call>function<sep>NAME, fenced JSON, </call></calls>, in signs of its own
    generic          JSON at the beginning of the answer

What the arguments stand in is called arguments or parameters, and is an object or its JSON text.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Body(enum.Enum):
    """What follows an opening mark."""

    JSON = "a call, or a list of calls, in JSON"
    HERMES = "the same, or Qwen3 coder's elements"
    MISTRAL = "the same, or a name, [ARGS], and the arguments"
    DEEPSEEK = "a name behind a separator, and the arguments"


@dataclass(frozen=True, slots=True)
class Mark:
    """What opens calls, and what may close them behind their body."""

    opening: str
    closings: tuple[str, ...]
    body: Body


@dataclass(frozen=True, slots=True)
class Format:
    """`bare`: a call may stand at the beginning of the answer without a mark. `required` is what a prompt is
    continued with when the model has to call, and how the arguments are called then."""

    name: str
    marks: tuple[Mark, ...]
    bare: bool = False
    required: str = ""
    arguments: str = "arguments"


TOOL_CALL = "<tool_call>"
ARGS = "[ARGS]"
CALL_ID = "[CALL_ID]"
DEEPSEEK_BEGIN, DEEPSEEK_SEPARATOR, DEEPSEEK_END, _DEEPSEEK_ALL, _DEEPSEEK_ALL_END = (
    f"<\uff5ctool\u2581{words}\uff5c>"
    for words in ("call\u2581begin", "sep", "call\u2581end", "calls\u2581begin", "calls\u2581end")
)

_HERMES = Mark(TOOL_CALL, ("</tool_call>",), Body.HERMES)
_PYTHON_TAG = Mark("<|python_tag|>", ("<|eom_id|>",), Body.JSON)
_MISTRAL = Mark("[TOOL_CALLS]", (), Body.MISTRAL)
_PHI = Mark("<|tool_call|>", ("<|/tool_call|>",), Body.JSON)
_FUNCTOOLS = Mark("functools", (), Body.JSON)
_DEEPSEEK = Mark(_DEEPSEEK_ALL, (_DEEPSEEK_ALL_END,), Body.DEEPSEEK)
_DEEPSEEK_ONE = Mark(DEEPSEEK_BEGIN, (_DEEPSEEK_ALL_END,), Body.DEEPSEEK)

HERMES = Format("hermes", (_HERMES,), required=TOOL_CALL + "\n")
LLAMA = Format("llama3", (_PYTHON_TAG,), bare=True, arguments="parameters")
MISTRAL = Format("mistral", (_MISTRAL,))
PHI = Format("phi4", (_PHI, _FUNCTOOLS))
DEEPSEEK = Format("deepseek", (_DEEPSEEK, _DEEPSEEK_ONE))
GENERIC = Format("generic", (_HERMES, _MISTRAL, _PHI, _PYTHON_TAG), bare=True)

_SIGNS = (
    (_DEEPSEEK_ALL, DEEPSEEK),
    ("<|tool_call|>", PHI),
    ("functools", PHI),
    (TOOL_CALL, HERMES),
    ("[TOOL_CALLS]", MISTRAL),
    ("<|python_tag|>", LLAMA),
    ("<|start_header_id|>", LLAMA),
)
"""What stands in a TEMPLATE of each; the first that does decides."""

FORMATS = (HERMES, LLAMA, MISTRAL, PHI, DEEPSEEK, GENERIC)


def format_of(template: str) -> Format:
    """The format that a chat template teaches its model."""
    return next((kind for sign, kind in _SIGNS if sign in template), GENERIC)
