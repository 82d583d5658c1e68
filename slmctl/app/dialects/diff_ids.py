"""The digests that the tars behind compressed layers should have, as far as an artifact's config says."""

from __future__ import annotations

from collections.abc import Mapping

from registry.digest import Digest
from registry.errors import BadContent
from registry.manifest import Manifest, load_json_object
from slmctl.app.dialects import kitops
from slmctl.app.dialects.described import BlobReader

_PLACES = (("modelfs", "diffIds"), ("modelfs", "diff_ids"), ("rootfs", "diff_ids"))


def diff_ids(blobs: BlobReader, manifest: Manifest) -> Mapping[Digest, Digest]:
    """By the digest of the layer. A list that is as long as that of the layers is in their order, as the OCI
    image specification has it. Raises MalformedFile, NotFound and other BadContent."""
    if kitops.is_kitops(manifest):
        return kitops.diff_ids(blobs, manifest)
    config = load_json_object(blobs.read_blob(manifest.config), "The model's config")
    for outer, inner in _PLACES:
        holder = config.get(outer)
        listed = holder.get(inner) if isinstance(holder, dict) else None
        if isinstance(listed, list) and len(listed) == len(manifest.layers):
            found = {}
            for layer, text in zip(manifest.layers, listed, strict=True):
                try:
                    found[layer.digest] = Digest.parse(text)
                except BadContent:
                    continue  # some writers leave them empty
            return found
    return {}
