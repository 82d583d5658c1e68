"""What a terminal is told of an answer, without a terminal."""

from __future__ import annotations

import io

import pytest

from slmctl.cli.terminal.reader import is_open, unquote
from slmctl.cli.terminal.screen import AnswerWriter, wants_style


def shown(*parts: tuple[str, str], styled: bool = True, hide: bool = False) -> str:
    stream = io.StringIO()
    writer = AnswerWriter(stream, wrap=True, styled=styled, hide_thinking=hide)
    for kind, text in parts:
        (writer.think if kind == "think" else writer.say)(text)
    writer.end()
    return stream.getvalue()


ANSWER = (("think", "\nLet me "), ("think", "see."), ("say", "\n\n Four"), ("say", "."))


def test_thinking_is_set_apart_and_dimmed() -> None:
    assert shown(*ANSWER, styled=False) == "Thinking...\nLet me see.\n...done thinking.\n\nFour.\n"
    text = shown(*ANSWER)
    assert "\x1b[2mThinking...\n\x1b[0m" in text
    assert text.endswith("\x1b[2m...done thinking.\n\n\x1b[0mFour.\n")
    assert text.replace("\x1b[2m", "").replace("\x1b[0m", "") == shown(*ANSWER, styled=False)


def test_hidden_thinking_leaves_no_trace() -> None:
    assert shown(*ANSWER, hide=True) == "Four.\n"


def test_an_answer_of_thinking_alone_ends_in_a_line() -> None:
    assert shown(("think", "hm"), styled=False) == "Thinking...\nhm\n...done thinking.\n\n"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert shown(("say", "a\x1b[31mred\x07 \u202eright")) == "a\ufffd[31mred\ufffd \ufffdright\n"
    assert "\x07" not in shown(("think", "\x07"))


def test_an_empty_answer_is_an_empty_text() -> None:
    assert shown() == ""


@pytest.mark.parametrize(
    ("environment", "styled"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_who_may_dim(environment: dict[str, str], styled: bool) -> None:
    assert wants_style(environment) is styled


@pytest.mark.parametrize(
    ("text", "is_it_open"),
    [
        ("hello", False),
        ('"""', True),
        ('  """one\ntwo', True),
        ('"""one"""', False),
        ('"""one\ntwo""" ', False),
        ('""""""', False),
        ('say """', False),
        ('/set system """be', True),
        ('/set system """be good"""', False),
        ('/show """', False),
    ],
)
def test_what_goes_on_in_the_next_line(text: str, is_it_open: bool) -> None:
    assert is_open(text) is is_it_open


def test_quotes_are_taken_off() -> None:
    assert unquote('"""\n  one\n two\n"""') == "  one\n two"
    assert unquote('"""one') == "one"
    assert unquote('say "one"') == 'say "one"'
