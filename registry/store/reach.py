"""What names reach: manifests, indexes of them, and the blobs behind those, each once and with its size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Index
from registry.store.reader import StoreReader

MAX_DOCUMENT_BYTES = 64 << 20
"""All manifests of one reach together: a thousand models have a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`blobs` are all digests with their sizes in bytes, `documents` those that are manifests or indexes."""

    blobs: Mapping[Digest, int]
    documents: frozenset[Digest]


def reach(store: StoreReader, roots: Iterable[Descriptor]) -> Reach:
    """Everything that `roots` (manifests or indexes in `store`) reach, themselves included.

    Whether a manifest's blobs are there is not asked. Raises NotFound and BadContent for a manifest that is
    missing or damaged, MalformedFile where two descriptors contradict each other, nest too deeply or have
    too much behind them.
    """
    sizes: dict[Digest, int] = {}
    documents: set[Digest] = set()
    total = 0
    level = list(roots)
    for _ in range(MAX_INDEX_DEPTH):
        below: list[Descriptor] = []
        for descriptor in level:
            _note(sizes, descriptor)
            if descriptor.digest in documents:
                continue
            documents.add(descriptor.digest)
            total += descriptor.size
            if total > MAX_DOCUMENT_BYTES:
                raise MalformedFile(f"The manifests have more than {MAX_DOCUMENT_BYTES >> 20} MiB together.")
            document = store.manifest(descriptor)
            if isinstance(document, Index):
                below += document.manifests
            else:
                for blob in document.blobs:
                    _note(sizes, blob)
        if not below:
            return Reach(blobs=sizes, documents=frozenset(documents))
        level = below
    raise MalformedFile(f"An image index is nested deeper than {MAX_INDEX_DEPTH} levels.")


def _note(sizes: dict[Digest, int], descriptor: Descriptor) -> None:
    known = sizes.setdefault(descriptor.digest, descriptor.size)
    if known != descriptor.size:
        raise MalformedFile(
            f"The blob {descriptor.digest} is said to have {known} and {descriptor.size} bytes."
        )
