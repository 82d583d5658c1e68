"""Words broken at the width of a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from slmctl.cli.terminal.wrap import WordWrap, width_of


def wrapped(text: str, width: int, *, piece: int = 3) -> str:
    words = WordWrap(lambda: width)
    parts = [words.feed(text[at : at + piece]) for at in range(0, len(text), piece)]
    return "".join(parts) + words.finish()


@pytest.mark.parametrize(
    ("width", "text", "lines"),
    [
        (10, "one two three", ["one two", "three"]),
        (11, "one two three four", ["one two", "three four"]),
        (3, "one two", ["one", "two"]),
        (10, "one\n\n  two", ["one", "", "  two"]),
        (10, "exactly te next", ["exactly te", "next"]),
        (10, "a  b", ["a  b"]),
        (10, "a\tb\tc", ["a       b", "c"]),
        (8, "go unbelievable on", ["go", "unbelievable on"]),  # the terminal breaks it after "unbeliev"
        (6, "a unbelievable b", ["a", "unbelievable", "b"]),
        (6, "漢字漢字", ["漢字漢", "字"]),
        (6, "ab漢字cd", ["ab漢字", "cd"]),
        (4, "日本 日本", ["日本", "日本"]),
        (5, "cafe\u0301 cafe\u0301", ["cafe\u0301", "cafe\u0301"]),
        (6, "ab \U0001f469\u200d\U0001f680", ["ab", "\U0001f469\u200d\U0001f680"]),
        (10, "end   ", ["end"]),
        (4, "      x", ["x"]),
    ],
)
def test_where_lines_break(width: int, text: str, lines: list[str]) -> None:
    assert wrapped(text, width).split("\n") == lines


TEXTS = st.text(st.sampled_from("ab cdefg \n\t漢字é\u0301\U0001f469\u200d-"), max_size=200)


@given(TEXTS, st.integers(1, 20), st.integers(1, 9))
def test_nothing_but_blanks_is_lost(text: str, width: int, piece: int) -> None:
    blank = re.compile(r"[ \t\n]")
    assert blank.sub("", wrapped(text, width, piece=piece)) == blank.sub("", text)


@given(TEXTS, st.integers(1, 20), st.integers(1, 9))
def test_pieces_do_not_matter(text: str, width: int, piece: int) -> None:
    assert wrapped(text, width, piece=piece) == wrapped(text, width, piece=len(text) + 1)


@given(TEXTS, st.integers(1, 20))
def test_line_breaks_of_the_text_stay(text: str, width: int) -> None:
    assert wrapped(text, width).count("\n") >= text.count("\n")


@given(st.text(st.sampled_from("abc \n漢\u0301"), max_size=200), st.integers(2, 20))
def test_no_line_is_wider_unless_a_word_is(text: str, width: int) -> None:
    for line in wrapped(text, width).split("\n"):
        if sum(map(width_of, line)) > width:
            assert any(wcswidth(word) > width for word in re.findall(r"[^ 漢]+", line))


@given(st.lists(st.text("abcdef", min_size=1, max_size=10), max_size=60), st.integers(10, 40))
def test_no_line_is_wider(words: list[str], width: int) -> None:
    assert all(len(line) <= width for line in wrapped(" ".join(words), width).split("\n"))


def test_a_new_width_counts_at_once() -> None:
    width = 20
    words = WordWrap(lambda: width)
    text = words.feed("one two three four ")
    width = 8
    text += words.feed("five six seven ") + words.finish()
    assert text == "one two three four\nfive six\nseven"
