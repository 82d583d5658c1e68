"""What every place where models live looks like: the protocol that pull, push and repair speak.

A remote is bound to one repository and may be used by several threads at once. A place either holds
artifacts (OCI registries, Ollama's, bundles): a tree of documents and blobs that begins at a manifest or an
index; or it holds files (the Hugging Face Hub), from which `slmctl.app` makes a tree of the same kind.
Whoever brings bytes is not believed: manifests and small blobs are hashed here, large blobs by the transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from registry.digest import Digest
from registry.errors import BadContent, Unreachable
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import ModelRef


class TryAgain(Unreachable):
    """It failed this time, and may not the next: a connection cut, a stall, 408, 429, 500, 502, 503, 504.

    `after` is what the server asked to wait, in seconds, or None. Whoever has patience catches it; for others
    it is an Unreachable like any.
    """

    def __init__(self, message: str, *, hint: str | None = None, after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Changed(BadContent):
    """What is behind a blob's address is no longer what it was when its first part was fetched."""

    code = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes that a remote has. `location` is what it calls them where that is not their digest: the path of
    a file in a repository. `size` is in bytes."""

    digest: Digest
    size: int
    location: str = ""


class Body(Protocol):
    """The bytes of an answer, as they come. Close it; what was not read is not waited for.

    `start` is the offset of its first byte in the blob: 0 where the remote ignored the range that was asked
    for. `validator` names the content's state (a strong ETag), None where the remote gives none.
    """

    start: int
    validator: str | None

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of any size. Raises TryAgain when the connection fails or stalls, and when it ends early;
        never gives more than was asked for."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BlobSource(Protocol):
    """Where the bytes of blobs are had: a remote, or one of its mirrors."""

    @property
    def shown(self) -> str:
        """What messages call it: `registry.ollama.ai/library/qwen3`."""

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> Body:
        """Ask for the bytes from `start` up to `stop`, which is not included.

        With `validator`, only if the content is still in that state. Redirects, expired addresses and tokens
        are the remote's own affair. Raises TryAgain, Changed, NotFound, Unauthorized, Unreachable and
        BadContent.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a reference names in a place of artifacts: a manifest or an index, whose bytes were checked.

    `pinned` is a reference that always means this: `oci://host/path:tag@sha256:...`.
    """

    pinned: str
    root: Descriptor
    document: Manifest | Index


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file in a repository of files. One of `sha256` (large files) and `git_sha1` (others) is known."""

    path: str
    size: int
    sha256: Digest | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a reference names in a place of files: all files of the repository at one commit, by path.

    `pinned` is `hf://org/repo@COMMIT[:SELECTOR]`; `selector` what the user wrote behind the colon, or None.
    """

    pinned: str
    commit: str
    selector: str | None
    files: tuple[HubFile, ...]


class Remote(BlobSource, Protocol):
    """One repository of one place."""

    def resolve(self, ref: ModelRef) -> Artifact | Listing:
        """What `ref` names now. Raises NotFound, Unauthorized, Unreachable, BadContent."""

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        """A manifest or an index by its digest, which is checked. Raises as `resolve`."""

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        """A small blob as bytes, its digest checked. Raises SizeMismatch beyond `limit`; as `resolve`."""

    def tags(self) -> Sequence[str]:
        """The tags of the repository, or its variants, in the remote's order.

        Raises as `resolve`; UsageError where the place has no such list.
        """


class FileRemote(Remote, Protocol):
    """A place of files, whose `resolve` gives a Listing."""

    @property
    def repository(self) -> str:
        """What the repository is called there, once it was resolved: `org/repo`."""

    def read_file(self, file: HubFile, limit: int) -> bytes:
        """A small file as bytes, its hash checked. Raises SizeMismatch beyond `limit`; as `resolve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a place takes at most, in bytes; None where that is not known."""

    layer_bytes: int | None = None
    manifest_bytes: int | None = None


OpenAt = Callable[[int], BinaryIO]
"""Opens the bytes of a blob at an offset; who asked closes it."""


class PushRemote(Remote, Protocol):
    """A repository that takes what is pushed."""

    @property
    def limits(self) -> Limits:
        """What it takes at most."""

    def has(self, blob: Blob) -> bool:
        """Whether the repository has a blob already."""

    def mount(self, blob: Blob, repository: str) -> bool:
        """Take a blob from another repository of the same host without sending it; whether that was done."""

    def upload(self, blob: Blob, open_at: OpenAt, progress: Callable[[int], None]) -> None:
        """Send a blob, in chunks that are resumed when one fails. `progress` is told of more bytes, and of
        fewer (a negative count) where some must be sent again. Raises as `resolve`."""

    def put_manifest(self, raw: bytes, media_type: str, reference: str) -> Digest:
        """Put a manifest or an index under a tag or a digest; gives the digest it has there. Raises as
        `resolve`."""
