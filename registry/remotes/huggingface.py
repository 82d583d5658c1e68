"""The Hugging Face Hub: repositories of files, each file verified by what the hub's listing says of it.

Large files (LFS) have a sha256 there and lie with a CDN, to which the hub redirects with an address that is
signed and expires; the others have a git blob sha1 and come from the hub itself. The token goes to the hub's
origin and to no other. Source: formats.md 4.5; the Hub's API documentation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import quote

from registry.errors import BadContent, DigestMismatch, NotFound, SizeMismatch
from registry.formats.quote import quoted
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import ModelRef
from registry.remotes.base import Blob, HubFile, Listing
from registry.remotes.http import HttpClient
from registry.remotes.hub_connection import HubConnection
from registry.remotes.hub_documents import MAX_FILES, checked_files, read_refs, read_revision, read_tree
from registry.remotes.hub_files import HubFiles, Wish
from registry.remotes.hub_refusals import HubAccess
from registry.remotes.ranges import RangedBody, range_headers, ranged_body
from registry.remotes.retry import OnWait, Patience, patient, silent

__all__ = ["HubAccess", "HuggingFaceRemote", "blob_of", "git_blob_sha1"]

MAIN = "main"
POINTER = b"version https://git-lfs.github.com/spec/"

_MAX_PAGES = 1000
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


class HuggingFaceRemote:
    """One repository of the hub: a `registry.remotes.base.FileRemote`.

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
        self._connection = HubConnection(http, access, patience or Patience(), on_wait)
        self._files = HubFiles(self._connection)
        self._repository = repository
        self._commit: str | None = None

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
        path = f"/api/models/{self._repository}/revision/{quote(wanted, safe='')}?blobs=true"
        revision = read_revision(self._document(path, f"the revision {wanted!r:.120}")[0])
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
            what = f"The file {quoted(file.path)} of {self.shown}"
            raise SizeMismatch(f"{what} has {file.size} bytes; {limit} are read.")
        connection = self._connection
        return patient(lambda: self._read_file(file), connection.patience, connection.on_wait)

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> RangedBody:
        """As `registry.remotes.base.BlobSource.open`; `blob.location` is the file's path."""
        headers = range_headers(start, stop, blob.size, validator)
        answer = self._files.get(self._wish(blob.location, blob.digest.hex, blob.size), headers)
        try:
            shown = f"The file {quoted(blob.location, 120)} of {self.shown}"
            return ranged_body(
                answer, start=start, stop=stop, size=blob.size, validator=validator, shown=shown
            )
        except BaseException:
            answer.close()
            raise

    def _wish(self, path: str, sha256: str | None, size: int) -> Wish:
        assert self._commit is not None, "resolve comes first"
        return Wish(repository=self._repository, commit=self._commit, path=path, sha256=sha256, size=size)

    def _read_file(self, file: HubFile) -> bytes:
        sha256 = file.sha256.hex if file.sha256 else None
        with self._files.get(self._wish(file.path, sha256, file.size), {}) as answer:
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
        seen: set[str] = set()
        while path not in seen and len(seen) < _MAX_PAGES:
            seen.add(path)
            raw, link = self._document(path, "the list of files")
            files += read_tree(raw)
            if len(files) > MAX_FILES or link is None:
                return checked_files(files)
            path = link
        raise BadContent(f"The hub's list of the files of {self.shown} has no end.")

    def _document(self, path: str, what: str) -> tuple[bytes, str | None]:
        return self._connection.document(path, repository=self._repository, what=what)


def git_blob_sha1(data: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def blob_of(file: HubFile) -> Blob:
    """A large file as something to download. Raises BadContent for one whose sha256 nobody knows yet."""
    if file.sha256 is None:
        raise BadContent(f"The sha256 of {quoted(file.path)} is not known; it must be read first.")
    return Blob(digest=file.sha256, size=file.size, location=file.path)
