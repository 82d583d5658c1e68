"""HTTP as slmctl speaks it: who may be asked, who gets credentials, where redirects lead, what is believed.

The rules, none of which a server can change: at most five redirects; credentials and other headers that may
be secret go to the origin they were given for and to no other; never from https to http; never from a public
address to a private one or to this machine, nor from anywhere further inside, unless the user named that
host; http:// only to this machine and where it was permitted. `came_from` holds addresses that an answer
gave in another way (a token realm, an upload's Location) to the same rules.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from registry.errors import Unreachable, UsageError
from registry.remotes import addresses, connections, trust
from registry.remotes.addresses import Address, Scope
from registry.remotes.answer import Answer
from registry.remotes.connections import AddressRefused, Door, Failed, TrustedAdapter
from registry.remotes.mishaps import Way, explain, refused
from registry.remotes.network import NOTHING, HttpSettings, Proxy, proxy_for
from registry.remotes.urls import BadUrl, Url, join, parse

__all__ = ["Answer", "HttpClient", "HttpSettings"]

MAX_REDIRECTS = 5

_REDIRECTS = {301, 302, 303, 307, 308}
_EVERYWHERE = frozenset(Scope)
_SENDABLE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_HARMLESS = frozenset({"accept", "accept-encoding", "range", "user-agent", "cache-control", "content-type"})
_HARMLESS |= {"if-range", "if-match", "if-none-match", "content-length"}
"""Headers that another origin may see."""


class HttpClient:
    """Asks servers. May be used by several threads at once; close it at the end."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        resolve: connections.Resolve = connections.resolve,
        scope_of: Callable[[Address], Scope] = addresses.scope_of,
    ) -> None:
        self.settings = settings
        self._resolve = resolve
        self._scope_of = scope_of
        self._lock = threading.Lock()
        self._context = trust.once(settings.ca)
        self._adapters: dict[tuple[object, ...], TrustedAdapter] = {}

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = NOTHING,
        authorization: str | None = None,
        body: bytes | Iterable[bytes] | None = None,
        body_length: int | None = None,
        follow: bool = True,
        came_from: Answer | None = None,
        within: float | None = None,
    ) -> Answer:
        """Ask, and give whatever the answer is; close it.

        `authorization` is the header's value for the origin of `url`. An iterable body needs `body_length` in
        bytes, and is sent once: with it, follow no redirects. `came_from` is the answer that gave `url`.
        `within` is how many seconds the server may take to begin (default: as long as a stall may last).

        Raises TryAgain for what may pass (a connection cut, a stall), NotReached when nobody answers there,
        Unreachable for what is not allowed or not trusted, Unauthorized when a proxy refuses, UsageError for
        a header that cannot be sent.
        """
        assert not any(name.lower() in {"authorization", "proxy-authorization"} for name in headers)
        try:
            target = parse(url)
        except BadUrl as error:
            if came_from is not None:
                told_by = replace(came_from.way, came=(came_from.way.url,))
                raise refused(told_by, f"{error}", where="an address") from None
            raise Unreachable(
                f"An address cannot be asked: {error}.", hint="Check how it is written."
            ) from None
        if not all(map(_SENDABLE.fullmatch, (*headers.values(), authorization or ""))):
            raise UsageError(  # http.client would say it with the secret in it
                f"What would be sent to {target.place} has a character in it that no header can have.",
                hint="Look for a line break or a letter beyond Latin-1 in the token or password for it.",
            )
        way = Way(url=target, trust=trust.describe(self.settings.ca))
        wanted = {"User-Agent": self.settings.user_agent, "Accept-Encoding": "identity", **headers}
        if body is not None:
            wanted["Content-Length"] = str(len(body) if isinstance(body, bytes) else body_length or 0)
        elif method in {"POST", "PUT", "PATCH"}:
            wanted["Content-Length"] = "0"
        source = None if came_from is None else came_from.scope
        if came_from is not None:
            way = replace(way, came=(came_from.way.url,))
            if came_from.way.url.scheme == "https" and target.scheme == "http":
                raise refused(way, "that would leave encryption")
        told = len(way.came)
        while True:
            own = dict(wanted)
            if authorization is not None:
                own["Authorization"] = authorization
            answer = self._once(way, method, own, body, source, within)
            if not follow or answer.status not in _REDIRECTS or "location" not in answer.headers:
                return answer
            with answer:
                step, method, body, wanted = _next(answer, told, method, body, wanted)
                if step.origin != way.url.origin:
                    authorization = None
                way = replace(way, url=step, came=(*way.came, way.url))
                source = answer.scope
                answer.discard()

    def close(self) -> None:
        with self._lock:
            for adapter in self._adapters.values():
                adapter.close()
            self._adapters.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _once(
        self,
        way: Way,
        method: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        source: Scope | None,
        within: float | None,
    ) -> Answer:
        if self.settings.offline is not None:
            raise Unreachable(
                f"{way.url.place} was not asked because {self.settings.offline}.",
                hint="What is in the store still runs; ask again without that when there is a network.",
            )
        proxy = proxy_for(way.url, self.settings)
        way = replace(way, proxy=proxy)
        allowed = self._allowed(way, source)
        adapter = self._adapter(way.url, _EVERYWHERE if proxy else allowed, proxy)
        request = requests.PreparedRequest()
        request.method = method
        request.url = str(way.url)
        request.headers = CaseInsensitiveDict(headers)
        request.body = body  # type: ignore[assignment]
        timeout = (self.settings.connect_timeout, within or self.settings.stall_timeout)
        again = body is None and method in {"GET", "HEAD"}
        while True:
            try:
                response = adapter.send(request, stream=True, timeout=timeout)
            except (Failed, AddressRefused, requests.RequestException, HTTPError, OSError) as error:
                mishap = explain(way, error)
                again = again and isinstance(error, Failed) and error.was_left
            else:
                return Answer(response.raw, way, self.settings, method, seen_through=proxy is None)
            if not again:
                raise mishap  # out here, because requests' errors hold the request with its credentials
            again = False

    def _allowed(self, way: Way, source: Scope | None) -> frozenset[Scope]:
        """Where the address behind `way.url` may lie. Raises Unreachable when nowhere."""
        url = way.url
        allowed = _EVERYWHERE
        if source is not None and url.place not in self.settings.named_hosts:
            allowed = frozenset(scope for scope in Scope if scope <= source)
        lies = addresses.scope_of_host(url.host)
        if url.scheme == "http" and url.place not in self.settings.plain_http:
            if lies is not Scope.LOOPBACK:
                raise refused(
                    way, "it would not be encrypted", hint="--plain-http permits that for the host."
                )
            allowed &= {Scope.LOOPBACK}
        if (way.proxy is not None and lies not in allowed) or not allowed:
            raise refused(way, f"it is {lies.shown}")
        return allowed

    def _adapter(self, url: Url, allowed: frozenset[Scope], proxy: Proxy | None) -> TrustedAdapter:
        """Whose connections may be used for `url`.

        Without a tunnel, a connection to a proxy is for one origin: some proxies (tinyproxy) pass on whatever
        else comes over it to the server of the first request, which would get another's credentials.
        """
        key = (allowed, proxy, url.origin if proxy is not None and url.scheme == "http" else None)
        with self._lock:
            if key not in self._adapters:
                door = Door(
                    resolve=self._resolve,
                    scope_of=self._scope_of,
                    allowed=allowed,
                    stall_timeout=self.settings.stall_timeout,
                    stall_bytes=self.settings.stall_bytes,
                )
                self._adapters[key] = TrustedAdapter(door, self._context, proxy)
            return self._adapters[key]


