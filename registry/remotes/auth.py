"""Being let in by a registry: basic authentication, and tokens from a token server.

Docker registry token authentication (docs.docker.com/reference/api/registry/auth and .../oauth): a registry
answers 401 with a challenge, the token server that it names gives a token for a scope, and the token goes
with the next requests. A token counts at least 60 seconds, as the specification says, and at most a day, by
a clock that nobody sets: the server's `issued_at` is not read. When a token is refused it is renewed, once
per request.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from registry.errors import BadContent, SlmctlError, Unauthorized
from registry.remotes.answers import TRANSIENT, refusal, words_of
from registry.remotes.challenge import Challenge, parse_challenges
from registry.remotes.credentials import Credential, Found, Keyring
from registry.remotes.http import Answer, HttpClient
from registry.remotes.realms import Trust, checked_realm, may_have_credentials, origin_of
from registry.remotes.repository import Repository
from registry.remotes.urls import Url

MIN_LIFETIME_SECONDS = 60.0
MAX_LIFETIME_SECONDS = 86_400.0
MAX_ANSWER_BYTES = 1 << 20
MARGIN_SECONDS = 5.0
"""A token is renewed this long before its end, so that it does not end under way."""

_TOKEN = re.compile(r"[!-~]{1,65536}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The value of an Authorization header, and when it ends by the monotonic clock (None: never)."""

    authorization: str
    until: float | None


