"""What a server that answers 401 asks for: the WWW-Authenticate header.

    challenges = challenge *( "," challenge )
    challenge  = scheme [ 1*SP ( token68 / parameter *( "," parameter ) ) ]
    parameter  = token BWS "=" BWS ( token / quoted-string )

RFC 9110, sections 5.6.2 (token), 5.6.4 (quoted-string), 11.2 and 11.6.1. A header may hold several
challenges, and a comma separates both challenges and the parameters of one; a word that no "=" follows
begins a new one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_HEADER_CHARACTERS = 16 << 10
"""What lies behind these many characters of a header is not read."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t \x21-\x7e])*)"')
_GAP = re.compile(r"[ \t,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to be let in. `scheme` and the names of parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Sequence[str]) -> tuple[Challenge, ...]:
    """All challenges of the header's values, in order. What is malformed ends the reading of its value: what
    came before it counts, and nothing is raised, for a server may ask for more than we understand."""
    return tuple(each for header in headers for each in _challenges(header[:MAX_HEADER_CHARACTERS]))


def _challenges(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = _skip(text, 0)
    while scheme := _TOKEN.match(text, at):
        end = scheme.end()
        parameters: dict[str, str] = {}
        if text[end : end + 1] in {" ", "\t"}:
            end, parameters = _parameters(text, end)
        found.append(Challenge(scheme=scheme[0].lower(), parameters=parameters))
        at = _skip(text, end)
        if "," not in text[end:at]:
            break
    return found


def _parameters(text: str, end: int) -> tuple[int, dict[str, str]]:
    """The parameters behind a scheme that ends at `end`, and where they end."""
    parameters: dict[str, str] = {}
    at = _skip(text, end)
    if "," not in text[end:at] and (blob := _TOKEN68.match(text, at)):
        return blob.end(), parameters
    while (name := _TOKEN.match(text, at)) and (equals := _EQUALS.match(text, name.end())):
        value = _QUOTED.match(text, equals.end()) or _TOKEN.match(text, equals.end())
        key = name[0].lower()
        if value is None or key in parameters:  # RFC 9110, 11.2: each once per challenge
            return len(text), parameters
        parameters[key] = re.sub(r"\\(.)", r"\1", value[1]) if value.re is _QUOTED else value[0]
        end = value.end()
        at = _skip(text, end)
        if "," not in text[end:at]:
            break
    return end, parameters


def _skip(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    assert gap is not None  # it matches the empty text
    return gap.end()
