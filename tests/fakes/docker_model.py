"""Artifacts as Docker Model Runner packages them (docker/model-runner 1.0; reference/formats.md 4.2).

Like it, these write the file's own mode and time into the layers' annotations, so that two packagings of one
file differ.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.artifact import FakeArtifact, digest_of

TYPE = "application/vnd.docker.ai."
CREATED = "2025-03-04T10:11:12.123456789Z"


def file_annotations(path: str, size: int) -> dict[str, str]:
    metadata = {
        "name": path.rsplit("/", 1)[-1],
        "mode": 0o600,
        "uid": 0,
        "gid": 0,
        "size": size,
        "mtime": "2025-03-04T10:00:00.5Z",
        "typeflag": 0,
    }
    return {
        "org.cncf.model.filepath": path,
        "org.cncf.model.file.metadata+json": json.dumps(metadata, separators=(",", ":")),
        "org.cncf.model.file.mediatype.untested": "false",
    }


def gguf_model(
    weights: Sequence[bytes],
    *,
    licenses: Sequence[bytes] = (),
    template: bytes | None = None,
    projector: bytes | None = None,
    annotated: bool = True,
    config: Mapping[str, Any] | None = None,
) -> FakeArtifact:
    """Config v0.1: `docker model package --gguf`. Without annotations as the first versions wrote it."""
    made = FakeArtifact()

    def layer(kind: str, data: bytes, path: str) -> None:
        made.layer(TYPE + kind, data, file_annotations(path, len(data)) if annotated else {})

    for number, data in enumerate(weights, 1):
        layer(
            "gguf.v3", data, "model.gguf" if len(weights) == 1 else f"m-{number:05}-of-{len(weights):05}.gguf"
        )
    for data in licenses:
        layer("license", data, "LICENSE")
    if projector is not None:
        layer("mmproj", projector, "model.mmproj")
    if template is not None:
        layer("chat.template.jinja", template, "template.jinja")
    described = {
        "format": "gguf",
        "quantization": "Q4_K_M",
        "parameters": "1.10B",
        "architecture": "llama",
        "size": "606.49MiB",
        "gguf": {"general.architecture": "llama"},
        "context_size": 2048,
    }
    _configure(made, "0.1", config if config is not None else described)
    return made


def folder_model(files: Mapping[str, bytes]) -> FakeArtifact:
    """Config v0.2: a folder of safetensors, a layer for each file."""
    made = FakeArtifact()
    for path, data in files.items():
        kind = "safetensors" if path.endswith(".safetensors") else "model.file"
        made.layer(TYPE + kind, data, file_annotations(path, len(data)))
    described = {"format": "safetensors", "quantization": "BF16", "parameters": "1.24B", "safetensors": {}}
    _configure(made, "0.2", described)
    return made


def safetensors_model(weights: Sequence[bytes], config_files: Mapping[str, bytes]) -> FakeArtifact:
    """Config v0.1 of safetensors: the small files in a tar."""
    made = FakeArtifact()
    for data in weights:
        made.layer(TYPE + "safetensors", data)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in config_files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    made.layer(TYPE + "vllm.config.tar", packed.getvalue())
    _configure(made, "0.1", {"format": "safetensors", "architecture": "LlamaForCausalLM"})
    return made


def _configure(made: FakeArtifact, version: str, described: Mapping[str, Any]) -> None:
    made.configure(
        f"{TYPE}model.config.v{version}+json",
        {
            "config": described,
            "descriptor": {"created": CREATED},
            "rootfs": {
                "type": "rootfs",
                "diff_ids": [digest_of(made.blobs[each["digest"]]) for each in made.layers],
            },
        },
    )
