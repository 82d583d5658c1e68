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
