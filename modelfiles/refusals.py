"""What is said about text that the grammar refuses.

Each function takes the text, the place where the instruction starts, and the offsets that matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelfiles.errors import Problem
from modelfiles.instructions import KEYWORDS, MODCTL_KEYWORDS
from modelfiles.places import Place
from modelfiles.words import ROLES, nearest, printable

_ALL_KEYWORDS = f"Instructions are {', '.join(KEYWORDS)}."
_NOT_MEANT_AS_ONE = 'Text over several lines goes between """; a comment starts with #.'
_EXAMPLES = {
    "PARAMETER": "Write PARAMETER name value, for example PARAMETER temperature 0.7.",
    "MESSAGE": "Write MESSAGE role text, for example MESSAGE user Hello.",
}
_TOKEN = re.compile(r"[^ \t\r\n]*+")
_ASSIGNMENT = re.compile(r"([A-Za-z0-9_]{1,64}+)[=:]([A-Za-z0-9_.+-]{1,64}+)")
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}+")

NO_FROM = Place().problem(
    "no-from",
    "There is no FROM line.",
    (0, 0),
    hint="Name the model or file to start from, for example FROM qwen3:0.6b.",
)


def keyword(text: str, place: Place, word_end: int) -> Problem:
    """Of what stands where a keyword and a blank must; its letters end at `word_end`."""
    start = place.offset
    word = text[start:word_end].upper()
    end = max(_token_end(text, start), start + 1)
    token = text[start:end]
    if word in KEYWORDS and _ends_at(text, word_end):
        hint = _EXAMPLES.get(word, f"Write it behind {word}, on the same line.")
        return place.problem("no-value", f"{word} has no value.", (start, word_end), hint=hint)
    if word in KEYWORDS:
        message = f"{word} must be followed by a blank, not by {printable(text[word_end])!r}."
        return place.problem("no-blank", message, (start, word_end + 1), hint=f"Put a blank behind {word}.")
    if not word:
        message = f"No instruction starts with {printable(token)!r}."
        return place.problem("no-instruction", message, (start, end), hint=_NOT_MEANT_AS_ONE)
    nearby = nearest(token.upper(), KEYWORDS, likeness=0.75)  # TEMPERATURE is no TEMPLATE
    hint = _ALL_KEYWORDS if token.isupper() else _NOT_MEANT_AS_ONE
    message = f"There is no instruction {printable(token)}."
    return place.problem(
        "unknown-instruction", message, (start, end), suggestion=nearby, hint=None if nearby else hint
    )


def parameter_name(text: str, place: Place, name: tuple[int, int]) -> Problem:
    """Of what stands where PARAMETER's name and a blank must."""
    start, end = name
    if not _ends_at(text, end):
        token_end = _token_end(text, start)
        token = text[start:token_end]
        message = f"{printable(token)!r} is no parameter name; those are letters, digits and underscores."
        respelled = _respelled(token)
        hint = None if respelled else _EXAMPLES["PARAMETER"]
        span = (start, token_end)
        return place.problem("parameter-name", message, span, suggestion=respelled, hint=hint)
    if start == end:
        hint = _EXAMPLES["PARAMETER"]
        return place.problem("no-value", "PARAMETER has no name.", (place.offset, start), hint=hint)
    message = f"PARAMETER {printable(text[start:end])} has no value."
    hint = "Write the value behind the name, on the same line."
    return place.problem("no-value", message, name, hint=hint)


def role(text: str, place: Place, word: tuple[int, int]) -> Problem:
    """Of what stands where MESSAGE's role and a blank must."""
    start, end = word
    token_end = _token_end(text, start)
    token = text[start:token_end]
    if token_end == start and not _ends_at(text, start):
        message = "MESSAGE takes one blank before its role."
        return place.problem("two-blanks", message, (start - 1, start + 1), hint="Remove the other blanks.")
    if _ends_at(text, end) and (not token or token in ROLES):
        message = f"MESSAGE {token} has no text." if token else "MESSAGE has no role."
        return place.problem("no-value", message, (place.offset, token_end), hint=_EXAMPLES["MESSAGE"])
    nearby = nearest(token.lower(), ROLES)
    roles = None if nearby else "The roles are " + ", ".join(ROLES) + "."
    message = f"{printable(token)!r} is no role of a message."
    return place.problem("role", message, (start, token_end), suggestion=nearby, hint=roles)


def open_quote(text: str, place: Place, quote: str, opening: int, line_end: int) -> Problem:
    """Of a quote at `opening` that never closes."""
    early = text.find(quote, opening + len(quote), line_end)
    if early < 0:
        hint = f"Put {quote} at the end of the text; only blanks can follow it on its line."
        span = (opening, opening + len(quote))
        return place.problem("open-quote", f"The {quote} is never closed.", span, hint=hint)
    behind = early + len(quote)
    message = f"There is text behind the closing {quote}, so the value never ends."
    return place.problem(
        "open-quote", message, (behind, line_end), hint=end_line_behind(quote, text[behind:line_end])
    )


def modctl(text: str, problems: Iterable[Problem]) -> Problem | None:
    """One problem for a file in modctl's grammar, in place of one for each of its lines."""
    unknown = [problem for problem in problems if problem.rule == "unknown-instruction"]
    if not unknown or any(text[slice(*each.span)].upper() not in MODCTL_KEYWORDS for each in unknown):
        return None
    first = unknown[0]
    return Place(first.span[0], first.line, first.column).problem(
        "modctl",
        "This is a Modelfile of modctl, whose grammar is another one.",
        first.span,
        hint="Write FROM and the model's file, or build it with modctl and pull what that made.",
    )


def end_line_behind(quote: str, rest: str) -> str:
    """What to do about `rest`, which stands behind what looks like the closing quote."""
    if rest.lstrip().startswith("#"):
        return f"End the line behind {quote}; a comment stands on a line of its own."
    return f"End the line behind {quote}, or leave out the quotes."


def _respelled(token: str) -> str | None:
    assignment = _ASSIGNMENT.fullmatch(token)
    if assignment is not None:
        return " ".join(assignment.groups())
    spelled = token[:70].strip("\"':=").replace("-", "_").replace(".", "_")
    return spelled if _NAME.fullmatch(spelled) else None


def _token_end(text: str, start: int) -> int:
    match = _TOKEN.match(text, start)
    return start if match is None else match.end()


def _ends_at(text: str, offset: int) -> bool:
    return text[offset : offset + 1] in ("", "\r", "\n")
