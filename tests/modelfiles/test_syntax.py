"""Modelfile text to instructions: all errors at once, the places they name, and what is not in Ollama's cases."""

from __future__ import annotations

import pytest

from modelfiles.errors import ModelfileError, render
from modelfiles.syntax import KEYWORDS, MAX_PROBLEMS, Comment, parse, scan
from modelfiles.words import nearest, printable

_PERSIAN = "\N{ARABIC LETTER MEEM}\N{ARABIC LETTER FARSI YEH}\u200c\N{ARABIC LETTER REH}"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('SYSTEM "a" \t\nFROM b', ["a", "b"]),
        ('SYSTEM "line1\r\nline2"\r\n', ["line1\r\nline2"]),
        # Kept here, dropped by Ollama.
        (f"SYSTEM 👩\u200d👧 a\u00a0b {_PERSIAN}", [f"👩\u200d👧 a\u00a0b {_PERSIAN}"]),
        # Outside of the quotes they are ignored, so that what Ollama accepts is accepted.
        ('SYSTEM \u200b"a"\u200b\u00a0\n', ["a"]),
        ('SYSTEM """a"""\u200b\nLICENSE b', ["a", "b"]),
    ],
)
def test_values_keep_their_characters(text: str, values: list[str]) -> None:
    assert [each.value for each in parse("FROM x\n" + text).instructions] == ["x", *values]


@pytest.mark.parametrize(
    ("text", "column", "rule", "suggestion", "advice"),
    [
        ("SYSTM x", 1, "unknown-instruction", "SYSTEM", "Did you mean SYSTEM?"),
        ("  paramter x 1", 3, "unknown-instruction", "PARAMETER", "Did you mean PARAMETER?"),
        ("TEMPERATURE 1", 1, "unknown-instruction", None, "Instructions are FROM, "),
        (
            "you are kind",
            1,
            "unknown-instruction",
            None,
            'Text over several lines goes between """; a comment',
        ),
        ("// c", 1, "no-instruction", None, 'Text over several lines goes between """; a comment'),
        ("FROM: x", 1, "no-blank", None, "Put a blank behind FROM."),
        ('SYSTEM"x"', 1, "no-blank", None, "Put a blank behind SYSTEM."),
        ("PARAMETER ", 1, "no-value", None, "PARAMETER temperature 0.7"),
        ("PARAMETER top-p 1", 11, "parameter-name", "top_p", "Did you mean top_p?"),
        ("PARAMETER top_p=1", 11, "parameter-name", "top_p 1", "Did you mean top_p 1?"),
        ("PARAMETER top_p: 1", 11, "parameter-name", "top_p", "Did you mean top_p?"),
        ("PARAMETER é 1", 11, "parameter-name", None, "PARAMETER temperature 0.7"),
        ("MESSAGE ", 1, "no-value", None, "MESSAGE user Hello"),
        ("MESSAGE User hi", 9, "role", "user", "Did you mean user?"),
        ("MESSAGE tool hi", 9, "role", None, "The roles are system, user, assistant."),
        ("MESSAGE user: hi", 9, "role", "user", "Did you mean user?"),
        ('SYSTEM "', 8, "open-quote", None, 'Put " at the end of the text'),
        ('SYSTEM "a" # b', 11, "open-quote", None, "a comment stands on a line of its own"),
    ],
)
def test_what_is_refused_comes_with_advice(
    text: str, column: int, rule: str, suggestion: str | None, advice: str
) -> None:
    _, (problem,) = scan(f"FROM foo\n{text}")
    assert (problem.line, problem.column, problem.rule) == (2, column, rule)
    assert problem.suggestion == suggestion
    assert advice in (problem.advice or "")


def test_a_misspelt_from_is_one_problem() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse("FORM foo")
    assert [(problem.rule, problem.suggestion) for problem in caught.value.problems] == [
        ("unknown-instruction", "FROM")
    ]


_FIVE_PROBLEMS = '''FROM foo
SYSTM """
FROM this is text
"""
PARAMETER top-p 0.9
\tMESSAGE User 你好
TEMPLATE """never
closed
PARAMETER stop
'''


def test_all_problems_come_at_once_and_show_their_places() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse(_FIVE_PROBLEMS, filename="models/Modelfile")
    error = caught.value
    assert error.message == "models/Modelfile:2:1: There is no instruction SYSTM (and 4 more problems)."
    assert error.hint == "Did you mean SYSTEM?"
    assert error.code == "modelfile"
    assert error.render() == (
        "models/Modelfile:2:1: error: There is no instruction SYSTM. [unknown-instruction]\n"
        '  2 | SYSTM """\n'
        "    | ~~~~^\n"
        "    = Did you mean SYSTEM?\n"
        "models/Modelfile:5:11: error: 'top-p' is no parameter name; those are letters, digits and underscores. [parameter-name]\n"
        "  5 | PARAMETER top-p 0.9\n"
        "    |           ~~~~^\n"
        "    = Did you mean top_p?\n"
        "models/Modelfile:6:10: error: 'User' is no role of a message. [role]\n"
        "  6 |  MESSAGE User 你好\n"
        "    |          ~~~^\n"
        "    = Did you mean user?\n"
        'models/Modelfile:7:10: error: The """ is never closed. [open-quote]\n'
        '  7 | TEMPLATE """never\n'
        "    |          ~~^\n"
        '    = Put """ at the end of the text; only blanks can follow it on its line.\n'
        "models/Modelfile:9:11: error: PARAMETER stop has no value. [no-value]\n"
        "  9 | PARAMETER stop\n"
        "    |           ~~~^\n"
        "    = Write the value behind the name, on the same line."
    )


