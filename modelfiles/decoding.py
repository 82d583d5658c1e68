"""The bytes of a Modelfile to text."""

from __future__ import annotations

import codecs
import re

from modelfiles.errors import Problem
from modelfiles.places import Place

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_HEAD = 1024  # characters in which a file that is no text shows


def decode(source: str | bytes) -> tuple[str, tuple[Problem, ...]]:
    """The text without a byte order mark, and a warning where bytes are no text (U+FFFD, as in Ollama)."""
    if isinstance(source, str):
        text = source.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
        surrogate = _SURROGATE.search(text)
        if surrogate is None:
            return text, ()
        text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
        return text, (_damaged(text, surrogate.start()),)
    encoding, data = "utf-8", source
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if source.startswith(mark):
            encoding, data = marked, source.removeprefix(mark)
    try:
        return data.decode(encoding), ()
    except UnicodeDecodeError as error:
        text = data.decode(encoding, "replace")
        start = len(data[: error.start].decode(encoding, "ignore"))
        return text, (_damaged(text, min(start, len(text) - 1)),)


def not_text(text: str) -> Problem | None:
    """One problem for a file that was never a Modelfile's text, in place of one for each of its lines."""
    zero = text.find("\0", 0, _HEAD)
    if zero < 0:
        return None
    if text.startswith("GGUF"):
        message = "This is a GGUF file, not a Modelfile."
        hint = "A Modelfile is text; its FROM line names the GGUF file."
    elif "\0" not in text[zero + 1 : zero + 2] and text[:_HEAD].count("\0") >= len(text[:_HEAD]) // 4:
        message = "This looks like UTF-16 without a byte order mark."
        hint = "Save the file as UTF-8."
    else:
        message, hint = "This is no text.", "A Modelfile is text; its FROM line names the model's file."
    return Place().problem("not-text", message, (0, 1), hint=hint)


def _damaged(text: str, start: int) -> Problem:
    return (
        Place()
        .further(text, start)
        .problem(
            "encoding",
            "These bytes are no text and were read as U+FFFD.",
            (start, start + 1),
            hint="Save the file as UTF-8.",
        )
    )
