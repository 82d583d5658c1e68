"""A layer of a manifest that is a tar: its files as they come, and in the end whether all was as it should.

What is taken from a layer is not to be used before `LayerReader.files` has come to its end: only then are the
digest of the bytes that came, and that of the tar behind the compression (the OCI image specification's
DiffID), known to be right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from registry.digest import Digest
from registry.errors import DigestMismatch, SizeMismatch
from registry.layers.decompress import DEFAULT_BOUNDS, Bounds, decompressed
from registry.layers.tarball import TarFile, TarStream
from registry.manifest import Descriptor


class LayerReader:
    """The layer `descriptor`, whose bytes come in `chunks`; `packing` is tar, tar+gzip or tar+zstd.

    `diff_id` is the digest that the tar itself should have, None where nobody says.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        chunks: Iterable[bytes],
        packing: str,
        *,
        diff_id: Digest | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self._descriptor = descriptor
        self._diff_id = diff_id
        self._raw = _Hashed(self._bounded(chunks))
        self._shown = f"The layer {descriptor.digest}"
        self._tar_bytes = self._raw  # hashed once where the tar is the layer
        if packing != "tar":
            self._tar_bytes = _Hashed(decompressed(self._raw, packing, self._shown, bounds))
        self._tar = TarStream(self._tar_bytes, self._shown)

    def files(self) -> Iterator[TarFile]:
        """The files in their order; `chunks` gives the bytes of the one that came last.

        Raises MalformedFile, SizeMismatch and DigestMismatch, the latter two after the last file.
        """
        yield from self._tar.files()
        for _ in self._raw:  # what a decoder had no use for
            pass
        if self._raw.size != self._descriptor.size:
            raise self._wrong_size(self._raw.size)
        if self._raw.digest != self._descriptor.digest:
            raise DigestMismatch(f"{self._shown} is damaged: its bytes have the digest {self._raw.digest}.")
        if self._diff_id is not None and self._tar_bytes.digest != self._diff_id:
            raise DigestMismatch(
                f"{self._shown} is not what its config says: its tar has the digest "
                f"{self._tar_bytes.digest}, not {self._diff_id}.",
                hint="The model's publisher has to build it again.",
            )

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file that `files` gave last, once."""
        return self._tar.chunks()

    def _bounded(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        size = 0
        for data in chunks:
            size += len(data)
            if size > self._descriptor.size:
                raise self._wrong_size(size)
            yield data

    def _wrong_size(self, size: int) -> SizeMismatch:
        return SizeMismatch(f"{self._shown} has {size} bytes or more instead of {self._descriptor.size}.")


class _Hashed:
    """Passes chunks on, once, and knows the digest and the size of what it passed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._hasher = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = next(self._chunks)
        self._hasher.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest(self._hasher.hexdigest())
