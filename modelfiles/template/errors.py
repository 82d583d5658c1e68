"""What is wrong with a prompt template, or with what it was given."""

from __future__ import annotations

from registry.errors import UsageError


class TemplateError(UsageError):
    """A template that cannot be read, or cannot be rendered with this conversation.

    `line` and `column` count from 1 in the template's text; each is None where nobody knows.
    """

    code = "template"

    def __init__(
        self, message: str, *, hint: str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.column = column


class TemplateRefusal(TemplateError):
    """The template works, and says by itself that it does not take this conversation."""


class PlacedError(TemplateError):
    """One whose place is known: offset `at` in `source`; `reason` is the message without it."""

    def __init__(self, reason: str, *, source: str, at: int, hint: str | None = None) -> None:
        self.reason = reason
        line = source.count("\n", 0, at) + 1
        column = at - source.rfind("\n", 0, at)
        super().__init__(
            f"The template's line {line}, column {column}: {reason}.", hint=hint, line=line, column=column
        )


class Fault(Exception):
    """What a function says when it cannot go on; the evaluator adds the place and raises PlacedError."""
