"""The Hugging Face Hub: repositories of files, each file verified by what the hub's listing says of it.

Large files (LFS) have a sha256 there and lie with a CDN, to which the hub redirects with an address that is
signed and expires; the others have a git blob sha1 and come from the hub itself. The token goes to the hub's
origin and to no other. Source: formats.md 4.5; the Hub's API documentation.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from registry.errors import (
    BadContent,
    DigestMismatch,
    NotFound,
    SizeMismatch,
    Unauthorized,
    Unreachable,
    UsageError,
)
from registry.formats.quote import quoted
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import ModelRef
from registry.remotes.base import Blob, HubFile, Listing
from registry.remotes.http import Answer, HttpClient
from registry.remotes.hub_documents import (
    MAX_DOCUMENT_BYTES,
    MAX_FILES,
    checked_files,
    next_page,
    read_refs,
    read_revision,
    read_tree,
)
from registry.remotes.hub_refusals import HubAccess, refusal
from registry.remotes.ranges import RangedBody, range_headers, ranged_body
from registry.remotes.retry import OnWait, Patience, patient, silent
from registry.remotes.urls import BadUrl, Url, join, parse

__all__ = ["HubAccess", "HuggingFaceRemote"]

MAIN = "main"
POINTER = b"version https://git-lfs.github.com/spec/"

_MAX_STEPS = 5
_MAX_PAGES = 1000
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_HASH = re.compile(r'(?:W/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class _Signed:
    """An address at a CDN, and the hub's answer that gave it."""

    key: str
    url: str
    given_by: Answer


