"""Grammars (GBNF) from strangers, before an engine reads them: it does so by calling itself for each bracket.

rule   ::= name "::=" alternatives
pieces     "text"  [characters]  name  ( ... )  .  with * + ? {m} {m,} {m,n}  and # comments
"""

from __future__ import annotations

import re

from registry.errors import UsageError

MOST_CHARACTERS = 64 << 10
MOST_RULES = 2000
MOST_DEPTH = 50
MOST_COUNT = 1000
MOST_COUNTED = 5000

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |(?P<set>\[(?:[^\]\\\n]|\\.)*\])
    |(?P<define>::=)
    |(?P<count>\{\s*\d{0,9}\s*(?:,\s*\d{0,9}\s*)?\})
    |(?P<name>[A-Za-z0-9_\-]+)
    |(?P<token>!?<[^<>\n]{1,256}>|!?<\[\d{1,9}\]>)
    |(?P<sign>[()|*+?.!])""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"\d+")


def check_grammar(grammar: str) -> None:
    """Raise UsageError for what is no grammar, or none that is let in."""
    if len(grammar) > MOST_CHARACTERS:
        raise UsageError(f"The grammar has more than {MOST_CHARACTERS >> 10} KiB.")
    if grammar.lstrip().startswith("%"):
        raise UsageError("The grammar is not in GBNF, llama.cpp's notation.")
    at, depth, counted = 0, 0, 0
    names: list[tuple[str, int]] = []
    defined: set[str] = set()
    used: set[str] = set()
    while at < len(grammar):
        found = _TOKEN.match(grammar, at)
        if found is None:
            raise _bad(grammar, at)
        kind, text, at = found.lastgroup, found.group(), found.end()
        if kind == "name":
            names.append((text, at))
            used.add(text)
        elif kind == "define":
            if depth or not names:
                raise _bad(grammar, found.start())
            defined.add(names[-1][0])
        elif kind == "count":
            counts = [int(number) for number in _NUMBER.findall(text)]
            counted += max(counts, default=0)
            if max(counts, default=0) > MOST_COUNT or counted > MOST_COUNTED:
                raise UsageError(f"The grammar counts further than {MOST_COUNT}, or {MOST_COUNTED} together.")
        elif text == "(":
            depth += 1
            if depth > MOST_DEPTH:
                raise UsageError(f"The grammar has brackets more than {MOST_DEPTH} deep.")
        elif text == ")":
            depth -= 1
            if depth < 0:
                raise _bad(grammar, found.start())
    if depth or "root" not in defined:
        raise UsageError("The grammar has no rule that is called root, or an open bracket.")
    if len(defined) > MOST_RULES:
        raise UsageError(f"The grammar has more than {MOST_RULES} rules.")
    if unknown := sorted(used - defined):
        raise UsageError(f"The grammar has no rule {unknown[0][:80]!r}.")


def _bad(grammar: str, at: int) -> UsageError:
    line = grammar.count("\n", 0, at) + 1
    return UsageError(f"The grammar cannot be read in its line {line}.")
