"""Requests as pydantic models, and what is wrong with one as a single sentence.

The models are strict: "5" is no number, true is no integer, and a field that nobody knows is refused. Of all
that pydantic says of a request only one thing is told: the first field that is unknown, else the first that
is wrong, by its path as OpenAI writes it (`messages[0].content[1].type`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from registry.errors import UsageError
from slmctl.server.problems import BadField


class Fields(BaseModel):
    """The base of all requests and of the objects in them."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


F = TypeVar("F", bound=Fields)
Path = tuple[int | str, ...]

MOST_MISTAKES = 10_000
"""Looking at each of a million would hold everybody up."""

LONGEST_SHOWN = 60
"""How much of a client's own text stands in a sentence about it."""


def parse(kind: type[F], body: Mapping[str, object], *, harmless: Collection[str] = ()) -> F:
    """`body` as a `kind`, without the fields named in `harmless`, which may hold anything.

    Raises BadField, and UsageError for more mistakes than anybody could have made.
    """
    kept = {name: value for name, value in body.items() if name not in harmless} if harmless else dict(body)
    if unknown := next((name for name in kept if name not in _names(kind)), None):
        raise _unknown((unknown,))
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        if error.error_count() > MOST_MISTAKES:
            raise UsageError(f"The request is wrong in more than {MOST_MISTAKES:,} places.") from None
        raise _told(error.errors(include_url=False, include_input=False), kept) from None


def bad_field(name: str, what: str, *, code: str = "invalid_value") -> BadField:
    """The error that says of the field `name`: 'name' `what`."""
    return BadField(f"'{name}' {what}.", parameter=name, code=code)


@cache
def _names(kind: type[Fields]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in kind.model_fields.items())


def _unknown(path: Path) -> BadField:
    name = _written(path)
    return BadField(f"Unknown parameter: '{name}'.", parameter=name, code="unknown_parameter")


def _told(errors: Sequence[ErrorDetails], body: Mapping[str, object]) -> BadField:
    placed = [
        (_place(error["loc"], body, is_missing=error["type"] == "missing")[1], error) for error in errors
    ]
    for path, error in placed:
        if error["type"] == "extra_forbidden":
            return _unknown(path)
    first, _ = placed[0]
    # of a value that may be one of several things each is told: one whose type was right fitted best, and
    # else the one that went deepest
    same = [(path, error) for path, error in placed if path[: len(first)] == first]
    same = [each for each in same if each[1]["type"] not in _KINDS] or same
    deepest = max(len(path) for path, _ in same)
    path, error = next(each for each in same if len(each[0]) == deepest)
    name = _written(path)
    if error["type"] == "missing":
        return BadField(
            f"Missing required parameter: '{name}'.", parameter=name, code="missing_required_parameter"
        )
    if error["type"] in _KINDS:
        kinds = [_KINDS[error["type"]](error) for each, error in same if each == path]
        return bad_field(name, f"must be {' or '.join(dict.fromkeys(kinds))}", code="invalid_type")
    return bad_field(name, _SENTENCES.get(error["type"], _otherwise)(error))


def _place(loc: Sequence[int | str], value: object, *, is_missing: bool) -> tuple[int, Path]:
    """Where in `value` an error is, and how many steps of pydantic's place are none: the names of its types,
    and the tags of unions, which may be called as a field is. As few of them as can be.
    """
    if not loc:
        return 0, ()
    step, rest = loc[0], loc[1:]
    if isinstance(step, int):
        inner = value[step] if isinstance(value, list) and step < len(value) else None
        skipped, path = _place(rest, inner, is_missing=is_missing)
        return skipped, (step, *path)
    skipped, found = _place(rest, value, is_missing=is_missing)
    skipped += 1
    if isinstance(value, dict) and (step in value or (is_missing and not rest)):
        fewer, path = _place(rest, value.get(step), is_missing=is_missing)
        if fewer < skipped:
            return fewer, (step, *path)
    return skipped, found


def _written(path: Path) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if step.isprintable() else repr(step)[1:-1]
            text += f".{shown:.{LONGEST_SHOWN}}" if text else f"{shown:.{LONGEST_SHOWN}}"
    return text


def _context(error: ErrorDetails, name: str) -> str:
    value = error.get("ctx", {}).get(name)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _counted(error: ErrorDetails, limit: str, what: str) -> str:
    number = error.get("ctx", {})[limit]
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _discriminator(error: ErrorDetails) -> str:
    return _context(error, "discriminator").strip("'")


def _no_such_tag(error: ErrorDetails) -> str:
    shown = repr(_context(error, "tag"))
    return f"has the {_discriminator(error)} {shown:.{LONGEST_SHOWN}}, which is none of " + _context(
        error, "expected_tags"
    )


def _otherwise(error: ErrorDetails) -> str:
    return "is not valid"


_KINDS: Mapping[str, Callable[[ErrorDetails], str]] = {
    "string_type": lambda _: "text",
    "string_unicode": lambda _: "text in Unicode",
    "list_type": lambda _: "a list",
    "dict_type": lambda _: "an object",
    "model_type": lambda _: "an object",
    "model_attributes_type": lambda _: "an object",
    "int_type": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "bool_type": lambda _: "true or false",
    "none_required": lambda _: "null",
    "literal_error": lambda error: _context(error, "expected"),
}
"""What a value is not, by pydantic's name for the error."""

_SENTENCES: Mapping[str, Callable[[ErrorDetails], str]] = {
    "union_tag_invalid": _no_such_tag,
    "union_tag_not_found": lambda error: f"must have a {_discriminator(error)}",
    "greater_than": lambda error: f"must be more than {_context(error, 'gt')}",
    "greater_than_equal": lambda error: f"must be at least {_context(error, 'ge')}",
    "less_than": lambda error: f"must be less than {_context(error, 'lt')}",
    "less_than_equal": lambda error: f"must be at most {_context(error, 'le')}",
    "string_too_short": lambda error: "must have at least " + _counted(error, "min_length", "character"),
    "string_too_long": lambda error: "must have at most " + _counted(error, "max_length", "character"),
    "string_pattern_mismatch": lambda error: f"must match {_context(error, 'pattern')}",
    "too_short": lambda error: "must have at least " + _counted(error, "min_length", "item"),
    "too_long": lambda error: "must have at most " + _counted(error, "max_length", "item"),
    "value_error": lambda error: _context(error, "error"),
}
"""What is wrong with a value of the right type; of our own validators the ValueError's words."""
