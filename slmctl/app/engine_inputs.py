"""A conversation as llama.cpp hands it to a chat template in Jinja, and the variables beside it.

Makers write templates for one shape of messages each, and OpenAI's API has several: llama.cpp looks what a
template can, and mends what it cannot. What `slmctl render` prints is the same, because this does the same;
`tests/conformance/test_engine_prompts.py` holds the two against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from modelfiles.template.errors import TemplateError, TemplateRefusal
from runtimes.protocol import Think, template_variables

Message = Mapping[str, object]
Rendering = Callable[[Sequence[Message], Mapping[str, object]], str]

# a template that looks into a tool call's arguments, and one that looks at the parts of a content
_TAKES_OBJECTS = re.compile(
    r"arguments['\"]?\]?\s*(?:\|\s*(?:tojson|items|dictsort)|\.(?:items|keys)\b|is\s+(?:not\s+)?(?:string|mapping))"
)
_TAKES_PARTS = re.compile(
    r"content['\"]?\]?\s+is\s+(?:not\s+)?(?:string|iterable|sequence)|\bin\s+\w+\.content\b"
)
_OWN_DEVELOPER = "<|channel|>"  # gpt-oss alone gives that role a meaning


def prompt(
    template: str, messages: Sequence[Message], *, think: Think | None, now: datetime, render: Rendering
) -> str:
    """The prompt that `render` makes of messages and variables, which are put right for `template` here.

    Without a word about thinking a template is told to, as llama.cpp does; most that can have it so anyway.
    An answer that has begun stands last, as it is: the template gets what comes before it, and is told not to
    think. A system message that the template refuses or leaves out opens the next message. Raises as `render`
    does.
    """
    mended = [_mended(template, message) for message in messages]
    variables = {"enable_thinking": True, **_dates(now), **template_variables(think)}
    begun = ""
    if mended and mended[-1].get("role") == "assistant" and not mended[-1].get("tool_calls"):
        begun = str(mended.pop().get("content") or "")
        variables["enable_thinking"] = False
    return _with_system(mended, lambda messages: render(messages, variables)) + begun


def _dates(now: datetime) -> dict[str, object]:
    """What llama.cpp gives every template: Llama 3's name for today, and Firefunction's."""
    return {"date_string": now.strftime("%d %b %Y"), "datetime": now.strftime("%b %d %Y")}


def _mended(template: str, message: Message) -> Message:
    fields = dict(message)
    if fields.get("role") == "developer" and _OWN_DEVELOPER not in template:
        fields["role"] = "system"
    content = fields.get("content")
    if content is None:
        fields["content"] = ""
    elif isinstance(content, list) and not _TAKES_PARTS.search(template):
        texts = [str(part.get("text") or "") for part in content if isinstance(part, Mapping)]
        fields["content"] = "\n".join(texts)
    calls = fields.get("tool_calls")
    if isinstance(calls, list):
        takes_objects = _TAKES_OBJECTS.search(template) is not None
        fields["tool_calls"] = [_mended_call(call, takes_objects) for call in calls]
    return fields


def _mended_call(call: object, takes_objects: bool) -> object:
    """A tool call with its arguments as an object, or as JSON text where they are only written down."""
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        return call
    function = dict(call["function"])
    arguments = function.get("arguments")
    try:
        if takes_objects and isinstance(arguments, str):
            function["arguments"] = json.loads(arguments)
        elif not takes_objects and not isinstance(arguments, str | None):
            function["arguments"] = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        return call
    return {**call, "function": function}


def _with_system(messages: list[Message], render: Callable[[Sequence[Message]], str]) -> str:
    if len(messages) < 2 or messages[0].get("role") != "system":
        return render(messages)
    system, first, *others = messages
    refusal = None
    try:
        text = render(messages)
        if str(system["content"]) in text:
            return text
    except TemplateRefusal as error:
        refusal = error
    opened = f"{system['content']}\n{first.get('content')}"
    try:
        return render([{**first, "content": opened}, *others])
    except TemplateError:
        if refusal is not None:
            raise refusal from None
        return text
