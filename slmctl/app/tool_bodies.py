"""What stands behind the opening mark of tool calls, read while it comes in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from slmctl.app.json_ends import JsonEnd
from slmctl.app.tool_formats import (
    ARGS,
    CALL_ID,
    DEEPSEEK_BEGIN,
    DEEPSEEK_END,
    DEEPSEEK_SEPARATOR,
    Body,
    Mark,
)

MOST_CHARACTERS = 1 << 20
"""What is longer is no call."""

BARE = Mark("", (), Body.JSON)

_MOST_LEAD = 1024  # blanks, a name and an id before the arguments
_ELEMENT = "<function="
_FUNCTION = re.compile(r"\s*<function=([^<>\n]{1,256})>")
_PARAMETER = re.compile(r"\s*<parameter=([^<>\n]{1,256})>\n?")
_FENCE = re.compile(r"\s*```(?:json)?\s*")
_NAME = re.compile(r"[\w.\-]{1,256}")


@dataclass(frozen=True, slots=True)
class Call:
    """`arguments` is the JSON text of an object."""

    name: str
    arguments: str


class Reading:
    """One body. `feed` it until it says that it is over; then `calls` are what it holds (none: it is text),
    `raw` is all that it took, and `rest` what stands behind."""

    def __init__(self, mark: Mark, before: str) -> None:
        self.calls: list[Call] = []
        self.rest = ""
        self._mark = mark
        self._before = before
        self._pieces: list[str] = []
        self._size = 0
        self._lead = ""  # before the body's kind is known
        self._name = ""
        self._json: JsonEnd | None = None
        self._closing = ""  # what ends a body that is no JSON
        self._seen = ""  # of such a body, the end that was looked at
        self._tail: str | None = None  # behind the JSON: blanks, and what may be a closing mark

    @property
    def raw(self) -> str:
        return self._before + "".join(self._pieces)

    def feed(self, text: str, at_end: bool) -> bool:
        """Take `text`; whether the body is over. `at_end`: nothing follows."""
        if self._tail is not None:
            return self._close(self._tail + text, at_end)
        if self._json is None and not self._closing:
            self._lead += text
            begun = self._begin(at_end)
            if begun is not None:
                return begun
            text, self._lead = self._lead, ""
        if self._size + len(text) > MOST_CHARACTERS:
            return self._is_text(text)
        if self._json is not None:
            return self._feed_json(self._json, text, at_end)
        return self._feed_elements(text, at_end)

    def _begin(self, at_end: bool) -> bool | None:
        """Find out what is coming: None when that is known, else whether it is over, or more is needed."""
        lead, body = self._lead, self._mark.body
        bare = lead.lstrip()
        if body is Body.DEEPSEEK:
            self._closing = self._mark.closings[0]
            return None
        if bare[:1] in ("{", "["):
            self._begin_json(len(lead) - len(bare))
            return None
        if body is Body.HERMES and bare.startswith(_ELEMENT):
            self._closing = self._mark.closings[0]
            return None
        if body is Body.MISTRAL and (found := bare.find(ARGS)) >= 0:
            name = bare[:found].partition(CALL_ID)[0]
            behind = bare[found + len(ARGS) :]
            if _NAME.fullmatch(name) and behind.lstrip()[:1] == "{":
                self._name = name
                self._begin_json(len(lead) - len(behind.lstrip()))
                return None
        may_come = (
            not bare
            or (body is Body.HERMES and _ELEMENT.startswith(bare))
            or (body is Body.MISTRAL and _may_be_named(bare))
        )
        if may_come and not at_end and len(lead) <= _MOST_LEAD:
            return False
        self._lead = ""
        self.rest = lead
        return True

    def _begin_json(self, at: int) -> None:
        self._json = JsonEnd()
        self._pieces.append(self._lead[:at])
        self._lead = self._lead[at:]

    def _feed_json(self, ends: JsonEnd, text: str, at_end: bool) -> bool:
        end = ends.feed(text)
        if end is None:
            self._take(text)
            return at_end
        self._take(text[:end])
        if ends.hopeless:
            self.rest = text[end:]
            return True
        value = "".join(self._pieces[1:])
        self.calls = _calls_in(
            f'{{"name": {json.dumps(self._name)}, "arguments": {value}}}' if self._name else value
        )
        return self._close(text[end:], at_end)

    def _close(self, tail: str, at_end: bool) -> bool:
        """Behind the JSON: a closing mark belongs to it, anything else does not."""
        bare = tail.lstrip()
        for closing in self._mark.closings:
            if bare.startswith(closing):
                end = len(tail) - len(bare) + len(closing)
                self._take(tail[:end])
                self.rest = tail[end:]
                return True
        may_come = any(closing.startswith(bare) for closing in self._mark.closings)
        if may_come and not at_end and len(tail) <= _MOST_LEAD:
            self._tail = tail
            return False
        self.rest = tail
        return True

    def _feed_elements(self, text: str, at_end: bool) -> bool:
        seen = self._seen + text
        at = seen.find(self._closing)
        if at < 0:
            self._take(text)
            self._seen = seen[-len(self._closing) :]
            if not at_end:
                return False
        else:
            end = at + len(self._closing) - len(self._seen)
            self._take(text[:end])
            self.rest = text[end:]
        self.calls = _DIALECTS[self._mark.body](self.raw)
        return True

    def _is_text(self, text: str) -> bool:
        self._take(text)
        return True

    def _take(self, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)


def _may_be_named(text: str) -> bool:
    name = _NAME.match(text)
    if name is None:
        return False
    behind = text[name.end() :]
    return any(mark.startswith(behind[: len(mark)]) for mark in (ARGS, CALL_ID))


def _calls_in(text: str) -> list[Call]:
    """The calls in the JSON text of one or of a list; none when one of them is no call."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = [_call_in(each) for each in (value if isinstance(value, list) else [value])]
    return [call for call in found if call is not None] if None not in found else []


