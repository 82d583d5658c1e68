"""Connections that go where they may, and that notice when nothing comes any more.

requests' adapter (and urllib3 under it) keeps the connections; what is ours is how a host becomes an address,
which addresses are taken, which certificates are believed, and how long a read may last. The address that is
connected to is the one that was checked: a name is resolved once for both.
"""

from __future__ import annotations

import enum
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager, ProxyManager
from urllib3.response import HTTPResponse

from registry.remotes.addresses import Address, Scope
from registry.remotes.guard import Flooded, Guard, GuardedReader, Stalled
from registry.remotes.network import Proxy

_SEND_BYTES = 64 * 1024
_CONNECTIONS = 32

Resolve = Callable[[str, int], Sequence[tuple[int, tuple[Any, ...]]]]
"""A host and a port to address families and socket addresses. Raises OSError (gaierror)."""


class Phase(enum.Enum):
    """How far a request had come when it failed."""

    CONNECT = "connect"
    PROXY = "proxy"
    TLS = "tls"
    ANSWER = "answer"


class Failed(Exception):
    """A connection failed; `reused` says that it had served before.

    No OSError, so that it comes through urllib3 and requests as it is.
    """

    def __init__(self, phase: Phase, reason: Exception, *, reused: bool = False) -> None:
        super().__init__(phase.value)
        self.phase = phase
        self.reason = reason
        self.reused = reused

    @property
    def was_left(self) -> bool:
        """Whether the other side may just have closed an idle connection, before it saw the request."""
        return self.reused and isinstance(self.reason, ConnectionError)


class AddressRefused(Exception):
    """A name led to no address that may be connected to, only further inside."""

    def __init__(self, address: Address, scope: Scope) -> None:
        super().__init__(str(address))
        self.address = address
        self.scope = scope


def resolve(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Ask the system for the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Makes sockets to hosts whose addresses lie where they may."""

    resolve: Resolve
    scope_of: Callable[[Address], Scope]
    allowed: frozenset[Scope]
    stall_timeout: float
    stall_bytes: int

    def connect(self, host: str, port: int, timeout: float) -> tuple[socket.socket, Scope]:
        """A connected socket, and where its other end lies. Raises AddressRefused and OSError.

        `timeout` in seconds is for all addresses together.
        """
        candidates = [
            (family, address, self.scope_of(ip_address(str(address[0]).partition("%")[0])))
            for family, address in self.resolve(host, port)
        ]
        allowed = [candidate for candidate in candidates if candidate[2] in self.allowed]
        if candidates and not allowed:
            raise AddressRefused(ip_address(str(candidates[0][1][0]).partition("%")[0]), candidates[0][2])
        end = time.monotonic() + timeout
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        for place, (family, address, scope) in enumerate(allowed):
            left = max(end - time.monotonic(), 0.001)
            try:
                return _connected(family, address, left / (len(allowed) - place)), scope
            except OSError as error:
                failure = error
        raise failure


def _connected(family: int, address: tuple[Any, ...], timeout: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


class _Watched(HTTPConnection):
    """What plain and encrypted connections have in common; subclasses know their door."""

    door: Door
    scope: Scope
    """Where the other end lies: that of the proxy, where there is one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.guard = Guard(self.door.stall_timeout, self.door.stall_bytes)
        self.response_class = self._make_response  # type: ignore[assignment]
        self._phase = Phase.CONNECT
        self._answers = 0

    def _make_response(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        assert isinstance(response.fp, io.BufferedReader)
        response.fp = io.BufferedReader(GuardedReader(response.fp.detach(), sock, self.guard))
        return response

    def _new_conn(self) -> socket.socket:
        self._phase = Phase.CONNECT
        timeout = self._patience()
        connection, self.scope = self.door.connect(self.host, self.port, timeout)
        connection.settimeout(timeout)  # for a handshake as a whole
        self.guard.expect_head(timeout)
        self._answers = 0
        self._phase = Phase.TLS
        return connection

    def _patience(self) -> float:
        """The seconds that urllib3 allows for what is done now."""
        return self.timeout if isinstance(self.timeout, (int, float)) else self.door.stall_timeout

    def connect(self) -> None:
        try:
            super().connect()
        except (OSError, http.client.HTTPException, Stalled, Flooded) as error:
            self.close()
            raise Failed(self._phase, error) from None

    def _tunnel(self) -> None:
        self._phase = Phase.PROXY
        self.guard.expect_head(self.door.stall_timeout)
        super()._tunnel()
        self.sock.settimeout(self._patience())
        self._phase = Phase.TLS

    def send(self, data: Any) -> None:
        """In pieces, each of which may take as long as a stall may."""
        if self.sock is not None:
            self.guard.limit(self.sock, self.door.stall_timeout)
        try:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                super().send(data)
                return
            view = memoryview(data)
            for start in range(0, max(len(view), 1), _SEND_BYTES):
                super().send(view[start : start + _SEND_BYTES])
        except ssl.SSLError as error:  # an alert that came meanwhile
            raise Failed(Phase.ANSWER, error, reused=self._answers > 0) from None

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        timeout = self._patience()
        self.guard.expect_head(timeout)
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException, Stalled, Flooded, ValueError) as error:
            raise Failed(Phase.ANSWER, error, reused=self._answers > 0) from None
        self._answers += 1
        self.guard.expect_body()
        return response


class _WatchedTls(_Watched, HTTPSConnection):
    pass


def _pools(door: Door) -> dict[str, type[HTTPConnectionPool]]:
    """Classes of pools whose connections go through `door`: urllib3 makes its connections of classes."""
    plain = type("Plain", (_Watched,), {"door": door})
    encrypted = type("Encrypted", (_WatchedTls,), {"door": door})
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("EncryptedPool", (HTTPSConnectionPool,), {"ConnectionCls": encrypted}),
    }


class TrustedAdapter(HTTPAdapter):
    """requests' transport with our trust, through one door and at most one proxy.

    Used without requests' Session, which would read the environment and .netrc by itself, keep cookies,
    follow redirects by other rules than ours, and trust the certificates of certifi.
    """

    def __init__(self, door: Door, context: Callable[[], ssl.SSLContext], proxy: Proxy | None = None) -> None:
        self._door = door
        self._context = context
        self._proxy = proxy
        super().__init__(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_kwargs: Any) -> None:
        if self._proxy is None:
            self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        else:
            self.poolmanager = ProxyManager(
                str(self._proxy.url),
                num_pools=connections,
                maxsize=maxsize,
                block=block,
                proxy_headers={"Proxy-Authorization": self._proxy.authorization}
                if self._proxy.authorization
                else None,
                proxy_ssl_context=self._context() if self._proxy.url.scheme == "https" else None,
            )
        self.poolmanager.pool_classes_by_scheme = _pools(self._door)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        assert isinstance(request.url, str)
        url = urlsplit(request.url)
        encrypted = url.scheme == "https" or (self._proxy is not None and self._proxy.url.scheme == "https")
        trust = {"ssl_context": self._context()} if encrypted else None
        pool: HTTPConnectionPool = self.poolmanager.connection_from_host(
            url.hostname, url.port, url.scheme, pool_kwargs=trust
        )
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: requests would add certifi's certificates to our context."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        assert isinstance(request.url, str)
        if self._proxy is not None and request.url.startswith("http:"):
            return request.url
        return request.path_url
