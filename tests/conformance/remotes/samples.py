"""What the places of the suite hold: models whose every byte is known."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`root` is the text of what a name points at; `documents` and `blobs` are by digest, and complete."""

    root: str
    documents: Mapping[str, tuple[bytes, str]]
    blobs: Mapping[str, bytes]


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def index_of_two() -> Sample:
    """An index of two variants that share a file; one has a layer of 3 MiB, one of a single byte."""
    shared, large, small = b"the licence\n", some_bytes(3 << 20), b"x"
    manifests = [_manifest(b'{"a":1}', (large, shared)), _manifest(b'{"a":2}', (small, shared))]
    raw = _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [_descriptor(OCI_MANIFEST, each) for each in manifests],
        }
    )
    return Sample(
        root=digest_of(raw),
        documents={
            digest_of(raw): (raw, OCI_INDEX),
            **{digest_of(each): (each, OCI_MANIFEST) for each in manifests},
        },
        blobs=_by_digest(shared, large, small, b'{"a":1}', b'{"a":2}'),
    )


def ollama_model() -> Sample:
    """A manifest as Ollama's registry has them: Docker's format, blanks and all."""
    config, model, template = b'{"model_format":"gguf"}', some_bytes(1 << 20, 2), b"{{ .Prompt }}"
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": _descriptor("application/vnd.docker.container.image.v1+json", config),
        "layers": [
            _descriptor("application/vnd.ollama.image.model", model),
            _descriptor("application/vnd.ollama.image.template", template),
        ],
    }
    raw = json.dumps(document, indent=1).encode() + b"\n"
    return Sample(
        root=digest_of(raw),
        documents={digest_of(raw): (raw, DOCKER_MANIFEST)},
        blobs=_by_digest(config, model, template),
    )


def layout_of(folder: Path, sample: Sample, tag: str) -> Path:
    """The sample as an OCI image layout, by hand."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, data in {
        **sample.blobs,
        **{each: raw for each, (raw, _) in sample.documents.items()},
    }.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
    raw, media_type = sample.documents[sample.root]
    entry = {
        "mediaType": media_type,
        "digest": sample.root,
        "size": len(raw),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder


def _manifest(config: bytes, layers: Sequence[bytes]) -> bytes:
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": _descriptor("application/vnd.cncf.model.config.v1+json", config),
            "layers": [_descriptor("application/vnd.cncf.model.weight.v1.raw", each) for each in layers],
        }
    )


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _by_digest(*blobs: bytes) -> dict[str, bytes]:
    return {digest_of(blob): blob for blob in blobs}
