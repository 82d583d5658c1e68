"""Images in prompts that are texts: llama.cpp takes them beside the text, with a mark where each belongs.

The mark is another in each process, and is learned from what the engine makes of a message with an image.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Mapping, Sequence

from registry.errors import UsageError
from runtimes import protocol
from slmctl.app.questions import Messages, text_in
from slmctl.server.engine import EngineClient

_MARK = re.compile(r"<__media[^<>]*__>")
_MARKS: weakref.WeakKeyDictionary[EngineClient, str] = weakref.WeakKeyDictionary()
_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAC0lEQVR4nGNgQAYAAA4AAamRc7EAAAAA"
    "SUVORK5CYII="
)
"""Four black pixels."""


def image_urls(message: Mapping[str, object]) -> Iterable[str]:
    """The URLs of a message's images, of whatever kind."""
    content = message.get("content")
    for part in content if isinstance(content, Sequence) and not isinstance(content, str) else ():
        if isinstance(part, Mapping) and part.get("type") == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, Mapping) else image
            yield url if isinstance(url, str) else ""


def images_in(messages: Messages) -> tuple[str, ...]:
    """All images in base64, in their order, of messages whose images have been checked."""
    return tuple(url.partition(",")[2] for message in messages for url in image_urls(message))


async def mark_of(engine: EngineClient) -> str:
    """What stands for an image in a prompt of this engine. Raises UsageError when it takes none."""
    if (mark := _MARKS.get(engine)) is None:
        image = {"type": "image_url", "image_url": {"url": _DOT}}
        question = protocol.chat_request(
            [{"role": "user", "content": [image, {"type": "text", "text": "?"}]}]
        )
        prompt = protocol.parse_prompt(await engine.body(protocol.preview_request(question)))
        found = _MARK.search(prompt)
        if found is None:
            raise UsageError("The engine takes no images.")
        mark = _MARKS[engine] = found.group()
    return mark


async def marked(engine: EngineClient, messages: Messages) -> Messages:
    """Messages of texts alone, each image as a mark before the text of its message: as Ollama has it."""
    if not images_in(messages):
        return messages
    mark = await mark_of(engine)
    if any(mark in text_in(message) for message in messages):
        raise UsageError("A message has the engine's mark for an image in its text.")
    return [
        {**message, "content": mark * len(urls) + text_in(message)}
        if (urls := [*image_urls(message)])
        else message
        for message in messages
    ]


def check_places(prompt: str, images: Sequence[str]) -> None:
    """Raise UsageError unless each image has its place, and text behind it: else the engine dies."""
    places = [*_MARK.finditer(prompt)]
    if len(places) != len(images):
        raise UsageError("The model's template leaves an image out of the prompt.")
    if places and not prompt[places[-1].end() :].strip():
        raise UsageError(
            "The model's template ends the prompt with the image, which the engine cannot answer.",
            hint="Write some text behind the image.",
        )
