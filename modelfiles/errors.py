"""What is wrong in a Modelfile, and where."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from modelfiles.words import is_joiner, printable, visible
from registry.errors import UsageError

_WINDOW = 100  # characters of an offending line that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding in a Modelfile: an error where it is raised, a warning where it is returned.

    `rule` is the finding's stable name; `line` and `column` count from 1, in characters; `span` is (start,
    end) in characters of the decoded text; `suggestion` is text to put in place of the span, `hint` says in
    words what to do.
    """

    rule: str
    message: str
    line: int
    column: int
    span: tuple[int, int]
    suggestion: str | None = None
    hint: str | None = None

    @property
    def advice(self) -> str | None:
        """What to do, in one line."""
        if self.hint is None and self.suggestion is not None:
            return f"Did you mean {self.suggestion}?"
        return self.hint


class ModelfileError(UsageError):
    """All problems of one file, in the order of the text; `problems` is never empty."""

    code = "modelfile"

    def __init__(self, problems: Sequence[Problem], *, filename: str, text: str) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.span))
        self.filename = filename
        self.text = text
        first, *others = self.problems
        more = {0: "", 1: " (and 1 more problem)"}.get(len(others), f" (and {len(others)} more problems)")
        super().__init__(
            f"{printable(filename)}:{first.line}:{first.column}: {first.message.removesuffix('.')}{more}.",
            hint=first.advice,
        )

    def render(self) -> str:
        """Every problem with its line and a `~~~^` marker under the place; safe to print on a terminal."""
        return "\n".join(
            render(problem, filename=self.filename, text=self.text, severity="error")
            for problem in self.problems
        )


def render(problem: Problem, *, filename: str, text: str, severity: str | None = None) -> str:
    """`file:line:column: message`, the line of `text` it is about, the marker, and what to do.

    With a `severity` ("error", "warning") the message begins with it and ends with the rule.
    """
    start = problem.span[0]
    before = max(0, start - _WINDOW // 2)
    shown_start = 1 + max(text.rfind("\n", before, start), text.rfind("\r", before, start), before - 1)
    behind = min(len(text), shown_start + _WINDOW)
    shown_end = min(
        (at for at in (text.find("\n", start, behind), text.find("\r", start, behind)) if at >= 0),
        default=behind,
    )
    marked_end = max(start + 1, min(problem.span[1], shown_end))

    indent = sum(map(_columns, text[shown_start:start]))
    width = max(1, sum(map(_columns, text[start:marked_end])))
    number = str(problem.line)
    message = f"{severity}: {problem.message} [{problem.rule}]" if severity else problem.message
    lines = [
        f"{printable(filename, limit=200)}:{number}:{problem.column}: {message}",
        f"  {number} | {''.join(map(visible, text[shown_start:shown_end]))}",
        f"  {' ' * len(number)} | {' ' * indent}{'~' * (width - 1)}^",
    ]
    if problem.advice is not None:
        lines.append(f"  {' ' * len(number)} = {problem.advice}")
    return "\n".join(line.rstrip() for line in lines)


def _columns(character: str) -> int:
    """The terminal columns that `visible(character)` takes."""
    if unicodedata.combining(character) or is_joiner(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
