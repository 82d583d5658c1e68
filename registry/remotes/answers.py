"""What a registry's answer means when it is not the one that was hoped for.

OCI distribution specification 1.1, "Error codes": `{"errors": [{"code", "message", "detail"}]}`, which is
shown as the registry's own words, cut and without control characters.
"""

from __future__ import annotations

import json
from contextlib import suppress

from registry.errors import BadContent, NotFound, OperationFailed, SlmctlError, Unauthorized, Unreachable
from registry.formats.quote import quoted
from registry.remotes.base import TryAgain
from registry.remotes.http import Answer

MAX_ERROR_BYTES = 64 << 10
_WANTS_TLS = (b"to HTTPS port", b"to an HTTPS server", b"to an SSL-enabled server")
"""What nginx, Go's servers and Apache say to a request without encryption where they expect TLS."""

_WITH_TLS = "Leave out --plain-http, or write oci:// in place of http://."

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


def words_of(answer: Answer) -> str:
    """What the server says about its refusal: `: "MANIFEST_UNKNOWN: manifest unknown"`; empty if nothing."""
    return _words_in(_body_of(answer))


def _body_of(answer: Answer) -> bytes:
    """What a refusal says; nothing where that is too long, or cut short."""
    with suppress(BadContent, Unreachable):
        return answer.read(MAX_ERROR_BYTES)
    return b""


def _words_in(body: bytes) -> str:
    text = ""
    with suppress(ValueError, RecursionError):
        document = json.loads(body)
        errors = document.get("errors") if isinstance(document, dict) else None
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            parts = [errors[0].get(key) for key in ("code", "message")]
            text = ": ".join(part for part in parts if isinstance(part, str) and part)
        elif isinstance(
            document, dict
        ):  # Docker Hub's and GitHub's token servers: {"details"} and {"message"}
            said = next((document[key] for key in ("error", "message", "details") if key in document), "")
            text = said if isinstance(said, str) else ""
    return f": {quoted(text, 200)}" if text else ""


def refusal(answer: Answer, what: str, shown: str) -> SlmctlError:
    """The error for an answer that is no success. `what` was asked for (`the tag v1`), of `shown`."""
    status = answer.status
    if status in TRANSIENT:
        return TryAgain(
            f"{shown} cannot give {what} now (it answered {status}){words_of(answer)}.",
            hint="Try again in a while.",
            after=answer.retry_after(),
        )
    if status in {401, 403}:
        host = shown.split("/", 1)[0]
        return Unauthorized(
            f"{shown} refuses {what} (it answered {status}){words_of(answer)}.",
            hint=f"Log in with: slmctl login {host}",
        )
    if status in {404, 410}:
        return NotFound(
            f"{shown} does not have {what}{words_of(answer)}.",
            hint="Check the name; some registries say this too of what one may not see.",
        )
    body = _body_of(answer)
    said, hint = _words_in(body), "Ask who runs the registry what that means."
    if status == 400 and answer.way.url.scheme == "http":
        if any(words in body for words in _WANTS_TLS):
            return Unreachable(
                f"{shown} speaks TLS on that port, and was asked without encryption.", hint=_WITH_TLS
            )
        if not body:  # as to every HEAD
            hint = f"If it speaks TLS on that port: {_WITH_TLS[0].lower()}{_WITH_TLS[1:]}"
    return OperationFailed(f"{shown} answered {status} when asked for {what}{said}.", hint=hint)
