"""All documents below what a reference names: an index, its manifests, indexes in it."""

from __future__ import annotations

from dataclasses import dataclass

from registry import mediatypes
from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Index, Manifest
from registry.remotes.base import Artifact, Remote
from registry.remotes.documents import INDEX_TYPES, MANIFEST_TYPES

MAX_DOCUMENTS = 512
"""No model has so many builds; a hostile index may name a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or an index with the descriptor that names it."""

    descriptor: Descriptor
    value: Manifest | Index


def documents_of(remote: Remote, artifact: Artifact) -> tuple[Document, ...]:
    """The root and everything below it, each document once, parents first.

    Raises MalformedFile for an index that is too deep or names too many, and as `Remote.manifest`. (An index
    cannot contain itself, for its digest would have to; one that says so is asked for once, and not found.)
    """
    root = Document(descriptor=artifact.root, value=artifact.document)
    found: dict[Digest, Document] = {root.descriptor.digest: root}
    level = [root]
    for depth in range(MAX_INDEX_DEPTH + 1):
        below = [
            child
            for document in level
            if isinstance(document.value, Index)
            for child in document.value.manifests
            if child.media_type in MANIFEST_TYPES | INDEX_TYPES | {mediatypes.MODELPACK_ARTIFACT}
        ]
        level = []
        for child in below:
            if child.digest in found:
                continue
            if depth == MAX_INDEX_DEPTH:
                raise MalformedFile(f"{remote.shown}: its indexes lie more than {MAX_INDEX_DEPTH} deep.")
            if len(found) == MAX_DOCUMENTS:
                raise MalformedFile(f"{remote.shown}: its index names more than {MAX_DOCUMENTS} manifests.")
            document = Document(descriptor=child, value=remote.manifest(child))
            found[child.digest] = document
            level.append(document)
    return tuple(found.values())
