"""What an artifact in a registry consists of: its documents, and what must be here to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO, cast

from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.remotes.base import Artifact, Blob, BlobSource, Remote
from registry.remotes.heads import Heads
from registry.remotes.peeking import Peek
from registry.remotes.tree import documents_of
from registry.store.reader import StoreReader
from registry.store.store import Session, Store

_MAX_READ_BYTES = 256 << 20
"""What is asked for to find out what an artifact is: before it is looked whether the rest has room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """All manifests and indexes behind a root, by digest, in the order in which they are named."""

    root: Descriptor
    indexes: dict[Digest, Index]
    manifests: dict[Digest, Manifest]

    @property
    def documents(self) -> Iterable[Manifest | Index]:
        """The manifests, then the indexes: what is named before what names it."""
        yield from self.manifests.values()
        yield from reversed(self.indexes.values())


def tree_of(remote: Remote, artifact: Artifact) -> Tree:
    """Ask for everything that is named below an artifact's root, each once.

    Raises MalformedFile for an index that is nested too deeply, names too much or nothing; and as
    `Remote.manifest` does.
    """
    tree = Tree(root=artifact.root, indexes={}, manifests={})
    for each in documents_of(remote, artifact):
        if isinstance(each.value, Manifest):
            tree.manifests[each.descriptor.digest] = each.value
        else:
            tree.indexes[each.descriptor.digest] = each.value
    if not tree.manifests:
        raise MalformedFile(f"The index {artifact.root.digest} names no model.")
    return tree


class ReadsThrough(StoreReader):
    """A store that asks a remote for the small blobs which it does not have, and keeps them.

    So reading what a model is brings what must be here to read it again, and nothing else. With `peeks`, the
    headers of large files are read where they lie.
    """

    def __init__(self, store: Store, session: Session, remote: Remote, *, peeks: bool = False) -> None:
        super().__init__(store.root)
        self._session = session
        self._remote = remote
        self._peeks = peeks
        self._heads = Heads(remote)
        self._left = _MAX_READ_BYTES

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        if not self.has(descriptor.digest):
            self._left -= descriptor.size
            if self._left < 0:
                raise MalformedFile(
                    f"More than {_MAX_READ_BYTES >> 20} MiB of {self._remote.shown} would have to be read to"
                    " know what it is."
                )
            self._session.put(self._remote.read_blob(descriptor, limit))
        return super().read_blob(descriptor, limit)

    def open_blob(
        self,
        descriptor: Descriptor,
        progress: Callable[[int], None] | None = None,
        *,
        check_notes: bool = True,
    ) -> BinaryIO:
        if self._peeks and not self.has(descriptor.digest):
            blob = Blob(digest=descriptor.digest, size=descriptor.size)
            # not buffered: what is read ahead of a header would be another range
            return cast("BinaryIO", _Remembered(self._remote, blob, self._heads))
        return super().open_blob(descriptor, progress, check_notes=check_notes)

    def head(self, digest: Digest) -> bytes | None:
        """How a file begins whose header was read where it lies, as far as that was remembered."""
        return self._heads.known(digest)


class _Remembered(Peek):
    """A peek of which `heads` keeps the beginning when it is closed."""

    def __init__(self, source: BlobSource, blob: Blob, heads: Heads) -> None:
        super().__init__(source, blob)
        self._heads = heads

    def close(self) -> None:
        if not self.closed:
            self._heads.keep(self._blob, self.head, self.validator)
        super().close()
