"""A store as Ollama 0.33 writes it, from the reference: manifests/HOST/NAMESPACE/MODEL/TAG, blobs/sha256-HEX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIBRARY = "registry.ollama.ai/library"

Layer = tuple[str, bytes]
"""What stands behind `application/vnd.ollama.image.`, and the layer's bytes."""


class OllamaStore:
    """The store at `root` (what OLLAMA_MODELS names)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        for folder in (self.blobs, root / "manifests"):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> dict[str, Any]:
        """Store a blob, mode 0644 as Ollama has it; gives its digest and size."""
        hexadecimal = hashlib.sha256(data).hexdigest()
        path = self.blobs / f"sha256-{hexadecimal}"
        if not path.exists():
            path.write_bytes(data)
            path.chmod(0o644)
        return {"digest": f"sha256:{hexadecimal}", "size": len(data)}

    def path_of(self, data: bytes) -> Path:
        return self.blobs / f"sha256-{hashlib.sha256(data).hexdigest()}"

    def add(
        self,
        name: str,
        layers: Sequence[Layer],
        *,
        config: Mapping[str, object] | None = None,
        quantization: str = "F32",
    ) -> Path:
        """Add the model `HOST/NAMESPACE/MODEL:TAG` (or `MODEL:TAG` of the library); gives its manifest's path."""
        described = {
            "model_format": "gguf",
            "model_family": "llama",
            "model_families": ["llama"],
            "model_type": "260K",
            "file_type": quantization,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []},
            **(config or {}),
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self.put(json.dumps(described).encode())},
            "layers": [
                {"mediaType": f"application/vnd.ollama.image.{kind}", **self.put(data)}
                for kind, data in layers
            ],
        }
        path, _, tag = (name if "/" in name else f"{LIBRARY}/{name}").rpartition(":")
        manifest = self.root / "manifests" / path / tag
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_bytes(json.dumps(document, separators=(",", ":")).encode() + b"\n")
        return manifest
