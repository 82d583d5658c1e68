"""A Hugging Face Hub on 127.0.0.1, and the CDN that its large files lie with: enough for huggingface_hub to
download from, which tests/registry/remotes/test_hub_fake.py does, so that the fake is right.

What a real one says of a file: X-Repo-Commit, an ETag that is the git blob's sha1, and for large files (LFS) a
redirect to an address at a CDN that is signed and expires, with a linked ETag that is the sha256, and a linked
size. All that a test wants to be otherwise is an attribute of FakeHub; `override` can answer anything itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote

from tests.fakes.wire import Request, Server, Wire, reply, serve

COMMIT = "0123456789abcdef0123456789abcdef01234567"

Repositories = Mapping[str, Mapping[str, bytes]]
"""Files by their paths, by repositories ORG/NAME."""

Override = Callable[[Request], bytes | None]
"""An answer of a test's own, or None for the usual one."""

_CACHE = "api/resolve-cache/models"
LARGE = (".gguf", ".safetensors", ".onnx", ".onnx.data", ".bin", "tokenizer.json")
"""How the names of files end that the hub keeps with LFS."""


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(data: bytes) -> bytes:
    """What git itself holds of a large file."""
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


@dataclass
class FakeHub:
    """What the hub holds and how it behaves; may be changed while it serves.

    `tokens` are those that may see `private` repositories; `accepted` those that may also have files of `gated`
    ones. `moved` maps old names to new ones. `revisions` maps further branches to
    commits, and `at` has what repositories hold at commits that are not the newest. `blobs` is whether the revision says sizes and hashes.
    `page_size` counts the entries of a page of the tree. `signature` is part of each signed address: when it
    changes, all that were given before have expired. `served` has other bytes for files than were listed;
    `listed` further siblings as they stand in the JSON. `etag`, `linked_etag` and `cdn_etag` replace what is
    said of a path; None in them is no header. With `caches`, small files lie with the hub at another path.
    `delivered` has the path and the bytes of every body that the CDN sent.
    """

    repositories: dict[str, dict[str, bytes]]
    hub: Server = field(init=False)
    cdn: Server = field(init=False)
    commit: str = COMMIT
    tokens: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    at: dict[str, Repositories] = field(default_factory=dict)
    blobs: bool = True
    page_size: int = 1000
    signature: str = "1"
    ranges: bool = True
    caches: bool = True
    served: dict[str, bytes] = field(default_factory=dict)
    large: tuple[str, ...] = LARGE
    listed: list[dict[str, object]] = field(default_factory=list)
    etag: dict[str, str | None] = field(default_factory=dict)
    linked_etag: dict[str, str | None] = field(default_factory=dict)
    cdn_etag: dict[str, str | None] = field(default_factory=dict)
    delivered: list[tuple[str, int]] = field(default_factory=list)
    override: Override | None = None

    def is_large(self, path: str) -> bool:
        """Whether the hub keeps a file with LFS."""
        return path.endswith(self.large)

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT takes."""
        return self.hub.url

    @property
    def requests(self) -> list[Request]:
        """All requests to the hub."""
        return self.hub.requests

    def paths(self) -> list[str]:
        """What the hub was asked for: methods and paths."""
        return [f"{request.method} {request.path}" for request in self.requests]

    # The hub.

    def answer(self, request: Request, wire: Wire) -> None:
        own = self.override(request) if self.override else None
        wire.send(own if own is not None else self._answer(request))

    def _answer(self, request: Request) -> bytes:
        path = unquote(request.path).removeprefix("/")
        for old, new in self.moved.items():
            for prefix in (f"api/models/{old}/", f"{old}/resolve/"):
                if path.startswith(prefix):
                    return reply(307, b"", {"Location": request.target.replace(old, new, 1)})
        if found := re.fullmatch(r"api/models/([^/]+/[^/]+)(?:/(revision|tree|refs)(?:/(.+?))?)?", path):
            name, kind, revision = found[1], found[2] or "revision", found[3] or "main"
            refused = self._refusal(request, name, files=False)
            if refused is not None:
                return refused
            if kind == "refs":
                return self._json(request, self._refs())
            commit = self._commit_of(revision)
            if commit is None:
                return self._error(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return (
                self._tree(request, name, commit)
                if kind == "tree"
                else self._json(request, self._revision(request, name, commit))
            )
        if found := re.fullmatch(rf"{_CACHE}/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            return self._refusal(request, found[1], files=True) or self._file(
                request, found[1], found[3], found[2]
            )
        if found := re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            refused = self._refusal(request, found[1], files=True)
            commit = self._commit_of(found[2])
            if refused is None and commit is None:
                return self._error(request, 404, "RevisionNotFound", f"Invalid rev id: {found[2]}")
            small = found[3] in self.repositories.get(found[1], {}) and not self.is_large(found[3])
            if refused is None and small and self.caches:
                to = quote(f"/{_CACHE}/{found[1]}/{commit}/{found[3]}")
                return self._bodied(request, 307, b"", {"Location": to, "X-Repo-Commit": commit or ""})
            return refused or self._file(request, found[1], found[3], commit or "")
        return self._error(request, 404, "RepoNotFound", "Repository not found")

    def _refusal(self, request: Request, name: str, *, files: bool) -> bytes | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens | self.accepted:
            return self._error(request, 401, None, "Invalid credentials in Authorization header")
        known = name in self.repositories
        if not known or (name in self.private and not token):
            code = 404 if token else 401
            message = "Repository not found" if token else "Invalid username or password."
            return self._error(request, code, "RepoNotFound", message)
        if files and name in self.gated and token not in self.accepted:
            message = f"Access to model {name} is restricted."
            return self._error(request, 403 if token else 401, "GatedRepo", message)
        return None

    def _commit_of(self, revision: str) -> str | None:
        if revision in {"main", "v1.0", "feature/x"}:
            return self.commit
        commit = self.revisions.get(revision, revision)
        return commit if commit == self.commit or commit in self.at else None

    def _files(self, name: str, commit: str) -> Mapping[str, bytes]:
        return self.repositories[name] if commit == self.commit else self.at[commit][name]

    def _entries(self, name: str, commit: str) -> list[tuple[str, bytes]]:
        return sorted(self._files(name, commit).items())

    def _revision(self, request: Request, name: str, commit: str) -> dict[str, object]:
        blobs = self.blobs and "blobs=true" in request.target
        siblings: list[dict[str, object]] = []
        for path, data in self._entries(name, commit):
            entry: dict[str, object] = {"rfilename": path}
            if blobs:
                stored = pointer(data) if self.is_large(path) else data
                entry |= {"size": len(data), "blobId": git_sha1(stored)}
            if blobs and self.is_large(path):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": len(pointer(data))}
            siblings.append(entry)
        return {
            "_id": "0" * 24,
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": name in self.private,
            "gated": "auto" if name in self.gated else False,
            "disabled": False,
            "tags": [],
            "siblings": [*siblings, *self.listed],
        }

    def _refs(self) -> dict[str, object]:
        def ref(kind: str, name: str) -> dict[str, str]:
            return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": self.commit}

        return {
            "branches": [ref("heads", "main"), ref("heads", "feature/x")],
            "tags": [ref("tags", "v1.0")],
            "converts": [],
        }

    def _tree(self, request: Request, name: str, commit: str) -> bytes:
        entries: list[dict[str, object]] = []
        folders: set[str] = set()
        for path, data in self._entries(name, commit):
            for at in [at for at, character in enumerate(path) if character == "/"]:
                if path[:at] not in folders:
                    folders.add(path[:at])
                    entries.append({"type": "directory", "oid": git_sha1(b""), "size": 0, "path": path[:at]})
            stored = pointer(data) if self.is_large(path) else data
            entry: dict[str, object] = {
                "type": "file",
                "oid": git_sha1(stored),
                "size": len(data),
                "path": path,
            }
            if self.is_large(path):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": len(stored)}
            entries.append(entry)
        first = int(parse_qs(request.target.partition("?")[2]).get("cursor", ["0"])[0])
        page = entries[first : first + self.page_size]
        headers = {}
        if first + self.page_size < len(entries):
            query = f"recursive=true&cursor={first + self.page_size}"
            headers["Link"] = f'<{self.endpoint}{request.path}?{query}>; rel="next"'
        return self._json(request, page, headers)

    def _file(self, request: Request, name: str, path: str, commit: str) -> bytes:
        data = self._files(name, commit).get(path)
        if data is None:
            return self._error(request, 404, "EntryNotFound", "Entry not found")
        large = self.is_large(path)
        stored = pointer(data) if large else data
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        etag = self.etag.get(path, f'"{git_sha1(stored)}"')
        if etag is not None:
            headers["ETag"] = etag
        if not large:
            return self._ranged(request, self.served.get(path, data), headers)
        linked = self.linked_etag.get(path, f'"{hashlib.sha256(data).hexdigest()}"')
        if linked is not None:
            headers["X-Linked-ETag"] = linked
        headers["X-Linked-Size"] = str(len(data))
        query = f"Commit={commit}&Signature={self.signature}"
        headers["Location"] = f"{self.cdn.url}/{quote(name)}/{quote(path)}?{query}"
        return self._bodied(request, 302, b"Found. Redirecting", headers)

    def _error(self, request: Request, status: int, code: str | None, message: str) -> bytes:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        return self._bodied(request, status, json.dumps({"error": message}).encode(), headers)

    def _json(self, request: Request, value: object, headers: Mapping[str, str] | None = None) -> bytes:
        return self._bodied(
            request, 200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    # The CDN.

    def deliver(self, request: Request, wire: Wire) -> None:
        own = self.override(request) if self.override else None
        answer = own if own is not None else self._deliver(request)
        self.delivered.append((unquote(request.path), len(answer.partition(b"\r\n\r\n")[2])))
        wire.send(answer)

    def _deliver(self, request: Request) -> bytes:
        query = parse_qs(request.target.partition("?")[2])
        if query["Signature"] != [self.signature]:
            return self._bodied(request, 403, b"<Error><Code>AccessDenied</Code></Error>", {})
        organisation, name, path = unquote(request.path).removeprefix("/").split("/", 2)
        data = self._files(f"{organisation}/{name}", query["Commit"][0])[path]
        headers = {"Accept-Ranges": "bytes"}
        etag = self.cdn_etag.get(path, f'"{hashlib.md5(data).hexdigest()}"')
        if etag is not None:
            headers["ETag"] = etag
        return self._ranged(request, self.served.get(path, data), headers)

    # Both.

    def _ranged(self, request: Request, data: bytes, headers: Mapping[str, str]) -> bytes:
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", request.headers.get("range", ""))
        condition = request.headers.get("if-range")
        if wanted is None or not self.ranges or condition not in {None, headers.get("ETag")}:
            return self._bodied(request, 200, data, headers)
        first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
        if first >= len(data):
            return self._bodied(request, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
        part = data[first : last + 1]
        described = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}
        return self._bodied(request, 206, part, {**headers, **described})

    def _bodied(self, request: Request, status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
        if request.method == "HEAD":
            return reply(status, b"", headers, length=len(body))
        return reply(status, body, headers)


@contextmanager
def serve_hub(repositories: Repositories) -> Iterator[FakeHub]:
    """Serve the repositories until the block ends."""
    fake = FakeHub({name: dict(files) for name, files in repositories.items()})
    with serve(fake.answer) as fake.hub, serve(fake.deliver) as fake.cdn:
        yield fake


@contextmanager
def hub(repositories: Repositories) -> Iterator[str]:
    """Serve the repositories; gives what HF_ENDPOINT takes."""
    with serve_hub(repositories) as fake:
        yield fake.endpoint
