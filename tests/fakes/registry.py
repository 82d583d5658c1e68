"""A small registry in memory that keeps to the OCI distribution specification, until a test tells it not to.

`tricks` are asked before it: a trick gets the request and gives the bytes of an answer, or None to let the next
one, and at last the registry itself, answer. It passes the same conformance suite as the real ones.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qs

from tests.fakes.wire import Request, Server, Wire, reply, serve

Trick = Callable[[Request], bytes | None]

_PATH = re.compile(r"/v2/(.+)/(manifests|blobs/uploads|blobs|tags/list|referrers)/?([^/]*)")


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def error(status: int, code: str, message: str = "a test") -> bytes:
    """An answer with the specification's document for errors."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return reply(status, body, {"Content-Type": "application/json"})


@dataclass
class FakeRegistry:
    """`manifests` by repository and reference, with media types; `blobs` by repository and digest.

    `has_referrers` says whether it knows the referrers API; `page` is how many tags it lists at once.
    """

    server: Server
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tricks: list[Trick] = field(default_factory=list)
    has_referrers: bool = True
    page: int = 100
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def requests(self) -> list[Request]:
        return self.server.requests

    def put(self, repository: str, raw: bytes, media_type: str, tag: str | None = None) -> str:
        """A manifest, as its author would put it."""
        digest = digest_of(raw)
        for reference in (digest, tag):
            if reference is not None:
                self.manifests[repository, reference] = (raw, media_type)
        return digest

    def put_blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[repository, digest] = data
        return digest

    def answer(self, request: Request) -> bytes:
        """What the registry itself says."""
        if request.path in {"/v2", "/v2/"}:
            return reply(200, b"{}")
        found = _PATH.fullmatch(request.path)
        if found is None:
            return error(404, "NAME_UNKNOWN")
        repository, kind, reference = found.groups()
        query = {name: values[-1] for name, values in parse_qs(request.target.partition("?")[2]).items()}
        with self._lock:
            match kind:
                case "manifests":
                    return self._manifest(request, repository, reference)
                case "blobs":
                    return self._blob(request, repository, reference)
                case "tags/list":
                    return self._tags(repository, query)
                case "referrers":
                    return self._referrers(repository, reference, query)
                case _:
                    return self._upload(request, repository, reference, query)

    def _manifest(self, request: Request, repository: str, reference: str) -> bytes:
        if request.method == "PUT":
            media_type = request.headers.get("content-type", "")
            tag = None if reference.startswith("sha256:") else reference
            digest = self.put(repository, request.body, media_type, tag)
            headers = {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/manifests/{digest}"}
            subject = json.loads(request.body).get("subject")
            if self.has_referrers and subject:
                headers["OCI-Subject"] = subject["digest"]
            return reply(201, b"", headers)
        known = self.manifests.get((repository, reference))
        if known is None:
            return error(404, "MANIFEST_UNKNOWN")
        raw, media_type = known
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(raw)}
        return _head(request, reply(200, raw, headers))

    def _blob(self, request: Request, repository: str, digest: str) -> bytes:
        data = self.blobs.get((repository, digest))
        if data is None:
            return error(404, "BLOB_UNKNOWN")
        return ranged(request, data)

    def _tags(self, repository: str, query: dict[str, str]) -> bytes:
        tags = sorted(tag for name, tag in self.manifests if name == repository and ":" not in tag)
        if not tags:
            return error(404, "NAME_UNKNOWN")
        count = min(self.page, int(query.get("n", "100")))
        rest = [tag for tag in tags if tag > query.get("last", "")]
        headers = {}
        if len(rest) > count:
            headers["Link"] = f'</v2/{repository}/tags/list?n={count}&last={rest[count - 1]}>; rel="next"'
        return reply(200, json.dumps({"name": repository, "tags": rest[:count]}).encode(), headers)

    def _referrers(self, repository: str, digest: str, query: dict[str, str]) -> bytes:
        if not self.has_referrers:
            return error(404, "UNSUPPORTED")
        found = {}
        for (name, _), (raw, media_type) in self.manifests.items():
            document = json.loads(raw)
            if name == repository and document.get("subject", {}).get("digest") == digest:
                found[digest_of(raw)] = {
                    "mediaType": media_type,
                    "digest": digest_of(raw),
                    "size": len(raw),
                    "artifactType": document.get("artifactType"),
                }
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(found.values())}
        return reply(200, json.dumps(index).encode(), {"Content-Type": INDEX})

    def _upload(self, request: Request, repository: str, key: str, query: dict[str, str]) -> bytes:
        if request.method == "POST":
            if data := self.blobs.get((query.get("from", ""), query.get("mount", ""))):
                self.blobs[repository, query["mount"]] = data
                return reply(201, b"", {"Location": f"/v2/{repository}/blobs/{query['mount']}"})
            key = f"upload-{next(self._numbers)}"
            self.uploads[key] = bytearray()
            return reply(202, b"", self._session(repository, key))
        if key not in self.uploads:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        held = self.uploads[key]
        if request.method == "GET":
            return reply(204, b"", self._session(repository, key), length=None)
        if request.method == "DELETE":
            del self.uploads[key]
            return reply(204, b"", length=None)
        if span := request.headers.get("content-range"):
            first, _, last = span.partition("-")
            if int(first) != len(held) or int(last) - int(first) + 1 != len(request.body):
                return reply(416, b"", self._session(repository, key))
        held += request.body
        if request.method == "PATCH":
            return reply(202, b"", self._session(repository, key))
        del self.uploads[key]
        if digest_of(bytes(held)) != query.get("digest"):
            return error(400, "DIGEST_INVALID")
        self.blobs[repository, query["digest"]] = bytes(held)
        return reply(201, b"", {"Location": f"/v2/{repository}/blobs/{query['digest']}"})

    def _session(self, repository: str, key: str) -> dict[str, str]:
        size = len(self.uploads[key])
        headers = {"Location": f"/v2/{repository}/blobs/uploads/{key}"}
        return {**headers, "Range": f"0-{max(size - 1, 0)}"}


INDEX = "application/vnd.oci.image.index.v1+json"


def ranged(request: Request, data: bytes, etag: str | None = None) -> bytes:
    """An answer with all of `data`, or the range that was asked for."""
    etag = etag or f'"{digest_of(data)}"'
    headers = {"Content-Type": "application/octet-stream", "ETag": etag, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", etag) != etag:
        return _head(request, reply(200, data, headers))
    first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
    if first >= len(data):
        return reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return reply(206, data[first : last + 1], headers)


def _head(request: Request, whole: bytes) -> bytes:
    return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else whole


@contextmanager
def fake_registry(
    *tricks: Trick, host: str = "127.0.0.1", shown_host: str | None = None
) -> Iterator[FakeRegistry]:
    """One that serves until the block ends; see `tests.fakes.wire.serve`."""
    made: list[FakeRegistry] = []

    def script(request: Request, wire: Wire) -> None:
        registry = made[0]
        for trick in registry.tricks:
            if (said := trick(request)) is not None:
                break
        else:
            said = registry.answer(request)
        if said:
            wire.send(said)
        else:
            wire.reset()  # a trick that gives nothing cuts the connection

    with serve(script, host=host, shown_host=shown_host) as server:
        made.append(FakeRegistry(server=server, tricks=list(tricks)))
        yield made[0]
