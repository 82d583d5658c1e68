"""What went wrong on the way to a server, in one sentence: host, redirects, proxy, trust, and what to do."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
from dataclasses import dataclass

from requests.exceptions import InvalidHeader

from registry.errors import BadContent, SlmctlError, Unauthorized, Unreachable
from registry.remotes.base import TryAgain
from registry.remotes.connections import AddressRefused, Failed, Phase
from registry.remotes.guard import Flooded, Stalled, TooLate
from registry.remotes.network import Proxy
from registry.remotes.urls import Url


class NotReached(Unreachable):
    """Nobody answers there: no such name, no route, refused, no answer to the first packet.

    Asking again at once changes nothing; whoever has had bytes from there before may try later.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a request goes: to `url`, sent there by those in `came`, through `proxy`, believing `trust`."""

    url: Url
    trust: str
    came: tuple[Url, ...] = ()
    proxy: Proxy | None = None

    def __str__(self) -> str:
        """The host, and how it came to be asked."""
        parts = [self.url.place]
        if self.came:
            senders = list(dict.fromkeys(url.place for url in self.came))
            parts.append(f"where {' and then '.join(senders)} sent us")
        if self.proxy is not None:
            parts.append(f"through the proxy {self.proxy.shown}")
        return parts[0] if len(parts) == 1 else f"{parts[0]} ({', '.join(parts[1:])})"


def refused(way: Way, why: str, *, where: str | None = None, hint: str | None = None) -> Unreachable:
    """A request that is not made. `where` names the place when `way.url` is not it."""
    place = where or way.url.shown
    if way.came:
        chain = " and then ".join(dict.fromkeys(url.place for url in way.came))
        return Unreachable(
            f"{chain} sent us to {place}, which is not followed: {why}.",
            hint=hint or "Ask whoever runs it; name the host yourself if you mean to go there.",
        )
    return Unreachable(f"{place} was not asked: {why}.", hint=hint)


def explain(way: Way, error: Exception) -> SlmctlError:
    """The error that a failed request becomes."""
    if isinstance(error, AddressRefused):
        return refused(way, f"{way.url.host} is {error.address}, {error.scope.shown}")
    if isinstance(error, Failed):
        reason = error.reason
        if error.phase is Phase.PROXY:
            return _of_proxy(way, reason)
        if isinstance(reason, ssl.SSLError) and (error.phase is Phase.TLS or reason.reason in _WANTS_OURS):
            return _of_tls(way, reason)
        if error.phase is Phase.CONNECT:
            return _of_connect(way, reason)
        if error.phase is Phase.TLS and isinstance(reason, TimeoutError):
            return TryAgain(f"{way} did not finish the TLS handshake in time.", hint="Try again later.")
        return interrupted(way, reason, "before it answered")
    return interrupted(way, error, "while it was asked")


def interrupted(way: Way, error: Exception, when: str) -> SlmctlError:
    """A connection that failed after it was made."""
    if isinstance(error, InvalidHeader):  # two different lengths
        return BadContent(f"{way} does not say clearly how long its answer is.")
    if isinstance(error, Flooded):
        return Unreachable(f"The head of the answer from {way} is larger than 256 KiB.")
    if isinstance(error, Stalled | TimeoutError):
        return TryAgain(f"{way} stalled: too little came for too long {when}.", hint="Try again later.")
    if isinstance(error, TooLate):
        return TryAgain(f"{way} took too long for a small document.", hint="Try again later.")
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return Unreachable(
            f"{way} answers with something that is not HTTP ({type(error).__name__}).",
            hint="Check the host and the port.",
        )
    return TryAgain(f"The connection to {way} was cut {when}.", hint="Try again later.")


def _of_connect(way: Way, reason: Exception) -> SlmctlError:
    whom = f"The proxy {way.proxy.shown} for {way.url.place}" if way.proxy else f"{way}"
    if isinstance(reason, socket.gaierror):
        name = way.proxy.url.host if way.proxy else way.url.host
        return NotReached(
            f"{whom} could not be reached: no address is known for the name {name}.",
            hint="Check the network and the name."
            if not way.proxy
            else "Check the network and the proxy settings.",
        )
    if isinstance(reason, ConnectionResetError | ConnectionAbortedError):
        return interrupted(way, reason, "as soon as it was made")
    if isinstance(reason, TimeoutError):
        why = "it did not answer in time"
    else:
        number = getattr(reason, "errno", None) or 0
        why = {
            errno.ECONNREFUSED: "it refused the connection",
            errno.ENETUNREACH: "there is no network",
            errno.EHOSTUNREACH: "there is no way to it",
        }.get(number, os.strerror(number) if number else type(reason).__name__)
    return NotReached(
        f"{whom} could not be reached: {why}.", hint="Check the network, the host and the port."
    )


def _of_proxy(way: Way, reason: Exception) -> SlmctlError:
    assert way.proxy is not None
    status = re.search(r"failed: (\d{3})", str(reason))
    if status is None:
        return interrupted(way, reason, "before the proxy answered")
    if status[1] in {"401", "407"}:  # tinyproxy answers 401 to a wrong password
        return proxy_denied(way)
    return NotReached(
        f"{way.url.place} could not be reached: the proxy {way.proxy.shown} answered {status[1]}.",
        hint="Check the host, and ask whoever runs the proxy.",
    )


def proxy_denied(way: Way) -> Unauthorized:
    """A proxy's 407."""
    assert way.proxy is not None
    given = (
        "the user name and password it was given"
        if way.proxy.authorization
        else "requests without a password"
    )
    return Unauthorized(
        f"The proxy {way.proxy.shown} refuses {given} (for {way.url.place}).",
        hint="Put them into the proxy variable: HTTPS_PROXY=http://user:password@host:port",
    )


