"""Every error slmctl raises on purpose, grouped by what the caller does about it.

    SlmctlError                     message (one sentence) and hint (what to do)
    ├── UsageError                  say it differently: the request itself is wrong
    │   └── InvalidReference        a model name that is none; carries source and span
    ├── NotFound                    there is no such thing here
    ├── DoesNotFit                  not on this machine, or nothing can run it
    ├── BadContent                  do not use these bytes
    │   ├── MalformedFile           a model file or manifest breaks its format's rules
    │   ├── DigestMismatch          the bytes are not the ones that were asked for
    │   └── SizeMismatch            too few or too many of them
    ├── Unreachable                 a source that had to be asked did not answer
    ├── Unauthorized                it answered: not you
    └── OperationFailed             everything else that stops a command
        ├── NameTaken               the name belongs to another source
        ├── StoreUnusable           the store cannot be read or written
        ├── NoSpace                 the disk is full
        └── EngineFailed            the engine could not start, or died

Other packages add subclasses under these branches where they need fields of their own.
"""

from __future__ import annotations


class SlmctlError(Exception):
    """Base of all our errors.

    `message` is one sentence without a line break; `hint` is the line that says what to do, or None where
    nothing useful can be said. `code` is the stable name of the branch in JSON output.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SlmctlError):
    code = "usage"


class InvalidReference(UsageError):
    """`source` is the text as given, `span` the offending part as (start, end) offsets into it."""

    code = "invalid_reference"

    def __init__(self, message: str, *, source: str, span: tuple[int, int], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.span = span


class NotFound(SlmctlError):
    code = "not_found"


class DoesNotFit(SlmctlError):
    code = "does_not_fit"


class BadContent(SlmctlError):
    code = "bad_content"


class MalformedFile(BadContent):
    code = "malformed_file"


class DigestMismatch(BadContent):
    code = "digest_mismatch"


class SizeMismatch(BadContent):
    code = "size_mismatch"


class Unreachable(SlmctlError):
    code = "unreachable"


class Unauthorized(SlmctlError):
    code = "unauthorized"


class OperationFailed(SlmctlError):
    code = "failed"


class NameTaken(OperationFailed):
    code = "name_taken"


class StoreUnusable(OperationFailed):
    code = "store_unusable"


class NoSpace(OperationFailed):
    code = "no_space"


class EngineFailed(OperationFailed):
    code = "engine_failed"
