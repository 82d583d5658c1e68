"""Reading request bodies: JSON from strangers, with limits."""

from __future__ import annotations

import json
from collections.abc import Mapping

from registry.errors import UsageError
from slmctl.server.problems import Family, TooLarge

MAX_DEPTH = 200
"""How deep arrays and objects may lie in each other."""

MAX_ITEMS = 2_000_000
"""How many commas and brackets there may be, those in texts counted too: parsing holds everybody up."""

MAX_DIGITS = 400
"""How many digits a number may have."""


def read_json(body: bytes, family: Family) -> Mapping[str, object]:
    """The object that `body` is. Raises UsageError for what is none, TooLarge for what lies too deep."""
    if not body.strip():
        raise UsageError("missing request body" if family == "ollama" else "The request has no body.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("The request's body is not UTF-8.") from None
    if text.count(",") + text.count("{") + text.count("[") > MAX_ITEMS:
        raise TooLarge(f"The request's JSON has more than {MAX_ITEMS:,} items.")
    try:
        value = json.loads(
            text, parse_constant=_no_constant, parse_int=_whole, object_pairs_hook=_without_repeats
        )
    except RecursionError:
        raise TooLarge(f"The request's JSON lies more than {MAX_DEPTH} levels deep.") from None
    except ValueError as error:
        said = str(error) if isinstance(error, json.JSONDecodeError | _Refused) else "it cannot be read"
        raise UsageError(f"The request's body is not valid JSON: {said}.") from None
    if not isinstance(value, dict):
        raise UsageError("The request's body is JSON, but no object.")
    _check_depth(value)
    return value


class _Refused(ValueError):
    pass


def _no_constant(name: str) -> float:
    raise _Refused(f"{name} is no number")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the name {twice!r:.60} stands twice in an object")
    return found


def _check_depth(value: object) -> None:
    """Raise TooLarge where arrays and objects lie deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise TooLarge(f"The request's JSON lies more than {MAX_DEPTH} levels deep.")
