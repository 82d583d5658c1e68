"""What is wrong with a template, or with what it does to its values, and where."""

from __future__ import annotations

from registry.errors import BadContent


class TemplateError(BadContent):
    """`line` and `column` count from 1, in characters; `reason` is the message without the place."""

    code = "template"

    def __init__(self, reason: str, *, source: str, at: int, hint: str | None = None) -> None:
        self.reason = reason
        self.line = source.count("\n", 0, at) + 1
        self.column = at - source.rfind("\n", 0, at)
        super().__init__(f"The template's line {self.line}, column {self.column}: {reason}.", hint=hint)


class Fault(Exception):
    """What a function says when it cannot go on; the evaluator adds the place and raises TemplateError."""
