"""All documents below what a reference names: an index, its manifests, indexes in it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Index, Manifest
from registry.remotes.base import Artifact, Remote

MAX_DOCUMENTS = 512
"""No model has so many builds; a hostile index may name a million."""

MAX_BYTES = 32 << 20
"""All documents together: they are held in memory, and kept before it is looked whether the rest has room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or an index with the descriptor that names it."""

    descriptor: Descriptor
    value: Manifest | Index


def documents_of(remote: Remote, artifact: Artifact) -> tuple[Document, ...]:
    """The root and everything below it, each document once, parents first.

    Raises MalformedFile for an index that is too deep or names too much, and as `Remote.manifest`. (An index
    cannot contain itself, for its digest would have to; one that says so is asked for once, and not found.)
    """
    root = Document(descriptor=artifact.root, value=artifact.document)
    found: dict[Digest, Document] = {root.descriptor.digest: root}
    level = [root]
    size = root.descriptor.size
    for depth in range(MAX_INDEX_DEPTH + 1):
        below = [
            child
            for document in level
            if isinstance(document.value, Index)
            for child in document.value.manifests
        ]
        level = []
        for child in below:
            if child.digest in found:
                continue
            if depth == MAX_INDEX_DEPTH:
                raise MalformedFile(f"{remote.shown}: its indexes lie more than {MAX_INDEX_DEPTH} deep.")
            if len(found) == MAX_DOCUMENTS:
                raise MalformedFile(f"{remote.shown}: its index names more than {MAX_DOCUMENTS} manifests.")
            size += child.size
            if size > MAX_BYTES:
                raise MalformedFile(f"{remote.shown}: its manifests have more than {MAX_BYTES >> 20} MiB.")
            document = Document(descriptor=child, value=remote.manifest(child))
            found[child.digest] = document
            level.append(document)
    return tuple(found.values())
