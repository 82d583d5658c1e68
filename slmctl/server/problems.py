"""Errors as the APIs tell them: one table from what went wrong to status, type and code.

A handler raises a SlmctlError. `Problem.of` says what it means in HTTP, and each family of APIs has its own
words for that. Only the message and the hint of our own errors are told: never a path of a worker, an address
or a key; what is no SlmctlError is "internal error" to the client, and a log line with its type to us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from registry.errors import (
    BadContent,
    DoesNotFit,
    EngineFailed,
    NameTaken,
    NoSpace,
    NotFound,
    OperationFailed,
    SlmctlError,
    StoreUnusable,
    Unauthorized,
    Unreachable,
    UsageError,
)
from runtimes.errors import EngineDied, EngineRefused, EngineStartFailed, EngineUnavailable

Family = Literal["ollama", "openai", "anthropic", "plain"]


class PromptTooLong(UsageError):
    """The prompt has more tokens than the context. Counts are in tokens, None where they are not known."""

    code = "context_length_exceeded"

    def __init__(
        self,
        message: str,
        *,
        tokens: int | None,
        context: int | None,
        parameter: str | None = None,
        hint: str = "Shorten it, or ask for a larger context (num_ctx).",
    ) -> None:
        super().__init__(message, hint=hint)
        self.tokens = tokens
        self.context = context
        self.parameter = parameter


class BadField(UsageError):
    """One field of a request is missing, unknown or wrong; `parameter` is its path. `code` is OpenAI's."""

    def __init__(self, message: str, *, parameter: str, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.parameter = parameter
        self.code = code


class ModelMissing(NotFound):
    """There is no such model, as OpenAI tells it."""

    code = "model_not_found"
    parameter = "model"


class NotSupported(UsageError):
    """The model, or the engine that runs it, cannot do what was asked."""

    code = "not_supported"


class NoThreads(NotSupported):
    """A conversation is to be kept. Anthropic's clients know this code, and then send all of it each time."""

    code = "thread_unsupported_request"


class Busy(OperationFailed):
    """A queue is full, or the server is stopping. Ask again after so many seconds."""

    code = "busy"

    def __init__(self, message: str, *, retry_after_seconds: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class CircuitOpen(Busy):
    """The model's engine died too often; it is tried again later."""

    code = "circuit_open"


class Forbidden(SlmctlError):
    """Known, and not allowed: a key without the scope, a Host or an Origin that nobody allowed."""

    code = "forbidden"


class KeyMissing(SlmctlError):
    """No key, or none that is valid."""

    code = "invalid_api_key"


class TooLarge(UsageError):
    """A request of more bytes, headers or items than are let in."""

    code = "too_large"


class TooSlow(OperationFailed):
    """The time that a request may take is over."""

    code = "timeout"


class HeadTooLarge(TooLarge):
    """More of a request's line and headers than is let in."""


class StalledBody(UsageError):
    """The rest of a request did not come."""

    code = "request_timeout"


class Unsupported(UsageError):
    """A body in a form that is not read, such as a compressed one."""

    code = "unsupported_media_type"


class WrongMethod(UsageError):
    code = "method_not_allowed"


class SchemaNotMet(OperationFailed):
    """The engine's answer is not what the schema asks for."""

    code = "schema_not_met"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, for HTTP. `kind` is OpenAI's error type, `parameter` the field that is wrong."""

    status: int
    kind: str
    code: str
    message: str
    parameter: str | None = None
    retry_after_seconds: int | None = None

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """What `error` means. Anything but a SlmctlError is an internal error, whose text is not told."""
        if not isinstance(error, SlmctlError):
            return cls(status=500, kind="api_error", code="internal_error", message="internal error")
        text = _text_of(error)
        problem = cls(status=500, kind="api_error", code=error.code, message=text)
        if isinstance(error, Busy):
            return replace(
                problem, status=503, kind="overloaded_error", retry_after_seconds=error.retry_after_seconds
            )
        if isinstance(error, EngineRefused) and error.is_too_long:
            return replace(problem, status=400, kind="invalid_request_error", code="context_length_exceeded")
        if isinstance(error, EngineRefused) and error.status is not None and 400 <= error.status < 500:
            return replace(problem, status=400, kind="invalid_request_error", code="engine_refused")
        if isinstance(error, BadField | ModelMissing | PromptTooLong):
            problem = replace(problem, parameter=error.parameter)
        if problem.code == UsageError.code:
            problem = replace(problem, code="invalid_request")
        for branch, status, kind in _BRANCHES:
            if isinstance(error, branch):
                return replace(problem, status=status, kind=kind)
        return problem

    def body(self, family: Family, request_id: str | None = None) -> Mapping[str, object]:
        """The JSON object that tells it."""
        match family:
            case "openai":
                return {
                    "error": {
                        "message": self.message,
                        "type": self.kind,
                        "param": self.parameter,
                        "code": self.code,
                    }
                }
            case "anthropic":
                error: dict[str, object] = {"type": self.kind, "message": self.message}
                if self.code == NoThreads.code:
                    error["details"] = {"error_code": self.code}
                said: dict[str, object] = {"type": "error", "error": error}
                return said if request_id is None else said | {"request_id": request_id}
            case _:
                return {"error": self.message}

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.retry_after_seconds is None else {"retry-after": str(self.retry_after_seconds)}


def _text_of(error: SlmctlError) -> str:
    """Where our store lies, and what to do about its disk, is for whoever reads the log."""
    if isinstance(error, NoSpace):
        return "There is no space left on the server's disk for this."
    if isinstance(error, StoreUnusable):
        return "The server's store of models cannot be used."
    return error.message if error.hint is None else f"{error.message} {error.hint}"


_BRANCHES: tuple[tuple[type[SlmctlError], int, str], ...] = (
    (KeyMissing, 401, "authentication_error"),
    (Forbidden, 403, "permission_error"),
    (HeadTooLarge, 431, "request_too_large"),
    (TooLarge, 413, "request_too_large"),
    (StalledBody, 408, "invalid_request_error"),
    (Unsupported, 415, "invalid_request_error"),
    (WrongMethod, 405, "invalid_request_error"),
    (TooSlow, 504, "api_error"),
    (UsageError, 400, "invalid_request_error"),
    (NotFound, 404, "not_found_error"),
    (EngineUnavailable, 500, "api_error"),
    (DoesNotFit, 507, "api_error"),  # insufficient storage: memory, here
    (NameTaken, 409, "invalid_request_error"),
    (NoSpace, 507, "api_error"),
    (BadContent, 400, "invalid_request_error"),
    (Unreachable, 502, "api_error"),
    (Unauthorized, 502, "api_error"),  # the source's refusal, not ours
    (EngineDied, 502, "api_error"),
    (EngineStartFailed, 500, "api_error"),
    (EngineFailed, 502, "api_error"),
    (StoreUnusable, 500, "api_error"),
)
