"""Exit codes, and the one place that turns an exception into one."""

from __future__ import annotations

import enum

from registry.errors import (
    BadContent,
    DoesNotFit,
    NotFound,
    SlmctlError,
    Unauthorized,
    Unreachable,
    UsageError,
)


class Exit(enum.IntEnum):
    OK = 0  # also when a reader closes the pipe
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DOES_NOT_FIT = 4
    BAD_CONTENT = 5
    UNREACHABLE = 6
    UNAUTHORIZED = 7
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


_BRANCHES: tuple[tuple[type[SlmctlError], Exit], ...] = (
    (UsageError, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (DoesNotFit, Exit.DOES_NOT_FIT),
    (BadContent, Exit.BAD_CONTENT),
    (Unreachable, Exit.UNREACHABLE),
    (Unauthorized, Exit.UNAUTHORIZED),
)


def exit_code(error: SlmctlError) -> Exit:
    """The exit code of an error; what is in no branch of its own is a plain failure."""
    return next((code for branch, code in _BRANCHES if isinstance(error, branch)), Exit.FAILED)
