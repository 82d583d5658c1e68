"""ModelSpec: from instructions, to and from JSON, merged."""

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfiles.authoring import from_instructions, from_text
from modelfiles.errors import ModelfileError
from modelfiles.spec import (
    DEPRECATED,
    PARAMETERS,
    Kind,
    Message,
    ModelSpec,
    ParameterValue,
    merge,
    parse_parameter,
)
from modelfiles.syntax import parse
from registry.errors import MalformedFile, UsageError

_SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/spec-1.json").read_text("utf-8"))
_VALIDATOR = jsonschema.Draft202012Validator(_SCHEMA)

_INT32 = 2**31
_INT64 = 2**63


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("num_ctx", "4096", 4096),
        ("num_ctx", "+4096", 4096),
        ("num_ctx", "0004096", 4096),
        ("num_predict", "-1", -1),
        ("num_ctx", str(_INT32 - 1), _INT32 - 1),
        ("num_ctx", str(-_INT32), -_INT32),
        ("seed", str(_INT64 - 1), _INT64 - 1),
        ("seed", "0" * 10_000 + "7", 7),
        ("temperature", "0.7", 0.7),
        ("temperature", "1", 1.0),
        ("temperature", "1.", 1.0),
        ("temperature", ".5", 0.5),
        ("temperature", "-0", 0.0),
        ("temperature", "7e-1", 0.7),
        ("top_p", "1E0", 1.0),
        *(("use_mmap", text, True) for text in ("1", "t", "T", "TRUE", "true", "True")),
        *(("use_mmap", text, False) for text in ("0", "f", "F", "FALSE", "false", "False")),
        ("stop", "### User: ", ("### User: ",)),
        ("stop", "", ("",)),
    ],
)
def test_a_parameter_gets_its_type(name: str, text: str, value: ParameterValue) -> None:
    parsed = parse_parameter(name, text)
    assert parsed == value
    assert type(parsed) is type(value)
    assert math.copysign(1, parsed) == 1 if isinstance(parsed, float) else True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("num_ctx", text)
            for text in (
                "",
                "x",
                "4096.0",
                "1e3",
                "4_096",
                " 1",
                "0x10",
                "\N{FULLWIDTH DIGIT ONE}",
                "true",
                "9" * 9999,
            )
        ),
        ("num_ctx", str(_INT32)),
        ("num_ctx", str(-_INT32 - 1)),
        ("seed", str(_INT64)),
        *(
            ("temperature", text)
            for text in ("", "x", "nan", "inf", "-inf", "Infinity", "1e39", "1e999", "1_0")
        ),
        *(("temperature", text) for text in (" 1", ".", "e1", "1e", "0" * 101)),
        *(("use_mmap", text) for text in ("", "yes", "tRUE", "2", "on")),
        ("stop", "\udc80"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_parameter(name, text)
    assert caught.value.message.startswith(f"The parameter {name} takes {PARAMETERS[name].value}, not '")
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "Did you mean temperature?"),
        ("Temp", "Did you mean temperature?"),
        ("numctx", "Did you mean num_ctx?"),
        ("tfs_z", None),
        ("numa", None),
        ("zzz\n", None),
        ("", None),
    ],
)
def test_an_unknown_parameter_is_refused(name: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match="There is no parameter") as caught:
        parse_parameter(name, "1")
    assert "\n" not in caught.value.message
    if hint:
        assert caught.value.hint == hint
    else:
        assert caught.value.hint


@pytest.mark.parametrize("name", sorted(DEPRECATED))
def test_a_deprecated_parameter_is_dropped_with_a_warning(name: str) -> None:
    authored = from_text(f"FROM x\nPARAMETER {name} 1")
    assert authored.spec == ModelSpec()
    (warning,) = authored.warnings
    assert (warning.rule, warning.line, warning.column) == ("deprecated-parameter", 2, 11)
    assert name in warning.message
    with pytest.raises(UsageError, match="no longer"):
        parse_parameter(name, "1")


