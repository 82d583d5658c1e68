"""Templates from strangers: they end in time, in bounds, and in nothing but a TemplateError."""

from __future__ import annotations

import inspect
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelfiles.template.errors import TemplateError
from modelfiles.template.go.evaluate import evaluate
from modelfiles.template.go.meter import Limits
from modelfiles.template.go.parser import parse
from tests.modelfiles.template.data import PLAIN
from tests.modelfiles.template.oracle import FUNCTIONS, decode

DATA = decode(PLAIN)
SMALL = Limits(steps=20_000, characters=100_000, depth=100)

FRAGMENTS = (
    ["{{", "}}", "{{- ", " -}}", "{{end}}", "{{else}}", "if ", "range ", "with ", "$x", ":=", "=", ",", "|"]
    + ["(", ")", ".", ".s", ".list", ".map.sub", "1", "-3", "1.5", "0x", "'a'", '"a', '"', "`", "/*", "*/"]
    + ["nil", "true", " ", "\n", "%d", "%-08.3[1]*v", "\\", "{{define ", "{{template ", "{{block ", "\ud800"]
    + ["{{break}}", "{{continue}}", "\udc80", "é", "\x00", "9" * 30, "1e999"]
    + [f"{name} " for name in FUNCTIONS]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _render(template: str, data: Any = None, limits: Limits = SMALL) -> str:
    try:
        return evaluate(parse(template, FUNCTIONS), DATA if data is None else data, FUNCTIONS, limits=limits)
    except TemplateError as error:
        return f"{error.line}:{error.column}"


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_no_fragments_raise_anything_else(template: str) -> None:
    _render(template)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_nor_does_any_text(template: str) -> None:
    _render(template)
    _render("{{" + template + "}}")
    _render("{{printf `" + template.replace("`", "") + "` .s .n .f .list}}")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [f"{{{{{name} .x .y}}}}" for name in FUNCTIONS] + [f"{{{{{name} .x}}}}" for name in FUNCTIONS]
    )
    | st.sampled_from(
        ["{{.x}}", "{{range $k, $v := .x}}{{$k}}{{$v}}{{end}}", "{{.x.a}}", "{{with .x}}{{.}}{{end}}"]
    )
    | st.text("%#+- 0123456789.*[]sdvqxXeEfFgGtTcUbop", max_size=12).map(
        lambda verbs: f'{{{{printf "%{verbs}" .x .y}}}}'
    ),
    JSON,
    JSON,
)
@example("{{json .x}}", float("nan"), 1)
@example('{{printf "%v %+v % v %5v %05v" .x .x .y .y .y}}', float("nan"), float("-inf"))
def test_nor_do_any_values(template: str, x: object, y: object) -> None:
    _render(template, {"x": x, "y": y})


@pytest.mark.parametrize(
    "template",
    [
        '{{define "x"}}{{template "x"}}{{end}}{{template "x"}}',
        '{{define "x"}}a{{template "x"}}{{template "x"}}{{end}}{{template "x"}}',
        '{{define "x"}}{{range .}}{{template "x" $}}{{end}}{{end}}{{template "x" .list}}',
        '{{printf "%999999d%999999d" 1 2}}',
        '{{printf "%.999999f" 1.5}}',
        '{{printf "%*d" 1000000 1}}',
        '{{printf "%0999999x" "a"}}',
        "{{$x := .s}}" + "{{$x = print $x $x}}" * 60,
        "{{$x := .s}}" + "{{$x = printf `%q` $x}}" * 60,
        "{{$x := .markup}}" + "{{$x = html $x}}" * 200,
        "{{$x := .markup}}" + "{{$x = js $x $x $x $x}}" * 60,
        "{{$x := `%`}}" + "{{$x = urlquery $x $x}}" * 60,
        "{{$x := .s}}" + "{{$x = json (print $x $x)}}" * 60,
        "{{range $.list}}" * 20 + "a" + "{{end}}" * 20,
        "{{if true}}" * 1000 + "{{end}}" * 1000,
        "{{if true}}" * 100_000,
        "{{print " + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{block `a` .}}" * 1000 + "{{end}}" * 1000,
        "{{print " + "1 " * 100_000 + "}}",
    ],
    ids=lambda template: template[:50],
)
def test_a_limit_stops_it(template: str) -> None:
    began = time.process_time()
    with pytest.raises(TemplateError, match=r"too much|too many|more than"):
        evaluate(parse(template, FUNCTIONS), DATA, FUNCTIONS, limits=SMALL)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "template",
    [
        "{{if .yes}}" * 70 + "{{print " + "(print " * 25 + "1" + ")" * 25 + "}}" + "{{end}}" * 70,
        '{{define "x"}}{{if true}}{{with 1}}{{template "x"}}{{end}}{{end}}{{end}}{{template "x"}}',
        "{{.list}}{{json .list}}",
    ],
    ids=lambda template: template[:20],
)
def test_a_caller_that_is_deep_in_the_stack_sees_template_errors_only(template: str) -> None:
    def call(depth: int) -> str:
        return call(depth - 1) if depth else _render(template, limits=Limits())

    free = sys.getrecursionlimit() - len(inspect.stack())
    for depth in range(0, free - 15, 20):
        call(depth)


def test_deep_values_are_refused() -> None:
    deep: object = 1.0
    for _ in range(3000):
        deep = [deep]
    for template in ("{{.}}", "{{json .}}", "{{printf `%#v` .}}", "{{html .}}"):
        with pytest.raises(TemplateError, match="too deeply"):
            evaluate(parse(template, FUNCTIONS), deep, FUNCTIONS, limits=SMALL)


@pytest.mark.parametrize(
    ("piece", "size"),
    [
        ("{{.s}}", 1_000_000),
        ("text \n", 1_000_000),
        ("{{/* c */}}", 250_000),
        (" {{- .n -}} ", 250_000),
        ("{{if .no}}a{{else if .yes}}b{{end}}", 250_000),
        ("{{$x := 1}}{{$x}}{{$}}", 250_000),
        ('{{"a\\n"}}', 250_000),
        ("{{print (len .s) 'a'}}", 250_000),
        ("{ { } }", 1_000_000),
        (" " * 64, 1_000_000),
    ],
)
def test_time_is_linear_in_the_template(piece: str, size: int) -> None:
    def seconds(characters: int) -> float:
        template = piece * (characters // len(piece))
        began = time.process_time()
        parsed = parse(template, FUNCTIONS)
        evaluate(parsed, DATA, FUNCTIONS, limits=Limits(steps=10**9, characters=10**9))
        return time.process_time() - began

    small = seconds(size // 8)
    assert seconds(size) < 8 * 4 * (small + 0.01)  # quadratic would be 64 times


@pytest.mark.parametrize(
    "template",
    [
        "{{if .no}}a" + "{{else if .no}}b" * 60_000 + "{{end}}",
        "{{/*" + "*" * 1_000_000,
        "{{`" + "a" * 1_000_000,
        "{{" + " " * 1_000_000,
        "{{- " * 200_000,
        "{{" + "a" * 1_000_000 + "}}",
        "{{." + "x." * 500_000,
        "}" * 1_000_000,
    ],
    ids=lambda template: template[:12],
)
def test_a_megabyte_of_one_thing_takes_seconds_at_most(template: str) -> None:
    began = time.process_time()
    _render(template, limits=Limits())
    assert time.process_time() - began < 10
