"""The items of a response's input, and the messages that they become.

https://platform.openai.com/docs/api-reference/responses: a message, a call of a function, the output of one,
and thoughts, as an answer had them. Clients send an answer's items back as they got them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from slmctl.server.openai.messages import HeldImage, Mark
from slmctl.server.parsing import Fields, bad_field

JsonObject = Mapping[str, object]

Status = Literal["in_progress", "completed", "incomplete"] | None


class InputText(Fields):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Mark = None


class InputImage(Fields):
    """A data: URL. `detail` is harmless: the model's projector decides how closely it looks."""

    type: Literal["input_image"]
    image_url: HeldImage
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None
    prompt_cache_breakpoint: Mark = None


class OutputText(Fields):
    type: Literal["output_text"]
    text: str
    annotations: list[object] | None = None
    logprobs: list[object] | None = None


class Refusal(Fields):
    type: Literal["refusal"]
    refusal: str


Part = Annotated[InputText | InputImage | OutputText | Refusal, Field(discriminator="type")]


class MessageItem(Fields):
    """`phase` and `id` are taken and change nothing."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: Status = None
    phase: str | None = None


class CallItem(Fields):
    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    arguments: str
    id: str | None = None
    status: Status = None


class OutputItem(Fields):
    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1)]
    output: str | list[Annotated[InputText | InputImage, Field(discriminator="type")]]
    id: str | None = None
    status: Status = None


class SummaryText(Fields):
    type: Literal["summary_text"]
    text: str


class ReasoningText(Fields):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Fields):
    """Thoughts: those in the content, else those in the summary. Encrypted ones are left out."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[SummaryText] = Field(default_factory=list)
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: Status = None


def _kind(item: object) -> object:
    """An item without a type is a message."""
    return item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[OutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]

ITEM_TYPES = frozenset({"message", "function_call", "function_call_output", "reasoning"})


def messages_of(
    items: str | Sequence[MessageItem | CallItem | OutputItem | ReasoningItem],
) -> list[JsonObject]:
    """The conversation in the shape of chat completions. Raises BadField for an output without its call.

    Thoughts, text and calls in a row are one message of the assistant's.
    """
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[dict[str, object]] = []
    calls: dict[str, str] = {}
    for number, item in enumerate(items):
        match item:
            case MessageItem(role="assistant"):
                _assistant(messages, "content")["content"] = _text(item.content)
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                messages.append({"role": role, "content": _content(item.content)})
            case CallItem():
                calls[item.call_id] = item.name
                message = _assistant(messages)
                made = message.setdefault("tool_calls", [])
                assert isinstance(made, list)
                made.append(_call(item))
            case OutputItem():
                if item.call_id not in calls:
                    raise bad_field(f"input[{number}].call_id", "is the id of no function_call before it")
                messages += _output(item, calls[item.call_id])
            case ReasoningItem():
                thoughts = "\n".join(part.text for part in item.content or item.summary)
                if thoughts:
                    _assistant(messages, "content", "tool_calls")["reasoning_content"] = thoughts
    for message in messages:
        message.setdefault("content", "")
    return list(messages)


def _assistant(messages: list[dict[str, object]], *without: str) -> dict[str, object]:
    """The assistant's message that is being said, or a new one where it has one of `without` already."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(name in last for name in without):
        last = {"role": "assistant"}
        messages.append(last)
    return last


def _call(item: CallItem) -> JsonObject:
    function = {"name": item.name, "arguments": item.arguments or "{}"}
    return {"id": item.call_id, "type": "function", "function": function}


def _output(item: OutputItem, name: str) -> list[dict[str, object]]:
    """A tool's message is text; the images in it follow as the user's."""
    told: dict[str, object] = {"role": "tool", "tool_call_id": item.call_id, "name": name}
    if isinstance(item.output, str):
        return [{**told, "content": item.output}]
    texts = [part.text for part in item.output if isinstance(part, InputText)]
    images = [part for part in item.output if isinstance(part, InputImage)]
    shown = [{"role": "user", "content": _content(images)}] if images else []
    return [{**told, "content": "\n".join(texts)}, *shown]


def _content(content: str | Sequence[InputText | InputImage | OutputText | Refusal]) -> object:
    """Plain text where there is nothing else, which every template can read."""
    if isinstance(content, str) or not any(isinstance(part, InputImage) for part in content):
        return _text(content)
    return [
        {"type": "image_url", "image_url": {"url": part.image_url}}
        if isinstance(part, InputImage)
        else {"type": "text", "text": _text([part])}
        for part in content
    ]


def _text(content: str | Sequence[InputText | InputImage | OutputText | Refusal]) -> str:
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in content:
        match part:
            case InputText() | OutputText():
                texts.append(part.text)
            case Refusal():
                texts.append(part.refusal)
    return "\n".join(texts)
