"""Which token server may be asked, and which may have the user's password.

A registry says in its challenge where tokens are had (the realm). A hostile one names somebody else's
address, to have a password delivered there (CVE-2025-51471) or to have us knock at addresses that it cannot
reach itself. So: a realm is an http(s) address without a user, a fragment or a trick in it; it is https
unless the registry itself is spoken to without; the rules for redirects hold for its host (`http`); and
name, password and identity token go to it only when it has the registry's own origin, or belongs to the
registry by the list below or by the user's word. Elsewhere a token is asked for anonymously, as for any
public model.
"""

from __future__ import annotations

from collections.abc import Mapping

from registry.errors import Unreachable
from registry.formats.quote import quoted
from registry.remotes.urls import BadUrl, Url, parse

Trust = Mapping[str, frozenset[str]]
"""Per registry origin, the origins of token servers that belong to it."""

KNOWN_TOKEN_SERVERS: Trust = {
    # docs.docker.com/reference/api/registry/auth
    "https://registry-1.docker.io": frozenset({"https://auth.docker.io"}),
    # docs.gitlab.com/api/container_registry, "Obtain token from Rails"
    "https://registry.gitlab.com": frozenset({"https://gitlab.com"}),
}


def origin_of(url: Url | str) -> str:
    """Scheme, host and port of an address, in one spelling: `https://host` or `https://host:8443`.

    Raises BadUrl for a text that is no address.
    """
    url = parse(url) if isinstance(url, str) else url
    return f"{url.scheme}://{url.place}"


def checked_realm(realm: str, registry: str, shown: str) -> Url:
    """A realm that may be asked; `registry` is the registry's origin. Raises Unreachable."""
    try:
        if "#" in realm:
            raise BadUrl("it has a fragment")
        url = parse(realm)
    except BadUrl as error:
        raise Unreachable(
            f"{shown} sends us for a token to {quoted(realm, 120)}, which is not asked: {error}.",
            hint="Ask who runs the registry: it is misconfigured, or not what it says.",
        ) from None
    if url.scheme == "http" and not registry.startswith("http://"):
        raise Unreachable(
            f"{shown} sends us for a token to {url.shown}, which is not encrypted, so nothing was sent.",
            hint="Ask who runs the registry to serve its tokens over https.",
        )
    return url


def may_have_credentials(realm: Url, registry: str, trust: Trust) -> bool:
    """Whether name and password for the registry at the origin `registry` may go to a realm."""
    origin = origin_of(realm)
    return origin == registry or any(
        origin in listed.get(registry, frozenset()) for listed in (KNOWN_TOKEN_SERVERS, trust)
    )
