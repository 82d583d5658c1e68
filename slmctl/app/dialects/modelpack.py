"""ModelPack, as slmctl writes it and as others do: modctl, KitOps, RamaLama, Docker Model Runner.

Others have no annotations of ours; some know the layers' types by other names (`weight.v1.gguf` of older
Docker Model Runners, `vnd.cnai` from before ModelPack joined the CNCF), and podman, which RamaLama uses,
writes layers without a type of their own. Formats: CNCF ModelPack specification (spec.md, config.md,
annotations.md), modctl 0.1, RamaLama 0.12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.manifest import Descriptor, Manifest, load_json_object
from slmctl.app.dialects.described import (
    FORMATS,
    BlobReader,
    Described,
    Part,
    format_by_names,
    label,
    role_of_name,
    texts,
    with_adapters,
)
from slmctl.app.file_names import checked_path

SPEC_PATH = "slmctl/spec.json"

_LAYER = re.compile(
    r"application/vnd\.(?:cncf|cnai)\.model\.(?P<kind>weight\.config|weight|doc|code|dataset)(?:\.v1)?"
    r"\.(?P<packing>raw|gguf|safetensors|tar(?:\+gzip|\+zstd)?)",
    re.ASCII,
)
_PATHS = (mediatypes.MODELPACK_FILEPATH, mediatypes.CNAI_FILEPATH, mediatypes.TITLE)
_ROLES = frozenset({"weights", "projector", "adapter", "draft", "config", "doc"})
_KINDS = {"weight": "", "weight.config": "config", "doc": "doc", "code": "code", "dataset": "dataset"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A layer whose type is known: what its author calls it, how it is packed, and the format of weights."""

    kind: str
    packing: str
    format: str | None
    layer: Descriptor


def is_modelpack(manifest: Manifest) -> bool:
    """Whether a manifest is of this dialect."""
    return (
        manifest.artifact_type in mediatypes.MODELPACK_ARTIFACTS
        or manifest.config.media_type in mediatypes.MODELPACK_CONFIGS
    )


def describe(blobs: BlobReader, manifest: Manifest) -> Described:
    """What the manifest says. Raises MalformedFile, NotFound and other BadContent."""
    config = _config(blobs, manifest)
    layers = [known for layer in manifest.layers if (known := _known(layer)) is not None]
    parts: list[Part] = []
    left_out: list[Part] = []
    for number, each in enumerate(layers):
        part = _part(each, number)
        (parts if part.role in _ROLES else left_out).append(part)
    return Described(
        dialect="ModelPack",
        format=_format(config, layers),
        quantization=_quantization(config),
        parts=tuple(parts) if mediatypes.SLMCTL_VARIANT in manifest.annotations else with_adapters(parts),
        left_out=tuple(left_out),
        spec=_spec(blobs, parts),
        licenses=texts(config, "descriptor", "licenses"),
    )


def format_of(blobs: BlobReader, manifest: Manifest) -> tuple[str, str | None]:
    """Format and quantization by the config alone, for listings. Raises as `describe`."""
    config = _config(blobs, manifest)
    layers = [known for layer in manifest.layers if (known := _known(layer)) is not None]
    return _format(config, layers) or "unknown", _quantization(config)


def _config(blobs: BlobReader, manifest: Manifest) -> dict[str, object]:
    return load_json_object(blobs.read_blob(manifest.config), "The model's config")


def _known(layer: Descriptor) -> _Layer | None:
    """What a layer is; None for one that is not ours to read."""
    if (match := _LAYER.fullmatch(layer.media_type)) is not None:
        packing = match["packing"]
        is_tar = packing.startswith("tar")
        return _Layer(
            kind=_KINDS[match["kind"]],
            packing=packing if is_tar else "",
            format=packing if packing in FORMATS.values() else None,
            layer=layer,
        )
    if layer.media_type.startswith(mediatypes.MODELPACK_LAYERS):
        return None
    path = _annotated_path(layer) or ""
    if format_by_names([path]) is not None:  # podman's layers have no type that says anything
        return _Layer(kind="", packing="", format=None, layer=layer)
    return None


def _annotated_path(layer: Descriptor) -> str | None:
    return next((layer.annotations[key] for key in _PATHS if key in layer.annotations), None)


def _part(known: _Layer, number: int) -> Part:
    path = _annotated_path(known.layer)
    if path is None:
        path = _unnamed(known, number)
    elif known.packing:
        path = path.removeprefix("./").rstrip("/")
    checked_path(path)
    role = known.kind
    if not role:
        role = known.layer.annotations.get(mediatypes.SLMCTL_ROLE) or role_of_name(path, "weights")
    return Part(path=path, role=role, layer=known.layer, packing=known.packing)


def _unnamed(known: _Layer, number: int) -> str:
    """A name for a layer that has none; weights are called what they would be here."""
    if known.packing:
        return f"layer-{number}.tar"
    if known.kind:
        return f"{known.kind}/{number}"
    return f"model{f'-{number}' if number else ''}.{known.format or 'gguf'}"


def _format(config: dict[str, object], layers: list[_Layer]) -> str | None:
    """What the layers' types or names say, else the config, which alone tells MLX from others."""
    claimed = (label(config, "config", "format") or "").lower() or None
    typed = next((each.format for each in layers if each.format), None)
    names = [path for each in layers if not each.kind and (path := _annotated_path(each.layer))]
    told = typed or format_by_names(names)
    return claimed if told is None or (told == "safetensors" and claimed == "mlx") else told


def _quantization(config: dict[str, object]) -> str | None:
    return label(config, "config", "quantization") or label(config, "config", "precision")


def _spec(blobs: BlobReader, parts: list[Part]) -> ModelSpec:
    for part in parts:
        if part.role == "config" and part.path == SPEC_PATH and not part.packing:
            return ModelSpec.from_json(load_json_object(blobs.read_blob(part.layer), "The model's spec"))
    return ModelSpec()
