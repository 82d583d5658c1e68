"""An artifact as some other tool pushes it: a manifest and its blobs, byte for byte, without our code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.digest import Digest
from registry.manifest import Descriptor, Manifest, parse
from registry.store.index import Entry
from registry.store.store import Replace, Store

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NOW = "2026-11-22T00:00:00Z"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FakeArtifact:
    """A manifest in the making; `blobs` are by their digests."""

    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def blob(self, media_type: str, data: bytes, annotations: Mapping[str, str] = {}) -> dict[str, Any]:
        """Add a blob; gives its descriptor, keys in the order in which Go writes them."""
        digest = digest_of(data)
        self.blobs[digest] = data
        described: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(data)}
        return described | ({"annotations": dict(annotations)} if annotations else {})

    def layer(self, media_type: str, data: bytes, annotations: Mapping[str, str] = {}) -> str:
        """Add a layer; gives its digest."""
        self.layers.append(self.blob(media_type, data, annotations))
        return digest_of(data)

    def configure(self, media_type: str, document: Any) -> None:
        self.config = self.blob(media_type, json.dumps(document, separators=(",", ":")).encode())

    @property
    def raw(self) -> bytes:
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        document |= {"config": self.config, "layers": self.layers}
        if self.annotations:
            document["annotations"] = self.annotations
        return json.dumps(document, separators=(",", ":")).encode()

    @property
    def manifest(self) -> Manifest:
        manifest = parse(self.raw)
        assert isinstance(manifest, Manifest)
        return manifest

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(self.raw), size=len(self.raw))

    def put_into(self, store: Store, name: str) -> Entry:
        """Store all blobs and the manifest as they are, and name it."""
        with store.session("test") as session:
            for data in self.blobs.values():
                session.put(data)
            session.put(self.raw)
            return store.link(name, self.descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)

    def read_blob(self, descriptor: Descriptor, limit: int = 8 << 20) -> bytes:
        """As a remote has it."""
        data = self.blobs[str(descriptor.digest)]
        assert len(data) <= limit
        return data
