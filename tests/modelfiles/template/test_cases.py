"""The table of cases: Go's answers are written down in cases.jsonl, so this runs without a Go."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfiles.template.errors import PlacedError, TemplateError
from modelfiles.template.go.evaluate import evaluate
from modelfiles.template.go.functions import BUILTINS
from modelfiles.template.go.meter import Limits
from modelfiles.template.go.parser import parse
from tests.modelfiles.template.data import RECORDS
from tests.modelfiles.template.oracle import FUNCTIONS, Question, ask_go, ask_us, decode
from tests.modelfiles.template.record import Case, cases

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.question.template[:60]!r}")
def test_it_is_what_go_says(case: Case) -> None:
    output, error = ask_us(case.question)
    shown = None if output is None else output.decode("utf-8", "surrogateescape")
    assert shown == case.output, error


def test_the_table_is_what_go_says(go_program: Path) -> None:
    answers = ask_go(go_program, [case.question for case in CASES])
    for case, (output, error) in zip(CASES, answers, strict=True):
        shown = None if output is None else output.decode("utf-8", "surrogateescape")
        assert shown == case.output, (case.question.template, error)


def test_the_table_has_every_function() -> None:
    text = " ".join(case.question.template for case in CASES if case.output is not None)
    assert [name for name in FUNCTIONS if name not in text] == ["call"]  # which has nothing to call


@pytest.mark.parametrize(
    ("template", "line", "column", "words"),
    [
        ("a\nb {{.x", 2, 3, "not closed"),
        ("{{\n\n  .x.y )}}", 3, 8, "parenthesis"),
        ("{{if .s}}\n{{else}}", 2, 9, "end is missing"),
        ("x {{nosuch 1}}", 1, 5, "no function nosuch"),
        ('é {{"\\q"}}', 1, 5, "escape"),
        ("\n{{.s}} {{$x}}", 2, 10, "$x is not declared"),
        ("{{.s}}\n é{{index .words 9}}", 2, 5, "out of range"),
        ("{{.s}}{{template `t`}}", 1, 9, "no template 't'"),
        ("{{range .ints}}\n{{.x}}{{end}}", 2, 3, "int has no field x"),
        ("{{1i}}", 1, 3, "complex"),
        ("{{print 1+2i}}", 1, 9, "complex"),
        ("{{call .s}}", 1, 3, "no functions in the values"),
        ("{{.messages}}", 1, 3, "address"),
    ],
)
def test_an_error_has_its_place(template: str, line: int, column: int, words: str) -> None:
    with pytest.raises(PlacedError) as caught:
        _evaluate(template)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in caught.value.reason
    assert f"line {line}, column {column}" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("template", "output"),
    [
        # later Gos set the variables that are named, 1.19 the youngest ones
        ("{{$i := 0}}{{$x := 0}}{{$y := 0}}{{range $i, $x = .words}}{{$i}}{{$x}}{{end}}{{$y}}", "0x1yy23z0"),
        ("{{$x := 0}}{{$y := 0}}{{range $x = .ints}}{{end}}{{$x}}{{$y}}", "30"),
        # since Go 1.22
        ('{{json "\\b\\f"}}', '"\\b\\f"'),
    ],
)
def test_where_go_changed_it_is_the_newer_go(template: str, output: str) -> None:
    assert ask_us(Question(template, RECORDS)) == (output.encode(), "")


def test_a_function_must_be_known_when_parsing() -> None:
    with pytest.raises(TemplateError, match="no function json"):
        parse("{{json .}}", BUILTINS)


def _evaluate(template: str) -> None:
    evaluate(parse(template, FUNCTIONS), decode(RECORDS), FUNCTIONS, limits=Limits())
