"""What is read from the head of a request, and what every answer's head has."""

from __future__ import annotations

import random
import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from registry.errors import UsageError
from slmctl.server.call import Call, Endpoint
from slmctl.server.problems import Family, HeadTooLarge, Unsupported
from slmctl.server.routes import Found

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_MOST_ASKED_HEADERS = 50
_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("/v1/messages", "anthropic"),
    ("/v1/", "openai"),
    ("/api/", "ollama"),
    ("", "plain"),
)


def check_head(scope: Scope, headers: Headers, most_bytes: int) -> None:
    """Raise UsageError for a head that a proxy in front may have read otherwise than we do, HeadTooLarge.

    The parser below has the limit too, but only for heads that come in several pieces.
    """
    if scope.get("http_version") not in {"1.0", "1.1"}:
        raise UsageError("This server speaks HTTP/1.1.")
    if "transfer-encoding" in headers and "content-length" in headers:
        raise UsageError("A request has Content-Length or Transfer-Encoding, and not both.")
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size + len(scope["path"]) + len(scope["query_string"]) > most_bytes:
        raise HeadTooLarge(f"The request's head is larger than {most_bytes:,} bytes.")


def check_form(headers: Headers) -> None:
    """Raise UsageError for what is asked in a form that this server does not have."""
    if headers.get("upgrade", "").lower() == "websocket":
        raise UsageError("This server has no websockets.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Unsupported("A compressed request body is not read.", hint="Send it without Content-Encoding.")


def endpoint_of(found: Found | None, path: str) -> Endpoint:
    """The endpoint; where there is none, one that only says in which words errors are told."""
    if found is not None:
        return found.endpoint or next(iter(found.others.values()))
    family = next(family for prefix, family in _FAMILIES if path.startswith(prefix))
    return Endpoint(
        method="GET", path="", handler=_nothing, scope="manage", family=family, label="unknown", about=""
    )


def standing_headers(call: Call) -> dict[str, str]:
    standing = {"x-request-id": call.request_id, "x-content-type-options": "nosniff"}
    return standing | ({"request-id": call.request_id} if call.family == "anthropic" else {})


def request_id(headers: Headers) -> str:
    """The client's, where it is sane, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(96):024x}"


def trace_id(headers: Headers) -> str | None:
    """That of W3C's traceparent, where it is sane."""
    found = _TRACE.fullmatch(headers.get("traceparent", ""))
    return found[1] if found is not None and set(found[1]) != {"0"} else None


def preflight(found: Found, headers: Headers) -> Response:
    """What a browser asks before a page of another, allowed origin may ask."""
    asked = [name.strip() for name in headers.get("access-control-request-headers", "").split(",")]
    names = [name for name in asked if _TOKEN.fullmatch(name)][:_MOST_ASKED_HEADERS]
    allowed = {
        "access-control-allow-methods": found.allow,
        "access-control-allow-headers": ", ".join(names),
        "access-control-max-age": "600",
    }
    return Response(status_code=204, headers={key: value for key, value in allowed.items() if value})


async def _nothing(call: Call) -> Response:
    raise AssertionError(call.endpoint.path)
