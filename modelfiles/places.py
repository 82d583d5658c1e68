"""Lines and columns of a text."""

from __future__ import annotations

from dataclasses import dataclass

from modelfiles.errors import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """An offset into a text with its line and column, which count from 1. CR, LF and CRLF end lines."""

    offset: int = 0
    line: int = 1
    column: int = 1

    def further(self, text: str, offset: int) -> Place:
        """The place of `offset`, which is not before this one; costs the way from here to there."""
        before = self.offset
        breaks = text.count("\n", before, offset) + text.count("\r", before, offset)
        if not breaks:
            return Place(offset, self.line, self.column + offset - before)
        line = self.line + breaks - text.count("\r\n", before, offset)
        line_start = 1 + max(text.rfind("\n", before, offset), text.rfind("\r", before, offset))
        return Place(offset, line, offset - line_start + 1)

    def problem(
        self,
        rule: str,
        message: str,
        span: tuple[int, int],
        *,
        suggestion: str | None = None,
        hint: str | None = None,
    ) -> Problem:
        """A problem whose span starts on this place's line."""
        return Problem(
            rule=rule,
            message=message,
            line=self.line,
            column=self.column + span[0] - self.offset,
            span=span,
            suggestion=suggestion,
            hint=hint,
        )
