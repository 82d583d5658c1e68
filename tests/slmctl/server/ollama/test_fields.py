from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UsageError
from runtimes.protocol import ANY_OBJECT
from slmctl.server.ollama.fields import (
    Fields,
    go_duration,
    images_of,
    keep_seconds,
    model_name,
    options_of,
    schema_of,
    think_of,
)

DURATIONS = [  # Go's own cases for time.ParseDuration, and what Ollama's documentation shows
    ("0", 0.0),
    ("5s", 5.0),
    ("30s", 30.0),
    ("1478s", 1478.0),
    ("-5s", -5.0),
    ("+5s", 5.0),
    ("-0", 0.0),
    ("+0", 0.0),
    ("5.0s", 5.0),
    ("5.6s", 5.6),
    ("5.s", 5.0),
    (".5s", 0.5),
    ("1.0s", 1.0),
    ("1.004s", 1.004),
    ("100.00100s", 100.001),
    ("10ns", 1e-8),
    ("11us", 1.1e-5),
    ("12µs", 1.2e-5),
    ("12μs", 1.2e-5),
    ("13ms", 0.013),
    ("14s", 14.0),
    ("15m", 900.0),
    ("16h", 57600.0),
    ("3h30m", 12600.0),
    ("10.5s4m", 250.5),
    ("-2m3.4s", -123.4),
    ("1h2m3s4ms5us6ns", 3723.004005006),
    ("39h9m14.425s", 140954.425),
    ("0.3333333333333333333h", 1200.0),
    ("5m", 300.0),
    ("1h30m", 5400.0),
    ("-1m", -60.0),
]

NO_DURATIONS = [
    ("", 'time: invalid duration ""'),
    ("3", 'time: missing unit in duration "3"'),
    ("300", 'time: missing unit in duration "300"'),
    ("-1", 'time: missing unit in duration "-1"'),
    ("-", 'time: invalid duration "-"'),
    ("s", 'time: invalid duration "s"'),
    (".", 'time: invalid duration "."'),
    ("-.", 'time: invalid duration "-."'),
    (".s", 'time: invalid duration ".s"'),
    ("+.s", 'time: invalid duration "+.s"'),
    ("1d", 'time: unknown unit "d" in duration "1d"'),
    ("1 h", 'time: unknown unit " h" in duration "1 h"'),
    ("3000000h", 'time: invalid duration "3000000h"'),
    ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert go_duration(text) == pytest.approx(seconds, abs=2e-9)


@pytest.mark.parametrize(("text", "said"), NO_DURATIONS)
def test_what_is_no_duration_is_told_in_gos_words(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        go_duration(text)
    assert caught.value.message == said


@given(st.text(alphabet="0123456789.+-hmsunµ ", max_size=40))
def test_no_text_is_too_odd_for_a_duration(text: str) -> None:
    try:
        assert math.isfinite(go_duration(text))
    except UsageError as error:
        assert error.message.startswith("time: ")  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (300, 300.0),
        (0, 0.0),
        (0.5, 0.5),
        (-1, math.inf),
        (-0.1, math.inf),
        ("5m", 300.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("-1s", math.inf),
        ("-1m", math.inf),
        (10**400, math.inf),
        (-(10**400), math.inf),
        (1e300, math.inf),
    ],
)
def test_keep_alive_is_seconds_or_a_duration_and_for_ever_where_it_is_negative(
    value: object, seconds: float | None
) -> None:
    assert keep_seconds(value) == seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: '[]interface {}'"),
        ({}, "Unsupported type: 'map[string]interface {}'"),
        ("300", 'time: missing unit in duration "300"'),
        ("", 'time: invalid duration ""'),
        ("forever", 'time: invalid duration "forever"'),
    ],
)
def test_a_keep_alive_that_is_none_is_told_in_ollamas_words(value: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        keep_seconds(value)
    assert caught.value.message == said


def test_a_format_is_json_or_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert [schema_of(value) for value in (None, "", "json", schema)] == [None, None, ANY_OBJECT, schema]


@pytest.mark.parametrize("value", ["yaml", "JSON", 5, [], True])
def test_another_format_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="invalid format: "):
        schema_of(value)


def test_think_is_a_flag_or_an_effort() -> None:
    values = [None, True, False, "low", "medium", "high", "max"]
    assert [think_of(value) for value in values] == values


@pytest.mark.parametrize(
    ("value", "said"), [("extreme", "invalid think value: "), (1, "think must be a boolean or string")]
)
def test_another_think_is_refused(value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        think_of(value)


@pytest.mark.parametrize(
    ("given_options", "expected"),
    [
        ({"num_ctx": 4096, "temperature": 0}, {"num_ctx": 4096, "temperature": 0.0}),
        ({"top_k": 40.0, "seed": 7.9}, {"top_k": 40, "seed": 7}),
        ({"stop": ["a", "b"], "use_mmap": False}, {"stop": ("a", "b"), "use_mmap": False}),
        ({"num_ctx": None, "mirostat": 1}, {}),
    ],
)
def test_options_get_their_types(given_options: dict[str, object], expected: dict[str, object]) -> None:
    found = options_of(given_options, on_unknown=pytest.fail)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("num_ctx", "4096", 'option "num_ctx" must be of type integer'),
        ("num_ctx", True, 'option "num_ctx" must be of type integer'),
        ("num_ctx", 2**31, 'option "num_ctx" must be of type integer'),
        ("seed", 10**400, 'option "seed" must be of type integer'),
        ("temperature", "hot", 'option "temperature" must be of type float32'),
        ("temperature", 1e300, 'option "temperature" must be of type float32'),
        ("use_mmap", 1, 'option "use_mmap" must be of type boolean'),
        ("stop", "###", 'option "stop" must be of type array'),
        ("stop", [1], 'option "stop" must be of an array of strings'),
    ],
)
def test_an_option_of_another_type_is_refused_in_ollamas_words(name: str, value: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        options_of({name: value}, on_unknown=pytest.fail)
    assert caught.value.message == said


def test_options_that_nobody_knows_are_told_of_and_passed_over() -> None:
    unknown: list[str] = []
    assert options_of({"num_ctx": 8, "flux": 1, "Temperature": 2}, unknown.append) == {"num_ctx": 8}
    assert unknown == ["flux", "Temperature"]


def test_fields_are_read_in_any_case_and_null_is_nothing() -> None:
    fields = Fields({"Model": "a", "RAW": True, "system": None})
    assert (model_name(fields), fields.flag("raw"), fields.text("system")) == ("a", True, "")


def test_old_clients_call_the_model_name() -> None:
    assert model_name(Fields({"name": "hello"})) == "hello"
    assert model_name(Fields({"name": "old", "model": "new"})) == "new"
    with pytest.raises(UsageError, match="model is required"):
        model_name(Fields({"model": ""}))


def test_a_field_of_another_type_is_named_with_its_place() -> None:
    fields = Fields({"messages": [{"content": "x"}, {"content": 5}]})
    second = fields.mappings("messages")[1]
    with pytest.raises(UsageError, match=r"number into field messages\[1\]\.content of type string"):
        second.text("content")


@pytest.mark.parametrize("text", ["http://169.254.169.254/", "file:///etc/passwd", "é", "a", "data:,x"])
def test_an_image_is_base64_and_never_an_address(text: str) -> None:
    with pytest.raises(UsageError, match="illegal base64 data"):
        images_of(Fields({"images": [text]}))
    assert images_of(Fields({"images": ["aGk=\n"]})) == (b"hi",)
