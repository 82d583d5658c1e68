"""Docker Model Runner's artifacts: raw layers under Docker's types, and a config blob beside them.

Config v0.1 has a layer for each kind of thing (weights, licence, chat template, projector), v0.2 one for each
file of a folder, with its path. Both are read in one way: a layer's type says what it is, and its path, where
it has one, what it is called. Source: docker/model-runner 1.0 (pkg/distribution/types, builder); the
published docker/model-spec has other names for projectors and adapters, which are read too.
"""

from __future__ import annotations

import re
from dataclasses import replace

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.errors import MalformedFile
from registry.manifest import Descriptor, Manifest, load_json_object
from slmctl.app.dialects.described import (
    TEMPLATE_PATH,
    BlobReader,
    Described,
    Part,
    label,
    role_of_name,
)
from slmctl.app.dialects.modelpack import SPEC_PATH
from slmctl.app.file_names import checked_path, file_path

_CONFIG = re.compile(r"application/vnd\.docker\.ai\.model\.config\.v0\.[0-9]{1,3}\+json", re.ASCII)
_ROLES = {
    "gguf.v3": "weights",
    "safetensors": "weights",
    "dduf": "weights",
    "gguf.v3.lora": "adapter",
    "gguf.v3.mmproj": "projector",
    "mmproj": "projector",
    "chat.template.jinja": "config",
    "license": "spec",
    "model.file": "",
}
_TARS = {"vllm.config.tar", "dir.tar"}
_ENDS = {"safetensors": ".safetensors", "dduf": ".dduf"}
_MAX_LICENSE_BYTES = 16 << 20


def is_docker(manifest: Manifest) -> bool:
    """Whether a manifest is of this dialect."""
    return _CONFIG.fullmatch(manifest.config.media_type) is not None


def describe(blobs: BlobReader, manifest: Manifest) -> Described:
    """What the manifest says. Raises MalformedFile, NotFound and other BadContent."""
    found_format, quantization = format_of(blobs, manifest)
    kinds = [
        (layer.media_type.removeprefix(mediatypes.DOCKER_MODEL), layer)
        for layer in manifest.layers
        if layer.media_type.startswith(mediatypes.DOCKER_MODEL)
    ]
    counts = {kind: sum(1 for each, _ in kinds if each == kind) for kind, _ in kinds}
    seen: dict[str, int] = {}
    parts = []
    for kind, layer in kinds:
        number = seen[kind] = seen.get(kind, -1) + 1
        if (part := _part(kind, layer, number, counts[kind])) is not None:
            parts.append(part)
    unknown = sorted({kind for kind, _ in kinds} - _ROLES.keys() - _TARS)
    return Described(
        dialect="Docker Model Runner",
        format=found_format,
        quantization=quantization,
        parts=tuple(parts),
        spec=_spec(blobs, parts),
        ignored=tuple(f"Layers of the type {kind!a:.80} are passed over." for kind in unknown[:8]),
    )


def format_of(blobs: BlobReader, manifest: Manifest) -> tuple[str, str | None]:
    """Format and quantization by the config alone, for listings. Raises as `describe`."""
    config = load_json_object(blobs.read_blob(manifest.config), "The model's config")
    claimed = label(config, "config", "format")
    by_type = {"gguf.v3": "gguf", "safetensors": "safetensors", "dduf": "dduf"}
    kinds = (layer.media_type.removeprefix(mediatypes.DOCKER_MODEL) for layer in manifest.layers)
    typed = next((by_type[kind] for kind in kinds if kind in by_type), None)
    if typed is None:
        typed = claimed.lower() if claimed else "unknown"
    return typed, label(config, "config", "quantization")


def _part(kind: str, layer: Descriptor, number: int, count: int) -> Part | None:
    """A layer with its role and path; `number` of the `count` of its type. None for one that is unknown."""
    written = layer.annotations.get(mediatypes.MODELPACK_FILEPATH)
    if written is not None:
        checked_path(written)
    if kind in _TARS:
        return Part(path=written or f"{kind}-{number}", role="config", layer=layer, packing="tar")
    if kind not in _ROLES:
        return None
    role = _ROLES[kind] or (role_of_name(written) if written else "config")
    if role == "spec":
        path = file_path("spec", number, count)  # there is nothing but its text, which the spec has
    elif kind == "chat.template.jinja":
        path = TEMPLATE_PATH
    elif written is not None:
        path = written
    elif kind in _ENDS:
        path = file_path("weights", number, count).removesuffix(".gguf") + _ENDS[kind]
    else:
        path = file_path(role, number, count) if role != "config" else f"file-{number}"
    return Part(path=path, role=role, layer=layer)


def _spec(blobs: BlobReader, parts: list[Part]) -> ModelSpec:
    """What slmctl wrote along, if it did; and the licences."""
    spec = ModelSpec()
    for part in parts:
        if part.path == SPEC_PATH and part.role == "config":
            spec = ModelSpec.from_json(load_json_object(blobs.read_blob(part.layer), "The model's spec"))
    licenses = [part.layer for part in parts if part.role == "spec"]
    if sum(layer.size for layer in licenses) > _MAX_LICENSE_BYTES:
        raise MalformedFile(f"The model's licences are larger than {_MAX_LICENSE_BYTES >> 20} MiB.")
    texts = tuple(blobs.read_blob(layer).decode("utf-8", errors="replace") for layer in licenses)
    return replace(spec, licenses=texts) if texts else spec
