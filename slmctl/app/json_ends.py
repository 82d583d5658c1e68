"""Where a JSON array or object ends, found while it comes in pieces."""

from __future__ import annotations

import re

MOST_DEPTH = 200

_OF_INTEREST = re.compile(r'["\\{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


class JsonEnd:
    """Feed it the text from the first bracket on. It counts brackets and judges nothing else.

    `hopeless` is set when brackets lie deeper than anybody would read.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.hopeless = False

    def feed(self, text: str) -> int | None:
        """How many characters of `text` belong to the value, if it ends in them."""
        at = 0
        if self._escaped and text:
            at, self._escaped = 1, False
        while (found := (_IN_STRING if self._in_string else _OF_INTEREST).search(text, at)) is not None:
            at = found.end()
            sign = found.group()
            if sign == '"':
                self._in_string = not self._in_string
            elif sign == "\\":
                if not self._in_string:
                    continue
                if at == len(text):
                    self._escaped = True
                at += 1
            elif sign in "{[":
                self._depth += 1
                if self._depth > MOST_DEPTH:
                    self.hopeless = True
                    return at
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return at
        return None
