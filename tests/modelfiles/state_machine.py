"""Ollama's Modelfile reader as its description has it: one character at a time, nothing clever.

An oracle for the tests: what it refuses and what it reads. It drops characters from values as Ollama does; the
tests say what that means for a reader that keeps them.
"""

from __future__ import annotations

from modelfiles.syntax import KEYWORDS
from modelfiles.words import ROLES, is_dropped_by_ollama

Command = tuple[str, str | None, str]


class Refused(Exception):
    pass


def read(text: str) -> list[Command]:
    """The commands as (keyword, PARAMETER's name or MESSAGE's role, value). Raises Refused."""
    commands: list[Command] = []
    state = "nil"
    keyword = buffer = ""
    name: str | None = None
    for character in text:
        if state == "nil":
            if character == "#":
                state = "comment"
            elif character not in " \t\r\n":
                state, buffer = "name", character
                if not _is_letter(character):
                    raise Refused
        elif state == "comment":
            if character in "\r\n":
                state = "nil"
        elif state == "name":
            if character in " \t":
                keyword, name, buffer = buffer.upper(), None, ""
                if keyword not in KEYWORDS:
                    raise Refused
                state = {"PARAMETER": "parameter", "MESSAGE": "message"}.get(keyword, "value")
            elif not _is_letter(character):
                raise Refused
            else:
                buffer += character
        elif state in ("parameter", "message"):
            if character in " \t":
                name, buffer = buffer, ""
                if state == "message" and name not in ROLES:
                    raise Refused
                state = "value"
            elif not _is_letter(character) and (state == "message" or character not in "0123456789_"):
                raise Refused
            else:
                buffer += character
        elif character in "\r\n":
            value = _unquote(buffer.strip())
            if value is None:
                buffer += character
            else:
                commands.append((keyword, name, value))
                state = "nil"
        elif not is_dropped_by_ollama(character):
            buffer += character
    if state == "value":
        value = _unquote(buffer.strip())
        if value is None:
            raise Refused
        commands.append((keyword, name, value))
    elif state not in ("nil", "comment"):
        raise Refused
    if not any(
        keyword == "FROM" or (keyword, name) == ("PARAMETER", "model") for keyword, name, _ in commands
    ):
        raise Refused
    return commands


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _unquote(text: str) -> str | None:
    if text.startswith('"""'):
        return text[3:-3] if len(text) >= 6 and text.endswith('"""') else None
    if text.startswith('"'):
        return text[1:-1] if len(text) >= 2 and text.endswith('"') else None
    return text
