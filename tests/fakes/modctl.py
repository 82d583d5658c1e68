"""ModelPack as others write it: modctl, KitOps with --use-model-pack, RamaLama, podman (formats.md 4.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.artifact import FakeArtifact, digest_of
from tests.fakes.kitops import compressed, packed

CNCF = "cncf"
CNAI = "cnai"
EMPTY = "application/vnd.oci.empty.v1+json"


def kind_of(path: str) -> str:
    if path.endswith((".gguf", ".safetensors", ".onnx")):
        return "weight"
    return "doc" if path.endswith((".md", "LICENSE")) else "code" if path.endswith(".py") else "weight.config"


def model_pack(
    files: Mapping[str, bytes],
    *,
    packing: str = "raw",
    organisation: str = CNCF,
    config: Mapping[str, Any] | None = None,
    weight_type: str | None = None,
) -> FakeArtifact:
    """One layer for each file; tars hold the file under its path. No annotation of slmctl's."""
    made = FakeArtifact(artifact_type=f"application/vnd.{organisation}.model.manifest.v1+json")
    diff_ids = []
    for path, data in files.items():
        kind = kind_of(path)
        tar = packed({path: data}) if packing != "raw" else data
        suffix = weight_type if weight_type and kind == "weight" else packing
        metadata = {"name": path.rsplit("/", 1)[-1], "mode": 420, "uid": 1000, "gid": 1000, "size": len(data)}
        made.layer(
            f"application/vnd.{organisation}.model.{kind}.v1.{suffix}",
            compressed(tar, packing),
            {
                f"org.{organisation}.model.filepath": path,
                f"org.{organisation}.model.file.metadata+json": json.dumps(
                    {**metadata, "mtime": "2025-05-06T07:08:09Z", "typeflag": 48}
                ),
            },
        )
        diff_ids.append(digest_of(tar))
    described = {"architecture": "transformer", "format": "gguf", "paramSize": "8b", "quantization": "Q8_0"}
    made.configure(
        f"application/vnd.{organisation}.model.config.v1+json",
        {
            "descriptor": {"createdAt": "2025-05-06T07:08:09Z", "name": "m", "licenses": ["MIT"]},
            "config": dict(config) if config is not None else described,
            "modelfs": {"type": "layers", "diffIds": diff_ids},
        },
    )
    return made


def podman_artifact(files: Mapping[str, bytes]) -> FakeArtifact:
    """`podman artifact add`, as RamaLama calls it: an empty config, titles, and types that say nothing."""
    made = FakeArtifact(artifact_type="application/vnd.cnai.model.manifest.v1+json")
    for path, data in files.items():
        made.layer(
            "application/octet-stream",
            data,
            {"org.opencontainers.image.title": path, "org.cnai.model.model": "true"},
        )
    made.config = made.blob(EMPTY, b"{}")
    return made