def test_a_modelfile_becomes_a_spec_and_its_sources() -> None:
    text = """FROM ./model.gguf
FROM ./mmproj.gguf
PARAMETER temperature 0.5
PARAMETER temperature 1
PARAMETER top_k 1
PARAMETER stop a
PARAMETER stop "b "
SYSTEM first
SYSTEM You are a bot.
"""
    authored = from_text(text)
    assert authored == from_instructions(parse(text))
    assert authored.sources == ("./model.gguf", "./mmproj.gguf")
    assert authored.spec == ModelSpec(
        parameters={"temperature": 1.0, "top_k": 1, "stop": ("a", "b ")}, system="You are a bot."
    )
    assert [(each.rule, each.line, each.message) for each in authored.warnings] == [
        ("replaced", 3, "A later PARAMETER temperature replaces this one."),
        ("replaced", 8, "A later SYSTEM replaces this one."),
    ]


def test_an_empty_system_is_said_and_an_absent_one_is_not() -> None:
    assert from_text('FROM x\nSYSTEM ""').spec.system == ""
    assert from_text("FROM x").spec.system is None


def test_an_empty_stop_is_dropped_with_a_warning() -> None:
    authored = from_text('FROM x\nPARAMETER stop ""\nPARAMETER stop a')
    assert authored.spec.parameters == {"stop": ("a",)}
    assert [(warning.rule, warning.line) for warning in authored.warnings] == [("empty-stop", 2)]


def test_problems_of_syntax_and_meaning_come_at_once_in_order() -> None:
    text = """PARAMETER from x
PARAMETER temprature 1
PARAMETER num_ctx many
SYSTM x
REQUIRES yesterday
PARAMETER System y
"""
    with pytest.raises(ModelfileError) as caught:
        from_text(text, filename="M")
    assert [(problem.line, problem.column, problem.rule) for problem in caught.value.problems] == [
        (1, 1, "no-from"),
        (1, 11, "unknown-parameter"),
        (2, 11, "unknown-parameter"),
        (3, 19, "parameter-value"),
        (4, 1, "unknown-instruction"),
        (5, 10, "requires"),
        (6, 11, "unknown-parameter"),
    ]
    rendered = caught.value.render()
    assert "Write FROM instead of PARAMETER from." in rendered
    assert "Write SYSTEM instead of PARAMETER System." in rendered
    assert (
        "M:3:19: error: The parameter num_ctx takes a whole number from -2147483648 to 2147483647, "
        "not 'many'. [parameter-value]\n"
        "  3 | PARAMETER num_ctx many\n"
        "    |                   ~~~^" in rendered
    )
    with pytest.raises(ModelfileError):
        from_instructions(parse("FROM x\nPARAMETER num_ctx many"))


def test_reading_stops_after_a_hundred_problems() -> None:
    with pytest.raises(ModelfileError) as caught:
        from_text("FROM x\n" + "PARAMETER x 1\n" * 1000)
    assert len(caught.value.problems) == 100


@given(st.one_of(st.text(), st.binary(), st.text().map("FROM x\nPARAMETER stop ".__add__)))
def test_nothing_but_a_modelfile_error_is_raised(source: str | bytes) -> None:
    try:
        authored = from_text(source)
    except ModelfileError:
        return
    authored.spec.to_canonical_bytes()


_characters = st.characters(codec="utf-8")
_texts = st.text(_characters, max_size=20)
_values: dict[Kind, st.SearchStrategy[ParameterValue]] = {
    Kind.INT32: st.integers(-_INT32, _INT32 - 1),
    Kind.INT64: st.integers(-_INT64, _INT64 - 1),
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False, width=32),
    Kind.BOOL: st.booleans(),
    Kind.STRINGS: st.lists(_texts, max_size=3).map(tuple),
}
_specs = st.builds(
    ModelSpec,
    parameters=st.fixed_dictionaries({}, optional={name: _values[kind] for name, kind in PARAMETERS.items()}),
    system=st.none() | _texts,
    template=st.none() | _texts,
    messages=st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=_texts), max_size=3
    ).map(tuple),
    licenses=st.lists(_texts, max_size=3).map(tuple),
    requires=st.none() | _texts,
    renderer=st.none() | _texts,
    parser=st.none() | _texts,
)


