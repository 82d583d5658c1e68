from __future__ import annotations

import math
from typing import Annotated, Literal

import pytest
from pydantic import Field

from registry.errors import UsageError
from slmctl.server.parsing import Fields, bad_field, parse
from slmctl.server.problems import BadField, Problem


class Text(Fields):
    type: Literal["text"]
    text: str


class Image(Fields):
    type: Literal["image"]
    url: str


class User(Fields):
    role: Literal["user"]
    content: str | list[Annotated[Text | Image, Field(discriminator="type")]]


class System(Fields):
    role: Literal["system"]
    content: str


class Request(Fields):
    model: str
    heat: Annotated[float, Field(ge=0, le=2)] | None = None
    count: Annotated[int, Field(ge=1)] = 1
    flag: bool = False
    way: Literal["a", "b"] | System | None = None
    stop: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(max_length=2)] | None = None
    messages: list[Annotated[User | System, Field(discriminator="role")]] | None = None
    bias: dict[Annotated[str, Field(pattern="^[0-9]+$")], float] | None = None
    schema_: Annotated[dict[str, object] | None, Field(alias="schema")] = None


def said(**fields: object) -> BadField:
    with pytest.raises(BadField) as caught:
        parse(Request, {"model": "x", **fields})
    return caught.value


@pytest.mark.parametrize(
    ("fields", "parameter", "sentence"),
    [
        ({"heat": "1"}, "heat", "'heat' must be a number."),
        ({"heat": True}, "heat", "'heat' must be a number."),
        ({"heat": math.inf}, "heat", "'heat' must be a finite number."),
        ({"heat": 3}, "heat", "'heat' must be at most 2."),
        ({"heat": -0.5}, "heat", "'heat' must be at least 0."),
        ({"count": 1.0}, "count", "'count' must be a whole number."),
        ({"count": "1"}, "count", "'count' must be a whole number."),
        ({"count": True}, "count", "'count' must be a whole number."),
        ({"count": None}, "count", "'count' must be a whole number."),
        ({"count": 0}, "count", "'count' must be at least 1."),
        ({"flag": 1}, "flag", "'flag' must be true or false."),
        ({"flag": "true"}, "flag", "'flag' must be true or false."),
        ({"way": "c"}, "way", "'way' must be 'a' or 'b' or an object."),
        ({"way": {"role": "system"}}, "way.content", "Missing required parameter: 'way.content'."),
        ({"stop": 5}, "stop", "'stop' must be text or a list."),
        ({"stop": ""}, "stop", "'stop' must have at least 1 character."),
        ({"stop": ["a", "b", "c"]}, "stop", "'stop' must have at most 2 items."),
        ({"stop": ["a", 5]}, "stop[1]", "'stop[1]' must be text."),
        ({"messages": {}}, "messages", "'messages' must be a list."),
        ({"messages": [5]}, "messages[0]", "'messages[0]' must be an object."),
        ({"messages": [{}]}, "messages[0]", "'messages[0]' must have a role."),
        (
            {"messages": [{"role": "tool"}]},
            "messages[0]",
            "'messages[0]' has the role 'tool', which is none of 'user', 'system'.",
        ),
        (
            {"messages": [{"role": "user"}]},
            "messages[0].content",
            "Missing required parameter: 'messages[0].content'.",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages[0].content",
            "'messages[0].content' must be text or a list.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
            "'messages[0].content[0].text' must be text.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]},
            "messages[0].content[0].x",
            "Unknown parameter: 'messages[0].content[0].x'.",
        ),
        ({"bias": {"a": 1}}, "bias.a", "'bias.a' must match ^[0-9]+$."),
        ({"bias": {"1": "a"}}, "bias.1", "'bias.1' must be a number."),
        ({"schema": 5}, "schema", "'schema' must be an object."),
        ({"schema_": {}}, "schema_", "Unknown parameter: 'schema_'."),
        ({"zzz": 5}, "zzz", "Unknown parameter: 'zzz'."),
        ({"heat": "1", "zzz": 5}, "zzz", "Unknown parameter: 'zzz'."),
        ({"a\nb" + "c" * 100: 5}, "a\\nb" + "c" * 56, "Unknown parameter: 'a\\nb" + "c" * 56 + "'."),
    ],
)
def test_what_is_wrong_is_one_sentence_about_one_field(
    fields: dict[str, object], parameter: str, sentence: str
) -> None:
    error = said(**fields)
    assert (error.parameter, error.message) == (parameter, sentence)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(BadField, match=r"^Missing required parameter: 'model'\.$") as caught:
        parse(Request, {})
    assert caught.value.parameter == "model"
    assert caught.value.code == "missing_required_parameter"


def test_a_harmless_field_may_hold_anything() -> None:
    assert parse(Request, {"model": "x", "user": [[[]]]}, harmless={"user"}) == Request(model="x")


def test_names_of_pydantic_types_are_no_part_of_a_path() -> None:
    """Not even where the request has a field of such a name."""
    wrong = {"role": "user", "content": [{"type": "text", "text": "a", "str": 1}]}
    assert said(messages=[wrong]).parameter == "messages[0].content[0].str"


def test_a_million_mistakes_are_not_looked_at_one_by_one() -> None:
    with pytest.raises(UsageError, match="more than 10,000 places"):
        parse(Request, {"model": "x", "bias": {f"a{number}": 1 for number in range(20_000)}})


def test_the_field_stands_in_openais_error() -> None:
    problem = Problem.of(bad_field("heat", "is too high"))
    assert problem.status == 400
    assert problem.body("openai") == {
        "error": {
            "message": "'heat' is too high.",
            "type": "invalid_request_error",
            "param": "heat",
            "code": "invalid_value",
        }
    }
