"""Words of a stream broken at the terminal's width. Pure: text in, text out, nothing is written here."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from wcwidth import wcwidth

_TAB = 8
_JOINER = "\u200d"


def width_of(char: str) -> int:
    """The columns that a character takes: 0, 1 or 2."""
    return max(0, wcwidth(char))


class WordWrap:
    """Breaks lines at blanks, and before and after wide characters, which are written without blanks.

    `width` is asked again and again, so that a terminal may change its size in the middle. What is between
    two places where a line may break is held back until its end is known; a word that has no room on any line
    is let through, and the terminal breaks it. Blanks at a break are dropped, all else is kept; a tab becomes
    the blanks up to the next multiple of eight columns.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._column = 0  # of the text that was given out
        self._blanks = 0  # behind it, held back
        self._word = ""  # behind those
        self._word_width = 0
        self._is_wide = False  # the word is one wide character
        self._is_endless = False  # the word has more columns than a line; it is given out as it comes

    def feed(self, text: str) -> str:
        """Take a piece of text; gives what can be written now."""
        return "".join(map(self._take, text))

    def finish(self) -> str:
        """Give what was held back; the next text starts at the first column."""
        rest = self._put_word()
        self._column = self._blanks = 0
        return rest

    def _take(self, char: str) -> str:
        if char == "\n":
            rest = self._put_word()
            self._column = self._blanks = 0
            return f"{rest}\n"
        if char in " \t":
            rest = self._put_word()
            at = self._column + self._blanks
            self._blanks += _TAB - at % _TAB if char == "\t" else 1
            return rest
        return self._take_visible(char)

    def _take_visible(self, char: str) -> str:
        width = width_of(char)
        given = ""
        is_wide = width == 2 and not self._continues(char)
        ends_wide = self._is_wide and width > 0 and not self._continues(char)
        if (self._word and ends_wide) or is_wide:
            given = self._put_word()
        if not self._word:
            self._is_wide = is_wide
        self._word += char
        self._word_width += width
        if self._is_endless or self._word_width > self._width():
            given += self._put_part()
        return given

    def _continues(self, char: str) -> bool:
        """Whether a line may not break before this character: it belongs to the emoji before it."""
        return self._word.endswith(_JOINER) or unicodedata.category(char) == "Sk"

    def _put_part(self) -> str:
        """Give out what there is of an endless word; its rest follows without a break."""
        given = "" if self._is_endless else self._put_word()
        self._is_endless = True
        given += self._word
        self._column += self._word_width
        self._word, self._word_width = "", 0
        return given

    def _put_word(self) -> str:
        """Give out the word that is held, behind the blanks before it or on a line of its own."""
        if self._is_endless:
            self._is_endless = False
            width = self._width()
            self._column = (self._column - 1) % width + 1 if width > 0 else 0
        if not self._word:
            return ""
        needed = self._column + self._blanks + self._word_width
        if needed > self._width():
            before, self._column = "\n" if self._column else "", self._word_width
        else:
            before, self._column = " " * self._blanks, needed
        given = before + self._word
        self._word, self._word_width, self._blanks = "", 0, 0
        return given
