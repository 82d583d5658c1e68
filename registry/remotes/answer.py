"""An answer of a server: its head is here; its body is read when asked for, never more than is allowed."""

from __future__ import annotations

import http.client
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from registry.errors import BadContent, SizeMismatch, Unreachable
from registry.remotes.addresses import Scope, scope_of_host
from registry.remotes.guard import Guard, Stalled, TooLate
from registry.remotes.mishaps import Way, interrupted, proxy_denied
from registry.remotes.network import HttpSettings
from registry.remotes.retry import retry_after

_PIECE = 512 * 1024
_DISCARD = 64 * 1024
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


class Headers(Mapping[str, str]):
    """Headers by name in any case; the first of several counts, `Answer.values` has all."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._all: dict[str, list[str]] = {}
        for name, value in pairs:
            self._all.setdefault(name.lower(), []).append(value.strip())

    def __getitem__(self, name: str) -> str:
        return self._all[name.lower()][0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def values_of(self, name: str) -> tuple[str, ...]:
        return tuple(self._all.get(name.lower(), ()))


class Answer:
    """Any status; a context manager that closes the connection, or keeps it where the body was read.

    `length` is what Content-Length says in bytes, None where it says nothing; `scope` is where the server
    lies.
    """

    def __init__(
        self, raw: HTTPResponse, way: Way, settings: HttpSettings, method: str, *, seen_through: bool
    ) -> None:
        self._raw = raw
        self._settings = settings
        self.way = way
        self.status = raw.status
        self.headers = Headers(list(raw.headers.iteritems()))
        connection = raw.connection
        self._guard: Guard | None = getattr(connection, "guard", None)
        own: Scope = getattr(connection, "scope", Scope.PUBLIC)
        self.scope = own if seen_through else scope_of_host(way.url.host)
        try:
            self.length = self._declared_length()
            if way.proxy is not None and self._is_denied():
                raise proxy_denied(way)
            if self.status < 200:
                raise Unreachable(f"{way} answered {self.status}, which is no end of an answer.")
            self._has_body = method != "HEAD" and self.status not in {204, 304}
            if not self._has_body:
                self._read(1)  # so that the connection can be used again
        except BaseException:
            raw.close()
            raise

    @property
    def url(self) -> str:
        """Where the answer came from, after redirects."""
        return str(self.way.url)

    @property
    def redirects(self) -> tuple[str, ...]:
        """The addresses that led here, in order."""
        return tuple(str(url) for url in self.way.came)

    def __repr__(self) -> str:
        return f"<Answer {self.status} from {self.way.url.shown}>"

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a header."""
        return self.headers.values_of(name)

    def retry_after(self) -> float | None:
        """How many seconds the server asks to wait, None where it says nothing that can be read."""
        return retry_after(self.headers.get("retry-after"), now=time.time())

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body as it came over the wire, at most `limit` bytes.

        Raises TryAgain when it stalls or ends early, SizeMismatch when there is more than `limit`.
        """
        if not self._has_body:
            return
        if self.length is not None and self.length > limit:
            raise self._too_long(limit)
        taken = 0
        while piece := self._read(min(_PIECE, limit + 1 - taken)):
            taken += len(piece)
            if taken > limit:
                raise self._too_long(limit)
            yield piece
        if self.length is not None and taken < self.length:
            raise interrupted(self.way, ConnectionResetError(), f"after {taken} of {self.length} bytes")

    def read(self, limit: int, *, within: float | None = None) -> bytes:
        """The whole body of a small document, decoded; at most `limit` decoded bytes.

        `within` bounds the whole in seconds. Raises as `chunks`, and BadContent for what cannot be decoded.
        """
        if self._guard is not None:
            self._guard.end = time.monotonic() + (within or self._settings.document_timeout)
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding in {"", "identity"}:
            return b"".join(self.chunks(limit))
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise BadContent(
                f"{self.way} sent a document in the encoding {encoding!r:.30}, which nobody asked for."
            )
        return self._decoded(limit)

    def document(self, limit: int, *, within: float | None = None) -> bytes:
        """As `read`, where JSON or the like is expected.

        Raises Unreachable for a web page: a hotel's network answers 200 with its login page to everything.
        """
        body = self.read(limit, within=within)
        start = body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        is_page = self.headers.get("content-type", "").lower().startswith("text/html")
        if is_page or start.startswith((b"<!doctype html", b"<html", b"<head")):
            raise Unreachable(
                f"{self.way} answered with a web page instead of a document.",
                hint="If this network wants you to log in first, do that in a browser; else check the host.",
            )
        return body

    def discard(self) -> None:
        """Have done with the body: a short one is read, so that the connection can be used again."""
        try:
            if self.length is not None and self.length <= _DISCARD:
                for _ in self.chunks(_DISCARD):
                    pass
        except (Unreachable, BadContent):
            pass
        self.close()

    def close(self) -> None:
        if not self._raw.closed:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, size: int) -> bytes:
        try:
            return self._raw.read1(size, decode_content=False) or b""
        except (HTTPError, OSError, http.client.HTTPException, Stalled, TooLate, ValueError) as error:
            raise interrupted(self.way, error, "in the middle of its answer") from None

    def _decoded(self, limit: int) -> bytes:
        decoder = zlib.decompressobj(wbits=47)  # gzip and zlib alike
        whole = bytearray()
        for piece in self.chunks(limit + 64 * 1024):
            data = piece
            try:
                while data and not decoder.eof:
                    whole += decoder.decompress(data, limit + 1 - len(whole))
                    if len(whole) > limit:
                        raise self._too_long(limit)
                    data = decoder.unconsumed_tail
            except zlib.error:
                raise BadContent(f"{self.way} sent a document that cannot be decompressed.") from None
            if decoder.unused_data:
                raise BadContent(f"{self.way} sent a compressed document with something behind it.")
        if not decoder.eof:
            raise BadContent(f"{self.way} sent a compressed document that ends too early.")
        return bytes(whole)

    def _declared_length(self) -> int | None:
        values = {part.strip() for value in self.values("content-length") for part in value.split(",")}
        if not values or "transfer-encoding" in self.headers:
            return None
        if len(values) > 1 or not _LENGTH.fullmatch(value := values.pop()):
            raise BadContent(f"{self.way} does not say clearly how long its answer is.")
        return int(value)

    def _is_denied(self) -> bool:
        """Whether it is the proxy that refuses. To a wrong password tinyproxy says 401, as a server would."""
        own = "via" not in self.headers and self.headers.get("server", "").startswith("tinyproxy")
        return self.status == 407 or (self.status == 401 and own)

    def _too_long(self, limit: int) -> SizeMismatch:
        return SizeMismatch(f"{self.way} sends more than the {limit} bytes that were expected.")