_TOO_OLD = {
    "UNSUPPORTED_PROTOCOL",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "WRONG_SSL_VERSION",
    "NO_PROTOCOLS_AVAILABLE",
}
_WANTS_OURS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
}
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


def _of_tls(way: Way, reason: ssl.SSLError) -> SlmctlError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        why = reason.verify_message or "it cannot be verified"
        of_proxy = way.proxy is not None and way.url.scheme == "http"  # which is then asked with encryption
        whose = f"the proxy {way.proxy.shown} for {way.url.place}" if way.proxy and of_proxy else f"{way}"
        if "expired" in why or "not yet valid" in why:
            hint = "Check this machine's clock; else whoever runs it has to renew the certificate."
        elif "ostname mismatch" in why or "address mismatch" in why:
            hint = "Ask for it under a name that its certificate has."
        else:
            hint = "If you trust its authority, name that certificate with --ca FILE or in SSL_CERT_FILE."
        return Unreachable(
            f"The certificate of {whose} is not trusted: {why.rstrip('.')} (believed: {way.trust}).",
            hint=hint,
        )
    if reason.reason in _TOO_OLD:
        return Unreachable(
            f"{way} speaks only versions of TLS that are no longer safe; 1.2 or later is needed.",
            hint="Whoever runs it has to update it.",
        )
    if reason.reason in _NOT_TLS:
        return Unreachable(
            f"{way} does not speak TLS on that port.",
            hint="If it speaks plain HTTP and you trust the network, permit that with --plain-http.",
        )
    if reason.reason in _WANTS_OURS:
        return Unreachable(
            f"{way} ended the TLS handshake: it wants a certificate of the client, or another encryption.",
            hint="slmctl has no client certificates; ask whoever runs it for another way in.",
        )
    if isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TryAgain(f"{way} closed the connection during the TLS handshake.", hint="Try again later.")
    what = (reason.reason or type(reason).__name__).replace("_", " ").lower()
    return Unreachable(f"No encrypted connection to {way} could be made ({what}; believed: {way.trust}).")