def test_the_marker_stands_under_wide_and_strange_characters() -> None:
    _, (problem,) = scan("FROM 你好\nMESSAGE 你\x1b好e\u0301 x")
    shown = render(problem, filename="M", text="FROM 你好\nMESSAGE 你\x1b好e\u0301 x").split("\n")
    assert shown[1] == "  2 | MESSAGE 你\N{REPLACEMENT CHARACTER}好e\u0301 x"
    assert shown[2] == "    |         " + "~" * 5 + "^"


def test_a_long_line_is_shown_in_part() -> None:
    text = "FROM x\nMESSAGE " + "y" * 5000
    _, problems = scan(text)
    shown = render(problems[0], filename="M", text=text)
    assert max(map(len, shown.split("\n"))) < 160


def test_the_message_is_one_printable_line_whatever_the_file_is_called() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse("\x1b\u2028x y\n\x00", filename="a\nb\x1b[2J")
    assert caught.value.message.isprintable()
    assert all(line.isprintable() for line in caught.value.render().split("\n"))


def test_reading_stops_after_a_hundred_problems() -> None:
    _, problems = scan("FROM x\n" + "1\n" * 1000)
    assert len(problems) == MAX_PROBLEMS


def test_comments_and_places_are_kept() -> None:
    text = '# one\n\n  # two\nFROM foo\n  PARAMETER stop  "a\nb" \n# three'
    nodes = parse(text).nodes
    assert [node.line for node in nodes] == [1, 4, 5, 7]
    assert [node.text for node in nodes if isinstance(node, Comment)] == ["# one\n\n  # two", "# three"]
    stop = parse(text).instructions[1]
    assert (stop.column, stop.name_column, stop.value_column) == (3, 13, 19)
    assert text[slice(*stop.span)] == 'PARAMETER stop  "a\nb"'
    assert text[slice(*(stop.name_span or (0, 0)))] == "stop"
    assert text[slice(*stop.value_span)] == '"a\nb"'


@pytest.mark.parametrize(
    ("source", "column"),
    [
        (b"FROM x\nSYSTEM caf\xe9\n", 11),
        (b"\xef\xbb\xbfFROM x\nSYSTEM caf\xe9\n", 11),
        ("FROM x\nSYSTEM caf\udce9\n", 11),
        (b"\xff\xfe" + "FROM x\nSYSTEM caf".encode("utf-16-le") + b"\x00", 11),
    ],
)
def test_bytes_that_are_no_text_are_replaced_and_warned_about(source: str | bytes, column: int) -> None:
    modelfile = parse(source)
    assert modelfile.instructions[1].value == "caf\N{REPLACEMENT CHARACTER}"
    (warning,) = modelfile.warnings
    assert (warning.rule, warning.line, warning.column) == ("encoding", 2, column)


def test_nearest() -> None:
    assert nearest("LICENCE", KEYWORDS) == "LICENSE"
    assert nearest("TEMP", KEYWORDS) == "TEMPLATE"
    assert nearest("xyz", KEYWORDS) is None


def test_printable_cuts() -> None:
    assert printable("a" * 61) == "a" * 57 + "..."
    assert printable("a\nb\x1b") == "a b\N{REPLACEMENT CHARACTER}"


def test_modctls_grammar_is_named_once() -> None:
    text = "# model\nNAME gemma\nARCH transformer\nCONFIG config.json\nMODEL *.safetensors\n"
    with pytest.raises(ModelfileError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert (problem.rule, problem.line, problem.column) == ("modctl", 2, 1)
    assert "modctl" in str(caught.value)
    with pytest.raises(ModelfileError) as caught:  # a slip in a file of ours stays one
        parse("FROM x\nNAME gemma\n")
    assert [problem.rule for problem in caught.value.problems] == ["unknown-instruction"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF\x03\0\0\0\x02\0\0\0", "This is a GGUF file, not a Modelfile."),
        ("FROM x\nSYSTEM y\n".encode("utf-16-le"), "This looks like UTF-16 without a byte order mark."),
        ("FROM x\nSYSTEM y\n".encode("utf-16-be"), "This looks like UTF-16 without a byte order mark."),
        (b"\x7fELF\x02\x01\x01\0\0\0", "This is no text."),
        (bytes(4096), "This is no text."),
    ],
)
def test_a_file_that_is_no_text_is_one_problem(data: bytes, message: str) -> None:
    modelfile, (problem,) = scan(data)
    assert (problem.rule, problem.message) == ("not-text", message)
    assert modelfile.warnings == ()


def test_a_zero_byte_in_a_modelfile_is_only_a_warning() -> None:
    modelfile = parse("FROM x\nSYSTEM a\0b")
    assert modelfile.instructions[1].value == "a\0b"
    assert [warning.rule for warning in modelfile.warnings] == ["dropped-characters"]