@given(_specs)
def test_json_and_back(spec: ModelSpec) -> None:
    document = spec.to_json()
    assert next(iter(document)) == "schema"
    _VALIDATOR.validate(document)
    assert ModelSpec.from_json(document) == spec
    again = ModelSpec.from_json(json.loads(spec.to_canonical_bytes()))
    assert again == spec
    assert ModelSpec.from_json(again.to_json()).to_canonical_bytes() == again.to_canonical_bytes()


def test_the_canonical_bytes() -> None:
    spec = ModelSpec(
        parameters={"top_k": 40, "stop": ("a", "é"), "temperature": 0.5, "use_mmap": False}, system="Grüß\n"
    )
    assert spec.to_canonical_bytes().decode() == (
        '{"parameters":{"stop":["a","é"],"temperature":0.5,"top_k":40,"use_mmap":false},'
        '"schema":"slmctl.spec/1","system":"Grüß\\n"}'
    )
    assert ModelSpec().to_canonical_bytes() == b'{"schema":"slmctl.spec/1"}'


def test_the_order_of_parameters_does_not_matter() -> None:
    one = ModelSpec(parameters={"top_k": 1, "seed": 2})
    other = ModelSpec(parameters={"seed": 2, "top_k": 1})
    assert one == other
    assert list(one.parameters) == ["seed", "top_k"]
    assert list(one.to_json()["parameters"]) == ["seed", "top_k"]  # type: ignore[call-overload]  # is a dict


def test_the_parameters_cannot_be_changed() -> None:
    given_parameters: dict[str, ParameterValue] = {"top_k": 1}
    spec = ModelSpec(parameters=given_parameters)
    given_parameters["top_k"] = 2
    assert spec.parameters == {"top_k": 1}
    with pytest.raises(TypeError):
        spec.parameters["top_k"] = 3  # type: ignore[index]  # that is the point


_WRONG: list[Any] = [
    None,
    [],
    "x",
    {},
    {"schema": "slmctl.spec/2"},
    {"schema": 1},
    {"schema": [[["x"]]]},
    {"schema": "slmctl.spec/1", "Schema": 1},
    {"schema": "slmctl.spec/1", "system": None},
    {"schema": "slmctl.spec/1", "system": 1},
    {"schema": "slmctl.spec/1", "template": ["x"]},
    {"schema": "slmctl.spec/1", "parameters": []},
    {"schema": "slmctl.spec/1", "parameters": None},
    {"schema": "slmctl.spec/1", "parameters": {"x": 1}},
    {"schema": "slmctl.spec/1", "parameters": {"mirostat": 1}},
    {"schema": "slmctl.spec/1", "parameters": {"num_ctx": "1"}},
    {"schema": "slmctl.spec/1", "parameters": {"num_ctx": 1.5}},
    {"schema": "slmctl.spec/1", "parameters": {"num_ctx": True}},
    {"schema": "slmctl.spec/1", "parameters": {"num_ctx": _INT32}},
    {"schema": "slmctl.spec/1", "parameters": {"num_ctx": None}},
    {"schema": "slmctl.spec/1", "parameters": {"seed": _INT64}},
    {"schema": "slmctl.spec/1", "parameters": {"temperature": True}},
    {"schema": "slmctl.spec/1", "parameters": {"temperature": "0.5"}},
    {"schema": "slmctl.spec/1", "parameters": {"temperature": 1e300}},
    {"schema": "slmctl.spec/1", "parameters": {"temperature": 10**400}},
    {"schema": "slmctl.spec/1", "parameters": {"use_mmap": 1}},
    {"schema": "slmctl.spec/1", "parameters": {"use_mmap": "true"}},
    {"schema": "slmctl.spec/1", "parameters": {"stop": "x"}},
    {"schema": "slmctl.spec/1", "parameters": {"stop": [1]}},
    {"schema": "slmctl.spec/1", "messages": {}},
    {"schema": "slmctl.spec/1", "messages": ["x"]},
    {"schema": "slmctl.spec/1", "messages": [{"role": "user"}]},
    {"schema": "slmctl.spec/1", "messages": [{"role": "tool", "content": "x"}]},
    {"schema": "slmctl.spec/1", "messages": [{"role": "user", "content": 1}]},
    {"schema": "slmctl.spec/1", "messages": [{"role": "user", "content": "x", "images": []}]},
    {"schema": "slmctl.spec/1", "licenses": "MIT"},
    {"schema": "slmctl.spec/1", "licenses": [None]},
    {"schema": "slmctl.spec/1", "requires": 1},
]


