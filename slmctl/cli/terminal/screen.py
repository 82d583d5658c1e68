"""What a terminal is told of an answer: harmless text, wrapped words, the thinking dimmed."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO

from slmctl.cli.render import clean
from slmctl.cli.terminal.wrap import WordWrap

DEFAULT_COLUMNS = 80

_DIM = "\x1b[2m"
_PLAIN = "\x1b[0m"


def is_dumb(environment: Mapping[str, str]) -> bool:
    """Whether the terminal understands nothing but text."""
    return environment.get("TERM", "") in {"", "dumb"}


def wants_style(environment: Mapping[str, str]) -> bool:
    """Whether text may be dimmed (https://no-color.org)."""
    return not environment.get("NO_COLOR") and not is_dumb(environment)


def columns_of(stream: TextIO) -> int:
    """The terminal's width now; 80 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_COLUMNS
    except (OSError, ValueError):
        return DEFAULT_COLUMNS


class AnswerWriter:
    """Writes one answer to a terminal. `end` must come last, also for an answer that broke off."""

    def __init__(self, stream: TextIO, *, wrap: bool, styled: bool, hide_thinking: bool) -> None:
        self._stream = stream
        self._styled = styled
        self._hides_thinking = hide_thinking
        self._words = WordWrap(lambda: columns_of(stream)) if wrap else None
        self._is_thinking = False
        self._has_begun = False  # the text, or the thinking; a model's first blanks are left out
        self._at_line_start = True

    def think(self, text: str) -> None:
        if self._hides_thinking:
            return
        if not self._is_thinking:
            self._end_line()
            self._is_thinking, self._has_begun = True, False
            self._write("Thinking...\n", dim=True)
        self._put(text, dim=True)

    def say(self, text: str) -> None:
        self._end_thinking()
        self._put(text, dim=False)

    def end(self) -> None:
        """End the last line."""
        self._end_thinking()
        self._end_line()

    def _end_thinking(self) -> None:
        if self._is_thinking:
            self._end_line()
            self._write("...done thinking.\n\n", dim=True)
            self._is_thinking = self._has_begun = False

    def _put(self, text: str, *, dim: bool) -> None:
        if not self._has_begun:
            text = text.lstrip()
            self._has_begun = bool(text)
        harmless = clean(text)
        self._write(self._words.feed(harmless) if self._words else harmless, dim=dim)

    def _end_line(self) -> None:
        if self._words:
            self._write(self._words.finish(), dim=self._is_thinking)
        if not self._at_line_start:
            self._write("\n", dim=False)

    def _write(self, text: str, *, dim: bool) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._stream.write(f"{_DIM}{text}{_PLAIN}" if dim and self._styled else text)
            self._stream.flush()


@contextmanager
def quiet_keys(stream: TextIO) -> Iterator[None]:
    """Keep what is typed meanwhile off the screen, for whoever reads it next. Ctrl-C stays a signal."""
    try:
        before = termios.tcgetattr(stream.fileno())
        during = termios.tcgetattr(stream.fileno())
        during[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(stream.fileno(), termios.TCSADRAIN, during)
    except (termios.error, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        with suppress(termios.error, OSError):  # the terminal is gone
            termios.tcsetattr(stream.fileno(), termios.TCSADRAIN, before)
