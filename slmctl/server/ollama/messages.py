"""Conversations and tools: from Ollama's shape to OpenAI's, which engines and templates take."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from registry.errors import UsageError
from slmctl.app.schema_limits import MOST_DEPTH
from slmctl.app.schema_words import LISTS, MAPS, ONE
from slmctl.server.ollama.fields import Fields, images_of

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)

_MAY_BE_NULL = frozenset({"const", "default"})


def messages_of(fields: Fields) -> list[Mapping[str, object]]:
    """The messages of a chat. Raises UsageError."""
    ids = _Ids()
    return [_message(each, ids) for each in fields.mappings("messages")]


def user_message(text: str, images: Sequence[bytes] = ()) -> Mapping[str, object]:
    return {"role": "user", "content": _content(text, images)}


def has_images(messages: Sequence[Mapping[str, object]]) -> int:
    """How many images there are in messages of OpenAI's shape."""
    contents = [content for message in messages if isinstance(content := message.get("content"), list)]
    return sum(part.get("type") == "image_url" for content in contents for part in content)


def tools_of(fields: Fields) -> list[Mapping[str, object]]:
    """The tools of a chat, whose type is function. Raises UsageError."""
    found: list[Mapping[str, object]] = []
    for tool in fields.mappings("tools"):
        function = tool.inside("function")
        if not function.text("name"):
            raise UsageError("a tool needs a function with a name")
        parameters = _schema(function.mapping("parameters")) or {"type": "object", "properties": {}}
        said: dict[str, object] = {"name": function.text("name"), "parameters": parameters}
        if description := function.text("description"):
            said["description"] = description
        found.append({"type": tool.text("type") or "function", "function": said})
    return found


def _schema(given: Mapping[str, object], depth: int = 0) -> Mapping[str, object]:
    """A tool's schema in JSON Schema's words: null is not given, as clients in Go write what is empty, and
    "integer, string" is a list, as Ollama's own client writes the type of a parameter that has two."""
    if depth > MOST_DEPTH:
        return given  # which says no more than that it is too deep
    found: dict[str, object] = {}
    for name, value in given.items():
        if value is None and name not in _MAY_BE_NULL:
            continue
        if name == "type" and isinstance(value, str) and "," in value:
            found[name] = [each.strip() for each in value.split(",")]
        elif name in MAPS and isinstance(value, Mapping):
            found[name] = {key: _part(each, depth) for key, each in value.items()}
        elif name in LISTS and isinstance(value, list):
            found[name] = [_part(each, depth) for each in value]
        else:
            found[name] = _part(value, depth) if name in ONE else value
    return found


def _part(value: object, depth: int) -> object:
    return _schema(value, depth + 1) if isinstance(value, Mapping) else value


class _Ids:
    """Names of tool calls. Ollama's need none, and engines and some templates (Mistral's: nine letters and
    digits) do; an answer belongs to the first call of its tool that has none yet."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []

    def called(self, name: str, given: str) -> str:
        self._count += 1
        call = given or f"call{self._count:05d}"
        self._open.append((name, call))
        return call

    def answered(self, name: str, given: str) -> str:
        of_tool = [call for tool, call in self._open if tool == name] if name else []
        call = given or next(iter(of_tool or [call for _, call in self._open]), "call00000")
        self._open = [(tool, other) for tool, other in self._open if other != call]
        return call


def _message(message: Fields, ids: _Ids) -> Mapping[str, object]:
    role = message.text("role").lower()
    if not role:
        raise UsageError("a message has no role")
    said: dict[str, object] = {
        "role": role,
        "content": _content(message.text("content"), images_of(message)),
    }
    if thinking := message.text("thinking"):
        said["reasoning_content"] = thinking
    if calls := [_tool_call(call, ids) for call in message.mappings("tool_calls")]:
        said["tool_calls"] = calls
    if role == "tool":
        name = message.text("tool_name", "name")
        said["tool_call_id"] = ids.answered(name, message.text("tool_call_id"))
        if name:
            said["name"] = name
    return said


def _tool_call(call: Fields, ids: _Ids) -> Mapping[str, object]:
    function = call.inside("function")
    name = function.text("name")
    if not name:
        raise UsageError("a tool call needs a function with a name")
    arguments = json.dumps(function.mapping("arguments"), ensure_ascii=False)
    return {
        "id": ids.called(name, call.text("id")),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _content(text: str, images: Sequence[bytes]) -> object:
    """Text, or parts where there are images: each as the data: URL that holds it."""
    if not images:
        return text
    parts: list[Mapping[str, object]] = [{"type": "text", "text": text}] if text else []
    for image in images:
        url = f"data:{_kind(image)};base64,{base64.b64encode(image).decode('ascii')}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _kind(image: bytes) -> str:
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    for start, kind in _KINDS:
        if image.startswith(start):
            return kind
    raise UsageError("an image is neither PNG, JPEG, WebP, GIF nor BMP")