def _next(
    answer: Answer, told: int, method: str, body: bytes | Iterable[bytes] | None, headers: dict[str, str]
) -> tuple[Url, str, bytes | Iterable[bytes] | None, dict[str, str]]:
    """Where a redirect leads, and what is asked there. Raises Unreachable for one that is not followed.

    `told` of those that led here were no redirects.
    """
    way = answer.way
    locations = answer.values("location")
    try:
        step = join(way.url, locations[0])
    except BadUrl as error:
        raise refused(replace(way, came=(*way.came, way.url)), f"{error}", where="an address") from None
    onward = replace(way, url=step, came=(*way.came, way.url))
    if len(set(locations)) > 1:
        raise refused(onward, "it names several addresses at once")
    if step in onward.came[told:]:
        raise refused(onward, "it leads in a circle")
    if len(onward.came) - told > MAX_REDIRECTS:
        raise refused(onward, f"only {MAX_REDIRECTS} redirects in a row are followed")
    if way.url.scheme == "https" and step.scheme == "http":
        raise refused(onward, "that would leave encryption")
    crosses = step.origin != way.url.origin
    if method not in {"GET", "HEAD"}:
        if answer.status == 303:
            method, body = "GET", None
            headers = {
                name: value for name, value in headers.items() if not name.lower().startswith("content-")
            }
        elif answer.status in {301, 302}:
            raise refused(onward, f"a {method} is not sent on")
        elif body is not None and (crosses or not isinstance(body, bytes)):
            raise refused(onward, f"what a {method} sends is not sent on")
    if crosses:
        headers = _only(headers, lambda name: name in _HARMLESS)
    return step, method, body, headers


def _only(headers: Mapping[str, str], keep: Callable[[str], bool]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if keep(name.lower())}
