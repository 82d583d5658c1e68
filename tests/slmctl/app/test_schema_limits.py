"""Schemas, patterns and grammars from strangers: what is let in, and that what is let in is judged right."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UsageError
from slmctl.app.grammar_limits import check_grammar
from slmctl.app.json_grammars import grammar_of
from slmctl.app.patterns import Pattern
from slmctl.app.schema_limits import check_schema
from slmctl.app.structured import NotMet, structure_of


def nested(levels: int, innermost: dict[str, Any]) -> dict[str, Any]:
    schema = innermost
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def chain(length: int) -> dict[str, Any]:
    """Definitions that each refer to the next."""
    parts: dict[str, Any] = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**parts, f"d{length}": {"type": "integer"}}}


def ladder(length: int) -> dict[str, Any]:
    """The same, each an object that may have the next."""
    parts: dict[str, Any] = {
        f"d{at}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/d{at + 1}"}}}
        for at in range(length)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**parts, f"d{length}": {"type": "integer"}}}


HOSTILE: list[tuple[str, Any]] = [
    ("a type that there is not", {"type": "stsring"}),
    ("a type deep inside", {"type": "object", "properties": {"a": {"items": {"type": ["null", "no"]}}}}),
    ("no regular expression", {"type": "string", "pattern": "(((("}),
    ("counts of counts", {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"}),
    ("looking around", {"type": "string", "pattern": "(?=a)a"}),
    ("a reference back", {"type": "string", "pattern": r"(a)\1"}),
    ("a pattern of names", {"type": "object", "patternProperties": {"((": {}}}),
    ("two thousand million items", {"type": "array", "items": {"type": "string"}, "minItems": 2_000_000_000}),
    ("counts that add up", {"allOf": [{"type": "array", "minItems": 1000, "maxItems": 1000}] * 6}),
    ("a thousand levels", nested(1000, {"type": "integer"})),
    ("forty levels", nested(40, {"type": "integer"})),
    ("itself", {"$ref": "#"}),
    ("itself by another", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}}),
    ("what needs itself", {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}),
    ("items of itself", {"type": "array", "items": {"$ref": "#"}, "minItems": 1}),
    ("nothing at all", {"anyOf": [False]}),
    ("references in a row", chain(100)),
    ("a stranger's", {"$ref": "http://localhost:1/schema.json"}),
    ("a file", {"$ref": "file:///etc/passwd"}),
    ("nowhere", {"$ref": "#/$defs/none"}),
    ("an anchor", {"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}),
    ("a reference that moves", {"$dynamicRef": "#a"}),
    ("no alternatives", {"anyOf": []}),
    ("no values", {"enum": []}),
    ("many values", {"enum": list(range(2001))}),
    ("many parts", {"type": "object", "properties": {f"p{at}": {"type": "null"} for at in range(1001)}}),
    ("too long", {"description": "x" * 300_000}),
    ("no schema", {"type": "object", "properties": {"a": 5}}),
    ("no object", {"properties": [1]}),
    ("no number", {"type": "number", "minimum": "1"}),
    ("not above zero", {"type": "number", "multipleOf": 0}),
    ("a negative count", {"type": "array", "minItems": -1}),
    ("a name that is none", {"type": "object", "required": [1]}),
    ("not a number", {"const": float("nan")}),
]


@pytest.mark.parametrize("schema", [schema for _, schema in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_what_is_not_let_in(schema: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        check_schema(schema)
    assert len(refused.value.message) < 300


KIND: list[dict[str, Any]] = [
    {},
    {"type": "object"},
    {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    },
    {"type": "array", "items": {"$ref": "#"}},
    nested(30, {"type": "integer"}),
    chain(20),
    ladder(400),
    {"type": "string", "pattern": r"^\d{4}-\d{2}$", "title": "x", "x-unknown": {"type": 5}},
    {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]},
    {"definitions": {"a/b": {"type": "null"}}, "$ref": "#/definitions/a~1b"},
    {"$schema": "http://json-schema.org/draft-07/schema#", "type": ["string", "null"], "default": None},
    {"type": "string", "maxLength": 100_000},
]


@pytest.mark.parametrize("schema", KIND)
def test_what_is_let_in(schema: dict[str, Any]) -> None:
    checked = check_schema(schema)
    check_schema(checked.normalised)  # it stays one
    assert "x-guidance" in checked.engine
    check_grammar(grammar_of(checked.normalised))


def test_an_engine_is_told_only_what_its_grammars_know() -> None:
    checked = check_schema(
        {
            "oneOf": [
                {"type": "string", "format": "secret", "maxLength": 5000},
                {"type": "integer", "minimum": 1e30},
            ],
            "not": {"const": "a"},
            "description": "x",
        }
    )
    engine = {name: value for name, value in checked.engine.items() if name != "x-guidance"}
    assert engine == {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    assert "not" in checked.normalised


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, ["1"], ["1.5", '"1"', "true", "1 2", "", "NaN"]),
        ({"type": "string", "pattern": "^a+$"}, ['"aa"'], ['"ab"', '""']),
        ({"type": "string", "format": "date"}, ['"no date"'], ["1"]),
        (
            {"type": "object", "patternProperties": {"^n": {"type": "null"}}, "additionalProperties": False},
            ["{}", '{"no": null}'],
            ['{"no": 1}', '{"a": null}'],
        ),
        (
            {"type": "array", "items": [{"type": "integer"}], "uniqueItems": True},
            ["[1]", "[]"],
            ['["a"]', "[1, 1]"],
        ),
        ({"$ref": "#/definitions/p", "definitions": {"p": {"const": 1}}}, ["1", "1.0"], ["2"]),
        ({"not": {"type": "null"}}, ["1"], ["null"]),
        (
            {"type": "object", "additionalProperties": {"type": "null"}, "properties": {"a": True}},
            ['{"a": 1, "b": null}'],
            ['{"b": 1}'],
        ),
    ],
)
def test_answers_are_judged_by_all_of_the_schema(
    schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    structure = structure_of(schema)
    for text in good:
        structure.check(text)
    for text in bad:
        with pytest.raises(NotMet):
            structure.check(text)


def test_a_deep_answer_is_none() -> None:
    with pytest.raises(NotMet):
        structure_of({}).check("[" * 100_000 + "]" * 100_000)


PATTERNS = [
    "a",
    "^a$",
    "a|b",
    "^(a|b)*c$",
    "a{2,3}",
    "^a{2,}$",
    "^[a-c]+$",
    "^[^a]$",
    r"^\d+\.\d*$",
    r"^\w\s\S$",
    "^.$",
    "",
    "(?:ab)+?",
    "(?<n>a)b",
    r"^\[a\]$",
    "^[]a]$",
    "a$|^b",
    r"^[\d\-x]+$",
    r"^a$",
    r"^[\w.]+@[\w.]+$",
]


@given(
    pattern=st.sampled_from([each for each in PATTERNS if "(?<" not in each and "[]a]" not in each]),
    text=st.text("abc 1.-x@\n[]", max_size=8),
)
def test_patterns_match_as_they_do_elsewhere(pattern: str, text: str) -> None:
    expected = re.compile(pattern.replace("$", r"\Z"), re.ASCII).search(text) is not None
    assert Pattern(pattern).found_in(text) is expected


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "a*a*a*a*a*a*a*b", "(.*)*x", "^(a|aa)+$"]
)
def test_patterns_that_take_others_for_ever(pattern: str) -> None:
    assert Pattern(pattern).found_in("a" * 5000 + "!") is False


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "[",
        "[b-a]",
        "a**",
        "{2}",
        "a{3,2}",
        "a{1001}",
        r"\b",
        r"\p{L}",
        "\\",
        r"\x1",
        "x" * 2000,
        "(" * 50 + ")" * 50,
    ],
)
def test_patterns_that_are_none_or_too_much(pattern: str) -> None:
    with pytest.raises(UsageError):
        Pattern(pattern)


def test_an_empty_group_may_repeat() -> None:
    assert Pattern("^(a*)*$").found_in("aaa")
    assert Pattern("^(|a)+$").found_in("aa")


@pytest.mark.parametrize(
    "grammar",
    [
        "",
        "garbage",
        "root ::= " + "(" * 50_000 + '"a"' + ")" * 50_000,
        "root ::= (",
        'root ::= "a" )',
        'root ::= "a"{2000000000}',
        'root ::= "a"{0,1000} ' * 1,
        "root ::= other",
        'other ::= "a"',
        '%llguidance {}\nstart: "abc"',
        'root ::= "' + "a" * 70_000 + '"',
        'root ::= "a"\x00',
        'root ::= "open',
        "::= a",
    ],
)
def test_grammars_that_are_not_let_in(grammar: str) -> None:
    if grammar.startswith('root ::= "a"{0,1000}'):
        check_grammar(grammar)  # as far as this, and no further
        grammar = grammar.replace("1000", "1001")
    with pytest.raises(UsageError):
        check_grammar(grammar)


def test_grammars_that_are() -> None:
    check_grammar(
        '# a comment\nroot ::= list\nlist ::= "[" ( item ( "," item )* )? "]"\nitem ::= [a-z\\]]+ | "\\"" . "\\""{1,3}\n'
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-50, 50) | st.text('ab"\\\n', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(value=JSON, schema=st.sampled_from([each for each in KIND if "$ref" not in each]))
def test_the_judgement_is_jsonschemas_own(value: Any, schema: dict[str, Any]) -> None:
    normalised = check_schema(schema).normalised
    valid = jsonschema.Draft202012Validator(normalised).is_valid(value)
    try:
        structure_of(schema).check(json.dumps(value))
    except NotMet:
        assert not valid
    else:
        assert valid