class HuggingFaceRemote:
    """One repository of the hub; a `registry.remotes.base.Remote` whose `resolve` gives a Listing.

    `open` and `read_file` ask for files of the commit that was resolved last. Small requests are repeated
    with `patience`; `open` is not, since who downloads has patience of its own.
    """

    def __init__(
        self,
        http: HttpClient,
        access: HubAccess,
        repository: str,
        *,
        patience: Patience | None = None,
        on_wait: OnWait = silent,
    ) -> None:
        try:
            self._endpoint = parse(access.endpoint.rstrip("/"))
        except BadUrl as error:
            raise UsageError(
                f"HF_ENDPOINT cannot be asked: {error}.", hint="It is an http or https address."
            ) from None
        self._base = str(self._endpoint).rstrip("/")
        self._http = http
        self._access = access
        self._repository = repository
        self._patience = patience or Patience()
        self._on_wait = on_wait
        self._commit: str | None = None
        self._kept: dict[str, _Signed] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def shown(self) -> str:
        return f"hf.co/{self._repository}"

    @property
    def repository(self) -> str:
        """`org/repo`: as it is called now, once it was resolved."""
        return self._repository

    def resolve(self, ref: ModelRef) -> Listing:
        """All files at the commit that `ref` means now."""
        wanted = ref.revision or MAIN
        what = f"the revision {wanted!r:.120}"
        path = f"/api/models/{self._repository}/revision/{quote(wanted, safe='')}?blobs=true"
        revision = read_revision(self._document(path, what)[0])
        if _COMMIT.fullmatch(wanted) and revision.commit != wanted:
            raise BadContent(f"The hub gives the commit {revision.commit} of {self.shown} for {wanted}.")
        if revision.id is not None:
            self._repository = revision.id
        files = revision.files if revision.files is not None else self._tree(revision.commit)
        self._commit = revision.commit
        selector = f":{ref.tag}" if ref.tag else ""
        return Listing(
            pinned=f"hf://{self._repository}@{revision.commit}{selector}",
            commit=revision.commit,
            selector=ref.tag,
            files=files,
        )

    def tags(self) -> Sequence[str]:
        """The branches and tags of the repository: what may stand behind `@`."""
        raw, _ = self._document(f"/api/models/{self._repository}/refs", "the list of branches and tags")
        return read_refs(raw)

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        raise NotFound(f"{self.shown} holds files and no manifests.")

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        raise NotFound(f"{self.shown} holds files, which are asked for by their paths.")

    def read_file(self, file: HubFile, limit: int) -> bytes:
        """A small file as bytes, checked against its size and its sha256 or git sha1.

        Raises SizeMismatch beyond `limit` bytes, DigestMismatch, and as `resolve`.
        """
        if file.size > limit:
            raise SizeMismatch(
                f"The file {quoted(file.path)} of {self.shown} has {file.size} bytes; {limit} are read."
            )
        return patient(lambda: self._read_file(file), self._patience, self._on_wait)

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> RangedBody:
        """As `registry.remotes.base.BlobSource.open`; `blob.location` is the file's path."""
        headers = range_headers(start, stop, blob.size, validator)
        answer = self._fetch(blob.location, headers, sha256=blob.digest.hex, size=blob.size)
        try:
            self._check_success(answer, blob.location)
            shown = f"The file {quoted(blob.location, 120)} of {self.shown}"
            return ranged_body(
                answer, start=start, stop=stop, size=blob.size, validator=validator, shown=shown
            )
        except BaseException:
            answer.close()
            raise

    def _read_file(self, file: HubFile) -> bytes:
        sha256 = file.sha256.hex if file.sha256 else None
        with self._fetch(file.path, {}, sha256=sha256, size=file.size) as answer:
            self._check_success(answer, file.path)
            data = answer.read(max(file.size, 1024))
        self._check(file, data)
        return data

    def _check(self, file: HubFile, data: bytes) -> None:
        shown = f"The file {quoted(file.path, 120)} of {self.shown}"
        if file.sha256 is not None and data.startswith(POINTER):
            raise DigestMismatch(f"{shown} came as a Git LFS pointer and not as what it points at.")
        if len(data) != file.size:
            raise SizeMismatch(f"{shown} has {len(data)} bytes, and should have {file.size}.")
        if file.sha256 is not None:
            found, expected = hashlib.sha256(data).hexdigest(), file.sha256.hex
        else:
            found, expected = git_blob_sha1(data), file.git_sha1 or ""
        if found != expected:
            raise DigestMismatch(f"{shown} has the hash {found}, and should have {expected}.")

    def _tree(self, commit: str) -> tuple[HubFile, ...]:
        """All files, from the list that comes in pages."""
        path = f"/api/models/{self._repository}/tree/{commit}?recursive=true"
        files: list[HubFile] = []
        for _ in range(_MAX_PAGES):
            raw, link = self._document(path, "the list of files")
            files += read_tree(raw)
            if len(files) > MAX_FILES or link is None:
                return checked_files(files)
            path = link
        raise BadContent(f"The hub's list of the files of {self.shown} has no end.")

    def _document(self, path: str, what: str) -> tuple[bytes, str | None]:
        """A document of the hub's API, and the path of its next page. Nobody else may answer for it."""

        def ask() -> tuple[bytes, str | None]:
            with self._from_hub(f"{self._base}{path}", {}) as answer:
                if answer.status in _REDIRECTS:
                    raise Unreachable(f"The hub sends us for {what} of {self.shown} to another server.")
                if answer.status != 200:
                    raise refusal(answer, repository=self._repository, what=what, access=self._access)
                link = next_page(", ".join(answer.values("link")))
                return answer.read(MAX_DOCUMENT_BYTES), None if link is None else self._own(answer, link)

        return patient(ask, self._patience, self._on_wait)

    def _own(self, answer: Answer, link: str) -> str:
        """The path of a page; raises BadContent unless it is the hub's own."""
        try:
            url = join(answer.way.url, link)
        except BadUrl as error:
            raise BadContent(f"The hub gives an address for its next page that cannot be: {error}.") from None
        base = Url(url.scheme, url.host, url.port, self._endpoint.target.rstrip("/"))
        if url.origin != self._endpoint.origin or not str(url).startswith(f"{base!s}/"):
            raise BadContent(
                f"The hub says that its list of files goes on at {url.place}, which is not the hub."
            )
        return str(url).removeprefix(self._base)

    def _fetch(self, path: str, headers: dict[str, str], *, sha256: str | None, size: int) -> Answer:
        """Ask for a file: at the address that is known, else at the one that the hub gives; anew once."""
        stale: _Signed | None = None
        for last in (False, True):
            signed = self._address(path, headers, stale, sha256=sha256, size=size)
            if isinstance(signed, Answer):
                return signed
            try:
                answer = self._http.send("GET", signed.url, headers=headers, came_from=signed.given_by)
            except Unreachable:
                self._forget(signed)
                raise
            if answer.status not in _EXPIRED or last:
                break
            answer.close()
            stale = signed
        return answer

    def _address(
        self, path: str, headers: dict[str, str], stale: _Signed | None, *, sha256: str | None, size: int
    ) -> _Signed | Answer:
        """Where the file lies: as it is known, unless that is `stale`, else as the hub says; the hub's answer
        itself when the file lies there. Who asks for one file at the same time waits for the first."""
        assert self._commit is not None, "resolve comes first"
        key = f"{self._commit}/{path}"
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:
            kept = self._kept.get(key)
            if kept is not None and kept is not stale:
                return kept
            answer = self._from_hub(f"{self._base}/{self._repository}/resolve/{quote(key)}", headers)
            if answer.status not in _REDIRECTS:
                return answer
            with answer:
                self._check_linked(answer, path, sha256, size)
                signed = _Signed(key=key, url=str(self._target(answer)), given_by=answer)
                answer.discard()
            self._kept[key] = signed
            return signed

    def _forget(self, signed: _Signed) -> None:
        with self._lock:
            if self._kept.get(signed.key) is signed:
                del self._kept[signed.key]

    def _from_hub(self, url: str, headers: dict[str, str]) -> Answer:
        """Ask the hub itself, following what it says as long as that stays with the hub."""
        if self._access.offline is not None:
            raise Unreachable(
                f"{self._endpoint.place} was not asked because {self._access.offline}.",
                hint="What is in the store still runs.",
            )
        authorization = self._access.authorization
        answer = self._http.send("GET", url, headers=headers, authorization=authorization, follow=False)
        for _ in range(_MAX_STEPS):
            if answer.status not in _REDIRECTS:
                return answer
            target = self._target(answer)
            if target.origin != self._endpoint.origin:
                return answer
            answer.discard()
            answer = self._http.send(
                "GET",
                str(target),
                headers=headers,
                authorization=authorization,
                follow=False,
                came_from=answer,
            )
        if answer.status in _REDIRECTS:
            answer.close()
            raise Unreachable(f"The hub redirects more than {_MAX_STEPS} times for {self.shown}.")
        return answer

    def _target(self, answer: Answer) -> Url:
        locations = set(answer.values("location"))
        try:
            if len(locations) != 1:
                raise BadUrl("it names none, or several")
            return join(answer.way.url, locations.pop())
        except BadUrl as error:
            answer.close()
            raise Unreachable(f"The hub redirects to an address that cannot be followed: {error}.") from None

    def _check_linked(self, answer: Answer, path: str, sha256: str | None, size: int) -> None:
        """What the hub says of the file with its redirect is what its listing said, as far as it says it."""
        tag = _HASH.fullmatch(answer.headers.get("x-linked-etag", ""))
        length = answer.headers.get("x-linked-size", "")
        other_hash = tag is not None and len(tag[1]) == 64 and sha256 is not None and tag[1] != sha256
        other_size = length.isascii() and length.isdigit() and int(length[:20]) != size
        if other_hash or other_size:
            raise DigestMismatch(
                f"The hub has another file {quoted(path, 120)} in {self.shown} than it listed.",
                hint="Try again; if it stays so, tell the repository's owner.",
            )

    def _check_success(self, answer: Answer, path: str) -> None:
        if answer.status in {200, 206}:
            return
        what = f"the file {quoted(path, 120)}"
        if answer.status == 416:
            raise SizeMismatch(f"{self.shown} has fewer bytes of {what} than its listing says.")
        if answer.way.url.origin != self._endpoint.origin and answer.status in _EXPIRED:
            raise Unauthorized(
                f"{answer.way.url.place}, where the hub sends us for {what} of {self.shown}, refuses it twice"
                f" (it answered {answer.status}).",
                hint="Check this machine's clock and proxy, and try again.",
            )
        raise refusal(answer, repository=self._repository, what=what, access=self._access)


def git_blob_sha1(data: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def blob_of(file: HubFile) -> Blob:
    """A large file as something to download. Raises BadContent for one whose sha256 nobody knows yet."""
    if file.sha256 is None:
        raise BadContent(f"The sha256 of {quoted(file.path)} is not known; it must be read first.")
    return Blob(digest=file.sha256, size=file.size, location=file.path)


def at_revision(ref: ModelRef, commit: str) -> ModelRef:
    """The same reference, pinned."""
    return replace(ref, revision=commit)