@pytest.mark.parametrize("document", _WRONG)
def test_a_document_that_the_schema_refuses_is_refused(document: object) -> None:
    assert not _VALIDATOR.is_valid(document)
    with pytest.raises(MalformedFile) as caught:
        ModelSpec.from_json(document)
    assert caught.value.message.startswith("The model's spec.json is not valid: ")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": {"temperature": math.nan}},
        {"parameters": {"temperature": math.inf}},
        {"system": "\ud800"},
        {"parameters": {"stop": ["\udfff"]}},
        {1: 2},
        {"parameters": {1: 2}},
        {"\ud800\x1b" * 100: 1},
    ],
)
def test_what_json_text_cannot_hold_is_refused(fields: dict[Any, Any]) -> None:
    with pytest.raises(MalformedFile) as caught:
        ModelSpec.from_json({"schema": "slmctl.spec/1", **fields})
    assert caught.value.message.isprintable()


def test_a_whole_number_is_read_where_a_float_is_wanted() -> None:
    spec = ModelSpec.from_json({"schema": "slmctl.spec/1", "parameters": {"temperature": 1}})
    assert spec.to_canonical_bytes() == b'{"parameters":{"temperature":1.0},"schema":"slmctl.spec/1"}'


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_keys = st.sampled_from([*_SCHEMA["properties"], "x"])
_documents = st.dictionaries(
    _keys, _json | st.dictionaries(st.sampled_from([*PARAMETERS, "x"]), _json, max_size=2), max_size=3
)


@given(_json | _documents | _documents.map(lambda document: {**document, "schema": "slmctl.spec/1"}))
def test_a_strangers_document_raises_nothing_else(document: object) -> None:
    try:
        spec = ModelSpec.from_json(document)
    except MalformedFile:
        return
    _VALIDATOR.validate(document)
    spec.to_canonical_bytes()


def test_the_schema_knows_the_same_parameters() -> None:
    _VALIDATOR.check_schema(_SCHEMA)
    described = {
        name: rule.get("$ref", rule.get("type"))
        for name, rule in _SCHEMA["properties"]["parameters"]["properties"].items()
    }
    words = {
        Kind.INT32: "#/$defs/int32",
        Kind.INT64: "#/$defs/int64",
        Kind.FLOAT: "#/$defs/float32",
        Kind.BOOL: "boolean",
        Kind.STRINGS: "array",
    }
    assert described == {name: words[kind] for name, kind in PARAMETERS.items()}


def test_merge() -> None:
    base = ModelSpec(
        parameters={"top_k": 1, "seed": 1, "stop": ("a", "b")},
        system="base",
        template="t",
        messages=(Message(role="user", content="a"),),
        licenses=("MIT", "BSD"),
    )
    over = ModelSpec(parameters={"top_k": 2, "stop": ("c",)}, system="", licenses=("GPL", "MIT"))
    assert merge(base, over) == ModelSpec(
        parameters={"top_k": 2, "seed": 1, "stop": ("c",)},
        system="",
        template="t",
        messages=(Message(role="user", content="a"),),
        licenses=("MIT", "BSD", "GPL"),
    )
    turn = Message(role="assistant", content="b")
    assert merge(base, ModelSpec(messages=(turn,))).messages == (turn,)


@given(_specs, _specs)
def test_laws_of_merge(one: ModelSpec, other: ModelSpec) -> None:
    nothing = ModelSpec()
    assert merge(one, nothing) == one
    merged = merge(one, other)
    assert merge(merged, other) == merged
    assert dict(merged.parameters) == {**one.parameters, **other.parameters}
