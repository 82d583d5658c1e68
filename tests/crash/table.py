"""All rows of the harness: those that need nobody else, and the pulls."""

from __future__ import annotations

from tests.crash.commands import ROWS, Row
from tests.crash.pulls import PULLS

ALL_ROWS: tuple[Row, ...] = (*ROWS, *PULLS)


def rows() -> list[Row]:
    """The rows whose commands exist."""
    return [row for row in ALL_ROWS if row.exists]


def row(name: str) -> Row:
    return next(row for row in ALL_ROWS if row.name == name)
