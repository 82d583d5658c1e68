"""Tricks for the fake registry: it wants a token, or a password, and tells where."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tests.fakes.registry import error
from tests.fakes.wire import Request, reply


@dataclass
class Realm:
    """A token server at the path /token of whatever serves it. Its tokens count until `valid` drops them.

    `user` is a name and a password that it wants, None where everybody gets a token; `extra` is what its
    answers have beside the token.
    """

    user: tuple[str, str] | None = None
    extra: dict[str, object] = field(default_factory=dict)
    valid: set[str] = field(default_factory=set)
    asked: list[Request] = field(default_factory=list)

    def serve(self, request: Request) -> bytes | None:
        """The trick that gives tokens."""
        if request.path != "/token":
            return None
        self.asked.append(request)
        if self.user is not None:
            expected = base64.b64encode(":".join(self.user).encode()).decode()
            if request.headers.get("authorization") != f"Basic {expected}":
                return error(401, "UNAUTHORIZED", "no token without a password")
        token = f"token-{len(self.asked)}"
        self.valid.add(token)
        return reply(200, json.dumps({"token": token, **self.extra}).encode())

    def scopes(self) -> list[str]:
        """What tokens were asked for."""
        return [
            " ".join(parse_qs(request.target.partition("?")[2]).get("scope", [])) for request in self.asked
        ]

    def guard(
        self, address: Callable[[], str], scope: str | None = None
    ) -> Callable[[Request], bytes | None]:
        """The trick that wants a token, and names `address` for it."""

        def trick(request: Request) -> bytes | None:
            if not request.path.startswith("/v2/"):
                return None
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind == "Bearer" and token in self.valid:
                return None
            asked = scope or f"repository:{'/'.join(request.path.split('/')[2:4])}:pull"
            challenge = f'Bearer realm="{address()}",service="a test",scope="{asked}"'
            body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "no token"}]}).encode()
            return reply(401, body, {"WWW-Authenticate": challenge})

        return trick


def basic_guard(user: str, password: str) -> Callable[[Request], bytes | None]:
    """The trick that wants a name and a password."""
    expected = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    def trick(request: Request) -> bytes | None:
        if request.headers.get("authorization") == expected:
            return None
        return reply(401, b"", {"WWW-Authenticate": 'Basic realm="a test"'})

    return trick
