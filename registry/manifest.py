"""Manifests: OCI image manifests in the ModelPack dialect, and image indexes of several of them.

The digest of a manifest is always that of the raw bytes as they came, so those are kept beside the parsed
value. What we write is canonical: sorted keys, no blanks, UTF-8 without escapes, one constant where the
format wants a time, an owner or a mode. The same input gives the same bytes on any machine.

Formats: OCI image specification 1.1 (manifest.md, image-index.md), CNCF ModelPack specification (spec.md,
config.md, annotations.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, MalformedFile

MAX_MANIFEST_BYTES = 8 << 20
"""Larger manifests are refused unread; registries must accept 4 MiB (OCI distribution specification)."""

MAX_INDEX_DEPTH = 4
"""How deep indexes may lie in indexes."""

EMPTY = b"{}"
"""The config of an artifact that needs none."""

_MAX_LAYERS = 20_000
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character as an escape; two halves are one


def canonical_json(value: object) -> bytes:
    """`value` as the bytes we hash: sorted keys, no blanks, UTF-8; NaN and infinities raise ValueError."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob as a manifest or an index names it. `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    def to_json(self) -> dict[str, object]:
        value: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value

    @classmethod
    def from_json(cls, value: object, where: str) -> Descriptor:
        """Read a descriptor; `where` names it in errors. Raises MalformedFile."""
        if not isinstance(value, dict):
            raise MalformedFile(f"The manifest's {where} is not a descriptor.")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
            raise MalformedFile(f"The manifest's {where} has no valid size.")
        try:
            digest = Digest.parse(value.get("digest"))
        except BadContent as error:
            raise MalformedFile(f"The manifest's {where} has no valid digest: {error.message}") from None
        return cls(
            media_type=_text(value, "mediaType", where) or "",
            digest=digest,
            size=size,
            annotations=_annotations(value, where),
            artifact_type=_text(value, "artifactType", where),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest: one config blob and layers. `raw` is the text it was read from.

    `subject` is the manifest that this one is about, for what is no model itself (OCI image specification
    1.1, "subject").
    """

    raw: bytes
    media_type: str
    artifact_type: str | None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    subject: Descriptor | None = None

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An image index: one name, many builds. `raw` is the text it was read from."""

    raw: bytes
    media_type: str
    artifact_type: str | None
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return self.manifests


def load_json_object(raw: bytes, what: str) -> dict[str, object]:
    """Parse a JSON object from outside: bounded, UTF-8, no duplicate keys, and no text that cannot be written
    again. Raises MalformedFile naming `what`.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise MalformedFile(f"{what} is larger than {MAX_MANIFEST_BYTES >> 20} MiB.")
    try:
        text = raw.decode("utf-8")  # given bytes, json would read UTF-16 and lone surrogates too
        value = json.loads(text, object_pairs_hook=_unique)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise MalformedFile(f"{what} is nested too deeply.") from None
    except ValueError as error:
        raise MalformedFile(f"{what} is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise MalformedFile(f"{what} is not a JSON object.")
    return value


def parse(raw: bytes) -> Manifest | Index:
    """Read a manifest or an index of any dialect; raises MalformedFile."""
    value = load_json_object(raw, "The manifest")
    if value.get("schemaVersion") == 1:
        raise MalformedFile(
            "The manifest is of Docker's old schema 1, which is not read any more.",
            hint="Have it converted: skopeo copy --format oci docker://OLD docker://NEW",
        )
    if value.get("schemaVersion") != 2:
        raise MalformedFile("The manifest is not of schema version 2.")
    media_type = _text(value, "mediaType", "manifest") or ""
    artifact_type = _text(value, "artifactType", "manifest")
    annotations = _annotations(value, "manifest")
    if "manifests" in value and ("layers" in value or "config" in value):
        raise MalformedFile("The manifest claims to be an index and an image at once.")
    if "manifests" in value:
        return Index(
            raw=raw,
            media_type=media_type or mediatypes.OCI_INDEX,
            artifact_type=artifact_type,
            manifests=_descriptors(value, "manifests"),
            annotations=annotations,
        )
    return Manifest(
        raw=raw,
        media_type=media_type or mediatypes.OCI_MANIFEST,
        artifact_type=artifact_type,
        config=Descriptor.from_json(value.get("config"), "config"),
        layers=_descriptors(value, "layers"),
        annotations=annotations,
        subject=Descriptor.from_json(value["subject"], "subject") if value.get("subject") else None,
    )


def artifact_about(
    subject: Descriptor, layer: Descriptor, *, artifact_type: str, annotations: Mapping[str, str]
) -> Manifest:
    """A manifest with one layer that says something about another manifest; canonical bytes.

    Its config is the empty document, `EMPTY` (OCI image specification 1.1, "Guidance for artifacts").
    """
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": Descriptor(
                media_type=mediatypes.OCI_EMPTY, digest=Digest.of(EMPTY), size=len(EMPTY)
            ).to_json(),
            "layers": [layer.to_json()],
            "subject": subject.to_json(),
            "annotations": dict(annotations),
        }
    )
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    return manifest


def modelpack_manifest(
    *, config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str]
) -> Manifest:
    """A ModelPack manifest with canonical bytes over blobs that exist."""
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "artifactType": mediatypes.MODELPACK_ARTIFACT,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
            "annotations": dict(annotations),
        }
    )
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    return manifest


def modelpack_index(manifests: Sequence[Descriptor]) -> Index:
    """An image index of ModelPack manifests with canonical bytes; they keep their order."""
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "artifactType": mediatypes.MODELPACK_ARTIFACT,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
    )
    index = parse(raw)
    assert isinstance(index, Index)
    return index


def modelpack_config(
    *,
    architecture: str | None,
    format: str,  # noqa: A002 - the field's name in the specification
    quantization: str | None,
    parameters: int | None,
    licenses: Sequence[str],
    diff_ids: Sequence[Digest],
) -> bytes:
    """The ModelPack config blob. Layers are raw, so their diff ids are their digests."""
    config: dict[str, object] = {"format": format}
    if architecture:
        config["architecture"] = architecture
    if quantization:
        config["quantization"] = quantization
    if parameters is not None:
        config["paramSize"] = param_size(parameters)
    descriptor: dict[str, object] = {"licenses": list(licenses)} if licenses else {}
    return canonical_json(
        {
            "descriptor": descriptor,
            "config": config,
            "modelfs": {"type": "layers", "diffIds": [str(digest) for digest in diff_ids]},
        }
    )


def modelpack_layer(
    *, media_type: str, digest: Digest, size: int, path: str, role: str | None = None
) -> Descriptor:
    """A raw layer for the file `path`, with the constants that make it reproducible."""
    metadata = {
        "name": path.rsplit("/", 1)[-1],
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": size,
        "mtime": "1970-01-01T00:00:00Z",
        "typeflag": 0,
    }
    annotations = {
        mediatypes.MODELPACK_FILEPATH: path,
        mediatypes.MODELPACK_FILE_METADATA: canonical_json(metadata).decode(),
        mediatypes.MODELPACK_UNTESTED: "false",
    }
    if role is not None:
        annotations[mediatypes.SLMCTL_ROLE] = role
    return Descriptor(media_type=media_type, digest=digest, size=size, annotations=annotations)


def param_size(count: int) -> str:
    """A parameter count as ModelPack's paramSize writes it: `260k`, `596m`, `4b`, `1.7b`."""
    for unit, suffix in ((10**9, "b"), (10**6, "m"), (10**3, "k")):
        if count >= unit:
            value = count / unit
            return f"{value:.0f}{suffix}" if value >= 100 else f"{value:.1f}".removesuffix(".0") + suffix
    return str(count)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _text(value: dict[str, object], key: str, where: str) -> str | None:
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise MalformedFile(f"The manifest's {where} has a {key} that is not text.")
    return text


def _annotations(value: dict[str, object], where: str) -> dict[str, str]:
    annotations = value.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise MalformedFile(f"The manifest's {where} has annotations that are not texts.")
    return annotations


def _descriptors(value: dict[str, object], key: str) -> tuple[Descriptor, ...]:
    items = value.get(key)
    if not isinstance(items, list):
        raise MalformedFile(f"The manifest has no list of {key}.")
    if len(items) > _MAX_LAYERS:
        raise MalformedFile(f"The manifest has more than {_MAX_LAYERS} {key}.")
    return tuple(Descriptor.from_json(item, f"{key}[{position}]") for position, item in enumerate(items))
