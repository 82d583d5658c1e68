"""The messages of a conversation as OpenAI's clients write them.

Content is text or a list of parts. An image comes as a data: URL, which holds it: nothing is ever fetched.
What a client sends back of an answer that it got (`refusal`, `annotations`, `audio`: null) is taken as it is,
and so is what programs add that speak to many services (LiteLLM, OpenRouter's clients, the AI SDK).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from slmctl.server.parsing import Fields

_HOLDS = r"data:image/[a-z0-9.+-]{1,40};base64,"
_DATA_URL = re.compile(_HOLDS, re.ASCII | re.IGNORECASE)

ToolName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]


Mark = object
"""A field that is taken and changes nothing: where another service's cache begins, and what it has noted."""


class TextPart(Fields):
    type: Literal["text"]
    text: str
    cache_control: Mark = None
    prompt_cache_breakpoint: Mark = None


class RefusalPart(Fields):
    type: Literal["refusal"]
    refusal: str


def _holds_it(url: str) -> str:
    if _DATA_URL.match(url) is None:
        raise ValueError("must be a data: URL with the image in base64, for nothing is fetched")
    return url


HeldImage = Annotated[str, AfterValidator(_holds_it), Field(json_schema_extra={"pattern": f"^{_HOLDS}"})]
"""An image's URL, which holds it."""


class ImageUrl(Fields):
    """`detail` is harmless: the model's projector decides how closely it looks."""

    url: HeldImage
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Fields):
    type: Literal["image_url"]
    image_url: ImageUrl
    cache_control: Mark = None
    prompt_cache_breakpoint: Mark = None


class SystemMessage(Fields):
    role: Literal["system", "developer"]
    content: str | list[TextPart]
    name: str | None = None
    cache_control: Mark = None


class UserMessage(Fields):
    role: Literal["user"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: str | None = None
    cache_control: Mark = None


class CalledFunction(Fields):
    name: str
    arguments: str


class ToolCall(Fields):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None
    provider_specific_fields: Mark = None
    extra_content: Mark = None


class AssistantMessage(Fields):
    """`reasoning_content` and `reasoning` are two names of one thing; the template decides what it does."""

    role: Literal["assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    annotations: list[object] | None = None
    audio: None = None
    function_call: None = None
    cache_control: Mark = None
    provider_specific_fields: Mark = None
    reasoning_details: Mark = None


class ToolMessage(Fields):
    role: Literal["tool"]
    content: str | list[TextPart]
    tool_call_id: str | None = None
    name: str | None = None
    cache_control: Mark = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


def plain(
    messages: Sequence[SystemMessage | UserMessage | AssistantMessage | ToolMessage],
) -> list[Mapping[str, object]]:
    """The messages as `ChatAsk` wants them: "developer" is "system", and nothing in them is null."""
    return [_plain(message) for message in messages]


def _plain(message: SystemMessage | UserMessage | AssistantMessage | ToolMessage) -> Mapping[str, object]:
    role = "system" if message.role == "developer" else message.role
    said: dict[str, object] = {"role": role, "content": _content(message.content)}
    if message.name is not None:
        said["name"] = message.name
    if isinstance(message, ToolMessage) and message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage):
        if message.content is None and message.refusal is not None:
            said["content"] = message.refusal
        if thoughts := message.reasoning_content or message.reasoning:
            said["reasoning_content"] = thoughts
        if message.tool_calls:
            said["tool_calls"] = [_call(call) for call in message.tool_calls]
    return said


def _content(content: str | Sequence[TextPart | RefusalPart | ImagePart] | None) -> object:
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part) for part in content]
    if len(parts) == 1 and "text" in parts[0]:
        return parts[0]["text"]
    return parts


def _part(part: TextPart | RefusalPart | ImagePart) -> Mapping[str, object]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case RefusalPart():
            return {"type": "text", "text": part.refusal}
        case ImagePart():
            return {"type": "image_url", "image_url": {"url": part.image_url.url}}


def _call(call: ToolCall) -> Mapping[str, object]:
    function = {"name": call.function.name, "arguments": call.function.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}