class Authorizer:
    """What lets us into one repository. Several threads may use it; one token is fetched for all of them."""

    def __init__(
        self,
        http: HttpClient,
        keyring: Keyring,
        repository: Repository,
        *,
        trust: Trust,
        credential: Credential | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trust` says which further token servers belong to which registry; `credential` is used instead of
        what the keyring has."""
        self._http = http
        self._keyring = keyring
        self._repository = repository
        self._trust = trust
        self._given = credential
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[str, ...], _Held] = {}
        self._challenges: tuple[Challenge, ...] = ()
        self._challenged_by: Answer | None = None
        self._found: Found | None = None
        self._held_back: Url | None = None  # the token server that did not get the credential

    def current(self, scopes: Sequence[str]) -> str | None:
        """What goes with a request now, None before the registry has asked. Raises as `renewed`."""
        with self._lock:
            held = self._held.get(tuple(scopes))
            if held is None:
                if not self._challenges:
                    return None
            elif held.until is None or self._clock() < held.until - MARGIN_SECONDS:
                return held.authorization
            return self._renew(tuple(scopes)).authorization

    def renewed(self, answer: Answer, scopes: Sequence[str], refused: str | None) -> str:
        """What goes with the next try of a request that was answered 401 although `refused` went with it.

        Raises Unauthorized where nothing more can be tried, TryAgain, Unreachable, BadContent.
        """
        with self._lock:
            key = tuple(scopes)
            held = self._held.get(key)
            if held is not None and held.authorization != refused:
                return held.authorization  # another thread was faster
            self._challenges = parse_challenges(answer.values("WWW-Authenticate"))
            self._challenged_by = answer
            fresh = self._renew(key)
            if fresh.authorization == refused:
                raise self.denied(answer)
            return fresh.authorization

    @property
    def held_back(self) -> Url | None:
        """The token server that was asked without the credential that there is, because it is not the
        registry's by what we know."""
        return self._held_back

    def denied(self, answer: Answer) -> Unauthorized:
        """The error for a 401 to a request with which all went that we have."""
        if self._held_back is not None:
            origin = origin_of(self._held_back)
            host = self._repository.shown.split("/", 1)[0]
            return Unauthorized(
                f"{self._repository.shown} has its tokens made by {origin}, another server, so that"
                " it was not"
                f" sent the {self._whose()}; without that, this is refused{words_of(answer)}.",
                hint=f"If that server belongs to the registry, say so: slmctl login {host} --token-server"
                f" {origin}",
            )
        if self._found is None or self._found.credential is None:
            return self._locked_out(f"gives this to nobody without a name and a password{words_of(answer)}")
        return self._locked_out(f"refuses the {self._whose()}{words_of(answer)}")

    def _renew(self, scopes: tuple[str, ...]) -> _Held:
        self._held.pop(scopes, None)
        if self._found is None:
            given = self._given
            self._found = (
                Found(credential=given)
                if given
                else self._keyring.find(self._repository.host, self._repository.path)
            )
        for challenge in self._challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                held = self._bearer(challenge, scopes)
                break
        else:
            held = self._basic()
        self._held[scopes] = held
        return held

    def _basic(self) -> _Held:
        assert self._found is not None
        if not any(challenge.scheme == "basic" for challenge in self._challenges):
            asked = ", ".join(challenge.scheme for challenge in self._challenges)[:80] or "nothing"
            raise self._locked_out(f"asks for a kind of login that slmctl does not know ({asked})")
        credential = self._found.credential
        if credential is None or credential.basic is None:
            raise self._locked_out("wants a name and a password")
        return _Held(authorization=credential.basic, until=None)

    def _bearer(self, challenge: Challenge, scopes: tuple[str, ...]) -> _Held:
        assert self._found is not None
        credential = self._found.credential
        if credential is not None and credential.registry_token:
            return _Held(authorization=f"Bearer {_checked(credential.registry_token)}", until=None)
        shown = self._repository.shown
        realm = checked_realm(challenge.parameters["realm"], self._repository.origin, shown)
        trusted = may_have_credentials(realm, self._repository.origin, self._trust)
        used = credential if trusted else None
        self._held_back = None if used is credential else realm
        began = self._clock()
        with self._ask(realm, challenge, scopes, used) as answer:
            if answer.status != 200:
                raise self._no_token(answer, realm)
            document = _document(answer.read(MAX_ANSWER_BYTES), origin_of(realm))
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str):
            raise BadContent(f"The token server {origin_of(realm)} gave an answer without a token.")
        return _Held(authorization=f"Bearer {_checked(token)}", until=began + lifetime(document))

    def _ask(
        self, realm: Url, challenge: Challenge, scopes: tuple[str, ...], credential: Credential | None
    ) -> Answer:
        fields = [("scope", scope) for scope in _scopes(challenge, scopes)]
        if service := challenge.parameters.get("service"):
            fields.insert(0, ("service", service))
        if credential is not None and credential.identity_token:
            form = urlencode(
                [
                    ("grant_type", "refresh_token"),
                    ("client_id", "slmctl"),
                    ("refresh_token", credential.identity_token),
                    *(("service", value) for key, value in fields if key == "service"),
                    ("scope", " ".join(value for key, value in fields if key == "scope")),
                ],
                quote_via=quote,
            ).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
            return self._http.send(
                "POST", str(realm), headers=headers, body=form, follow=False, came_from=self._challenged_by
            )
        separator = "?" if "?" not in realm.target else "" if realm.target.endswith(("?", "&")) else "&"
        url = f"{realm}{separator}{urlencode(fields, quote_via=quote)}" if fields else str(realm)
        return self._http.send(
            "GET",
            url,
            headers={"Accept": "application/json"},
            authorization=credential.basic if credential else None,
            came_from=self._challenged_by,
        )

    def _no_token(self, answer: Answer, realm: Url) -> SlmctlError:
        if answer.status in TRANSIENT or answer.status not in {400, 401, 403, 404}:
            return refusal(answer, "a token", realm.place)
        return self.denied(answer)

    def _whose(self) -> str:
        credential = self._found.credential if self._found else None
        if credential is None:
            return "token that it gave"
        place = f" from {credential.origin}" if credential.origin else ""
        return f"password of {credential.username!r:.40}{place}" if credential.username else f"token{place}"

    def _locked_out(self, reason: str) -> Unauthorized:
        host = self._repository.shown.split("/", 1)[0]
        complaints = self._found.complaints if self._found else ()
        also = f" {' '.join(complaints)}" if complaints else ""
        return Unauthorized(
            f"{self._repository.shown} {reason}.{also}", hint=f"Log in with: slmctl login {host}"
        )


def lifetime(document: Mapping[str, object]) -> float:
    """How long a token counts, in seconds: what the server says, within what makes sense."""
    said = document.get("expires_in")
    if not isinstance(said, int | float) or isinstance(said, bool) or said != said:
        return MIN_LIFETIME_SECONDS
    return (
        min(max(float(said), MIN_LIFETIME_SECONDS), MAX_LIFETIME_SECONDS)
        if said < 1e18
        else MAX_LIFETIME_SECONDS
    )


def _scopes(challenge: Challenge, wanted: tuple[str, ...]) -> list[str]:
    """What to ask a token for: what the registry names, with the actions that we need, and what it does not
    know of (the repository that a blob is mounted from)."""
    named = challenge.parameters.get("scope", "").split()[:8]
    if not named:
        return list(wanted)
    own, *further = wanted or ("",)
    actions = own.rpartition(":")[2].split(",") if own else []
    kind, _, rest = named[0].partition(":")
    name, _, has = rest.rpartition(":")
    if kind == "repository" and name:
        merged = [*has.split(","), *(action for action in actions if action not in has.split(","))]
        named[0] = f"{kind}:{name}:{','.join(merged)}"
    return [*named, *(scope for scope in further if scope not in named)]


def _document(raw: bytes, origin: str) -> Mapping[str, object]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadContent(f"The token server {origin} gave something that is not JSON.")
    return document


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise BadContent("The token server gave a token that no header can hold.")
    return token
