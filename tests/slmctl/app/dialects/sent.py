"""What a push would send, received: as a store of its own, and as an OCI image layout for other tools."""

from __future__ import annotations

import json
from pathlib import Path

from registry import mediatypes
from registry.digest import Digest
from registry.manifest import Descriptor
from registry.store.store import Replace, Store
from slmctl.app.dialects.outgoing import Outgoing
from slmctl.app.package import Package
from tests.fakes.artifact import NOW


def bytes_of(outgoing: Outgoing) -> dict[str, bytes]:
    """All blobs and documents by their digests; each blob is read from several offsets and checked."""
    found = {}
    for each in outgoing.blobs:
        with each.open_at(0) as stream:
            data = stream.read()
        assert len(data) == each.blob.size
        assert Digest.of(data) == each.blob.digest
        for offset in {0, 1, 511, 512, 513, 1024, each.blob.size // 2, each.blob.size - 1, each.blob.size}:
            if 0 <= offset <= each.blob.size:
                with each.open_at(offset) as stream:
                    assert stream.read() == data[offset:]
        found[str(each.blob.digest)] = data
    for document in outgoing.documents:
        found[str(document.digest)] = document.raw
    return found


def received(outgoing: Outgoing, store: Store, digest: Digest | None = None) -> Package:
    """The model as slmctl reads it where it was pushed; `digest` is that of a variant's own tag."""
    digest = digest or outgoing.root
    document = next(each for each in outgoing.documents if each.digest == digest)
    with store.session("test") as session:
        for data in bytes_of(outgoing).values():
            session.put(data)
        descriptor = Descriptor(media_type=document.media_type, digest=digest, size=len(document.raw))
        entry = store.link(
            "sent:latest", descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING
        )
    return Package.of(store, entry)


def as_layout(outgoing: Outgoing, folder: Path, tag: str) -> None:
    """An OCI image layout, which skopeo and others read."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, data in bytes_of(outgoing).items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    root = next(each for each in outgoing.documents if each.digest == outgoing.root)
    described = {
        "mediaType": root.media_type,
        "digest": str(root.digest),
        "size": len(root.raw),
        "annotations": {mediatypes.REF_NAME: tag},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
