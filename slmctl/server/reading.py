"""Reading request bodies: JSON from strangers, with limits.

Strict where readers differ and an attacker could profit (names that stand twice, NaN), lenient nowhere else
than in one place: half a character (a lone surrogate, which JavaScript writes) becomes U+FFFD, as Go has it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from registry.errors import UsageError
from slmctl.server.problems import Family, TooLarge

MAX_DEPTH = 200
"""How deep arrays and objects may lie in each other."""

MAX_ITEMS = 500_000
"""How many commas and brackets there may be, those in texts counted too: parsing holds everybody up."""

MAX_DIGITS = 400
"""How many digits a whole number may have."""

LONG_BYTES = 64 << 10
"""A body from this size on is read in another thread than the event loop's."""

MAX_SURROGATES = 20_000
"""How many escaped surrogates there may be, where one of them has not its other half."""


def read_json(body: bytes, family: Family) -> Mapping[str, object]:
    """The object that `body` is. Raises UsageError for what is none, TooLarge for what lies too deep."""
    if not body or body.isspace():
        raise UsageError("missing request body" if family == "ollama" else "The request has no body.")
    if sum(body.count(mark) for mark in (b",", b"{", b"[")) > MAX_ITEMS:
        raise TooLarge(f"The request's JSON has more than {MAX_ITEMS:,} items.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("The request's body is not UTF-8.") from None
    try:
        value = _parse(text)
        if surrogates := text.count("\\ud") + text.count("\\uD"):
            value = _without_halves(value, surrogates)
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


def _parse(text: str) -> object:
    return json.loads(
        text,
        parse_constant=_no_constant,
        parse_int=_whole,
        parse_float=_finite,
        object_pairs_hook=_without_repeats,
    )


def _no_constant(name: str) -> float:
    raise _Refused(f"{name} is no number")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Refused(f"the number {text:.40} is too large")
    return number


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Refused(f"the name {name!r:.60} stands twice in an object")
            seen.add(name)
    return found


def _without_halves(value: object, surrogates: int) -> object:
    """The same, with U+FFFD for each half of a character that has not the other beside it."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        if surrogates > MAX_SURROGATES:
            raise _Refused("a surrogate stands alone") from None
        return _parse(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    return value


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
