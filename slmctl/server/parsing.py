"""Requests as pydantic models, and what is wrong with one as a single sentence.

The models are strict: "5" is no number, true is no integer, and a field that nobody knows is refused. Of all
that pydantic says of a request only one thing is told: the first field that is unknown, else the first that
is wrong, by its path as OpenAI writes it (`messages[0].content[1].type`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from slmctl.server.problems import BadField


class Fields(BaseModel):
    """The base of all requests and of the objects in them."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


F = TypeVar("F", bound=Fields)

LONGEST_SHOWN = 60
"""How much of a client's own text stands in a sentence about it."""


def parse(kind: type[F], body: Mapping[str, object], *, harmless: Collection[str] = ()) -> F:
    """`body` as a `kind`, without the fields named in `harmless`, which may hold anything.

    Raises BadField.
    """
    kept = {name: value for name, value in body.items() if name not in harmless} if harmless else dict(body)
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        raise _told(error.errors(include_url=False, include_input=False), kept) from None


def bad_field(name: str, what: str, *, code: str = "invalid_value") -> BadField:
    """The error that says of the field `name`: 'name' `what`."""
    return BadField(f"'{name}' {what}.", parameter=name, code=code)


def _told(errors: Sequence[ErrorDetails], body: Mapping[str, object]) -> BadField:
    placed = [(_path(error["loc"], body, error["type"]), error) for error in errors]
    unknown = [(path, error) for path, error in placed if error["type"] == "extra_forbidden"]
    if unknown:
        name = _written(unknown[0][0])
        return BadField(f"Unknown parameter: '{name}'.", parameter=name, code="unknown_parameter")
    first, _ = placed[0]
    # of a value that may be one of several things each is told: the one that fitted best went deepest
    same = [(path, error) for path, error in placed if path[: len(first)] == first]
    deepest = max(len(path) for path, _ in same)
    path, error = next(each for each in same if len(each[0]) == deepest)
    name = _written(path)
    if error["type"] == "missing":
        return BadField(
            f"Missing required parameter: '{name}'.", parameter=name, code="missing_required_parameter"
        )
    kinds = [_KINDS[error["type"]] for each, error in same if each == path and error["type"] in _KINDS]
    if kinds:
        said = " or ".join(dict.fromkeys(kinds))
        return bad_field(name, f"must be {said}", code="invalid_type")
    return bad_field(name, _SENTENCES.get(error["type"], _otherwise)(error))


def _path(loc: Sequence[int | str], body: object, kind: str) -> tuple[int | str, ...]:
    """Where in the body an error is: pydantic's place without the names of its own types in it."""
    found: list[int | str] = []
    value = body
    for number, step in enumerate(loc):
        is_last = number == len(loc) - 1
        if isinstance(step, int):
            found.append(step)
            value = value[step] if isinstance(value, list) and step < len(value) else None
        elif isinstance(value, dict) and (step in value or (is_last and kind == "missing")):
            found.append(step)
            value = value.get(step)
    return tuple(found)


def _written(path: Sequence[int | str]) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if step.isprintable() else repr(step)[1:-1]
            text += f".{shown:.{LONGEST_SHOWN}}" if text else f"{shown:.{LONGEST_SHOWN}}"
    return text


_KINDS = {
    "string_type": "text",
    "string_unicode": "text in Unicode",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "none_required": "null",
}
"""What a value is not, by pydantic's name for the error."""


def _context(error: ErrorDetails, name: str) -> str:
    value = error.get("ctx", {}).get(name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choices(error: ErrorDetails) -> str:
    return f"must be {_context(error, 'expected')}"


def _discriminator(error: ErrorDetails) -> str:
    return _context(error, "discriminator").strip("'")


def _no_such_tag(error: ErrorDetails) -> str:
    shown = repr(_context(error, "tag"))
    return f"has the {_discriminator(error)} {shown:.{LONGEST_SHOWN}}, which is none of " + _context(
        error, "expected_tags"
    )


def _otherwise(error: ErrorDetails) -> str:
    return "is not valid"


_SENTENCES = {
    "literal_error": _choices,
    "union_tag_invalid": _no_such_tag,
    "union_tag_not_found": lambda error: f"must have a {_discriminator(error)}",
    "greater_than": lambda error: f"must be more than {_context(error, 'gt')}",
    "greater_than_equal": lambda error: f"must be at least {_context(error, 'ge')}",
    "less_than": lambda error: f"must be less than {_context(error, 'lt')}",
    "less_than_equal": lambda error: f"must be at most {_context(error, 'le')}",
    "string_too_short": lambda error: f"must have at least {_context(error, 'min_length')} characters",
    "string_too_long": lambda error: f"must have at most {_context(error, 'max_length')} characters",
    "string_pattern_mismatch": lambda error: f"must match {_context(error, 'pattern')}",
    "too_short": lambda error: f"must have at least {_context(error, 'min_length')} items",
    "too_long": lambda error: f"must have at most {_context(error, 'max_length')} items",
    "value_error": lambda error: _context(error, "error"),
}
"""What is wrong with a value of the right type; of our own validators the ValueError's words."""