def _call_in(value: object) -> Call | None:
    if not isinstance(value, Mapping):
        return None
    inner = value.get("function")
    if isinstance(inner, Mapping):
        return _call_in(inner)
    name = value.get("name", inner)
    if not isinstance(name, str):
        return None
    arguments = next((value[key] for key in ("arguments", "parameters") if key in value), None)
    if isinstance(arguments, str):
        return _call_of(name, arguments)
    if arguments is None:
        return Call(name, "{}")
    return Call(name, _compact(arguments)) if isinstance(arguments, Mapping) else None


def _call_of(name: str, text: str) -> Call | None:
    """A call whose arguments come as JSON text."""
    if not text.strip():
        return Call(name, "{}")
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return Call(name, _compact(arguments)) if isinstance(arguments, dict) else None


def _compact(arguments: Mapping[str, object]) -> str:
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))


def _elements(raw: str) -> list[Call]:
    """Qwen3 coder's: <function=NAME> <parameter=KEY>VALUE</parameter> ... </function>, one or several."""
    found: list[Call] = []
    at = raw.find(_ELEMENT)
    while (function := _FUNCTION.match(raw, at)) is not None:
        end = raw.find("</function>", function.end())
        end = len(raw) if end < 0 else end
        arguments: dict[str, object] = {}
        at = function.end()
        while (parameter := _PARAMETER.match(raw, at, end)) is not None:
            closing = raw.find("</parameter>", parameter.end(), end)
            if closing < 0:
                return []
            arguments[parameter[1].strip()] = _value(raw[parameter.end() : closing].removesuffix("\n"))
            at = closing + len("</parameter>")
        found.append(Call(function[1].strip(), _compact(arguments)))
        at = end + len("</function>")
    return found


def _value(text: str) -> object:
    """What an element says: JSON where it is an array, an object, a number or a truth, else the text."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _deepseek(raw: str) -> list[Call]:
    """function<sep>NAME, a line, and fenced JSON; since V3.1 NAME<sep>{...}."""
    found: list[Call | None] = []
    for part in raw.split(DEEPSEEK_BEGIN)[1:]:
        left, separator, right = part.partition(DEEPSEEK_END)[0].partition(DEEPSEEK_SEPARATOR)
        if not separator:
            return []
        name, arguments = left, right
        if left.strip() == "function":
            name, _, arguments = right.partition("\n")
        if (fence := _FENCE.match(arguments)) is not None:
            arguments = arguments[fence.end() :].rpartition("```")[0] or arguments[fence.end() :]
        found.append(_call_of(name.strip(), arguments))
    return [call for call in found if call is not None] if None not in found else []


_DIALECTS = {Body.HERMES: _elements, Body.DEEPSEEK: _deepseek}
