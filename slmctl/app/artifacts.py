"""What an artifact in a registry consists of: its documents, and what must be here to read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from registry import mediatypes
from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Index, Manifest
from registry.remotes.base import Artifact, Remote
from slmctl.app.package import SPEC_PATH

_MAX_DOCUMENTS = 500
_OLLAMA_WEIGHTS = frozenset({"model", "projector", "adapter", "draft", "tensor", "json", "embed"})


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

    Raises MalformedFile for an index that is nested too deeply, names too many or none; and as
    `Remote.manifest` does.
    """
    tree = Tree(root=artifact.root, indexes={}, manifests={})
    known: dict[Digest, Manifest | Index] = {artifact.root.digest: artifact.document}
    level = [artifact.root]
    seen: set[Digest] = set()
    for _ in range(MAX_INDEX_DEPTH):
        below: list[Descriptor] = []
        for each in level:
            if each.digest in seen:
                continue
            seen.add(each.digest)
            if len(seen) > _MAX_DOCUMENTS:
                raise MalformedFile(f"The index {artifact.root.digest} names more than {_MAX_DOCUMENTS}.")
            document = known.get(each.digest) or remote.manifest(each)
            if isinstance(document, Manifest):
                tree.manifests[each.digest] = document
            else:
                tree.indexes[each.digest] = document
                below += document.manifests
        level = below
    if level:
        raise MalformedFile(f"The index {artifact.root.digest} is nested too deeply.")
    if not tree.manifests:
        raise MalformedFile(f"The index {artifact.root.digest} names no model.")
    return tree


def needed_to_read(manifest: Manifest) -> list[Descriptor]:
    """The small blobs that tell what a variant is: its config, and what its author said."""
    return [manifest.config, *(layer for layer in manifest.layers if _is_authored(layer))]


def _is_authored(layer: Descriptor) -> bool:
    if layer.media_type.startswith(mediatypes.OLLAMA_LAYER):
        return layer.media_type.removeprefix(mediatypes.OLLAMA_LAYER) not in _OLLAMA_WEIGHTS
    return layer.annotations.get(mediatypes.MODELPACK_FILEPATH) == SPEC_PATH
