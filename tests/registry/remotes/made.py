"""Documents for the fake registry, and tricks of one line."""

from __future__ import annotations

import json

from registry.digest import Digest
from tests.fakes.registry import INDEX, Trick

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DATA = bytes(range(256)) * 400
BLOB = str(Digest.of(DATA))


def manifest(**changes: object) -> bytes:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(b"{}"),
        "layers": [described(DATA)],
    }
    return json.dumps({**document, **changes}).encode()


def described(data: bytes, media_type: str = "application/octet-stream") -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def index(*documents: bytes, media_type: str = MANIFEST) -> bytes:
    entries = [described(each, media_type) for each in documents]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def at(path: str, answer: bytes | None) -> Trick:
    """The trick that answers requests whose path ends so."""
    return lambda request: answer if request.path.endswith(path) else None


RAW = manifest()
