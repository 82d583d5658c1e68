"""What a name in the store means: a package of variants, each a build for one runtime.

With `variants`, which lists them, and `ollama_manifest`, which reads Ollama's, this is the only module
outside `registry` that gives media types and annotations a meaning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, DoesNotFit, MalformedFile, NotFound, OperationFailed, UsageError
from registry.formats.facts import ModelFacts
from registry.manifest import (
    Descriptor,
    Manifest,
    load_json_object,
)
from registry.names import ModelRef
from registry.store.index import Entry, NameTable
from registry.store.reader import StoreReader
from slmctl.app.derived_facts import derived_facts
from slmctl.app.ollama_manifest import is_ollama, read_model
from slmctl.app.variants import manifests_of, written_id

SPEC_PATH = "slmctl/spec.json"
DEFAULT_QUANTIZATION = "q4_k_m"

MEDIA_TYPES = {"config": mediatypes.MODELPACK_WEIGHT_CONFIG, "doc": mediatypes.MODELPACK_DOC}
"""What a file's role makes of its layer; all other roles are kinds of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file of a variant. `role` is weights, projector, adapter, draft, config or doc; `size` in bytes.

    In Ollama's dialect also spec: a layer that the variant's spec was read from.
    """

    path: str
    role: str
    digest: Digest
    size: int

    @property
    def descriptor(self) -> Descriptor:
        """The blob, as the store is asked for it."""
        return Descriptor(media_type="", digest=self.digest, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A build for one runtime; `digest` is its manifest's, `facts` None when no one has derived them yet."""

    id: str
    format: str
    quantization: str | None
    digest: Digest
    facts: ModelFacts | None
    spec: ModelSpec
    licenses: tuple[str, ...]
    files: tuple[PackageFile, ...]
    local: bool

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def weights(self) -> tuple[PackageFile, ...]:
        """The weight files by name, which for a sharded set is the order of the shards."""
        return self.of_role("weights")

    def of_role(self, role: str) -> tuple[PackageFile, ...]:
        """The files of a role, by name."""
        return tuple(sorted((file for file in self.files if file.role == role), key=lambda file: file.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A model in the store: a name, the digest that it points at, and its variants."""

    name: str
    digest: Digest
    source: str | None
    linked: str | None
    variants: tuple[Variant, ...]

    @property
    def size(self) -> int:
        """Bytes of all files of all variants, shared ones counted once."""
        return sum({file.digest: file.size for variant in self.variants for file in variant.files}.values())

    @classmethod
    def open(cls, store: StoreReader, ref: ModelRef, names: NameTable | None = None) -> Package:
        """The package that `ref` names. Raises NotFound, BadContent, StoreUnusable."""
        return cls.of(store, store.resolve(ref, names))

    @classmethod
    def of(cls, store: StoreReader, entry: Entry) -> Package:
        """The package behind an entry of the table of names."""
        return cls(
            name=entry.name,
            digest=entry.descriptor.digest,
            source=entry.source,
            linked=entry.linked,
            variants=tuple(_variant(store, manifest) for manifest in manifests_of(store, entry.descriptor)),
        )

    def choose(self, wanted: str | None) -> Variant:
        """The variant whose id is `wanted` or contains it in any case; without a wish Q4_K_M, else the first.

        Raises NotFound when none matches, UsageError when several do.
        """
        ids = ", ".join(variant.id for variant in self.variants)
        if wanted is None:
            usual = default_id([variant.id for variant in self.variants])
            return next(variant for variant in self.variants if variant.id == usual)
        text = wanted.lower()
        matches = [variant for variant in self.variants if variant.id == text]
        matches = matches or [variant for variant in self.variants if text in variant.id]
        if not matches:
            raise NotFound(f"The model {self.name} has no variant {wanted!r}.", hint=f"It has {ids}.")
        if len(matches) > 1:
            raise UsageError(f"More than one variant of {self.name} fits {wanted!r}.", hint=f"It has {ids}.")
        return matches[0]


def default_id(ids: Sequence[str]) -> str:
    """The variant that runs without a wish and without a plan: Q4_K_M, else the first."""
    return next((each for each in ids if each.endswith(f"-{DEFAULT_QUANTIZATION}")), ids[0])


def variant_id(format: str, quantization: str | None) -> str:  # noqa: A002 - the field's name
    """`<format>-<quantization>`, lower case."""
    return f"{format}-{quantization or 'unknown'}".lower()


def file_path(role: str, number: int, count: int) -> str:
    """The name of file `number` (from 0) of the `count` that have a role. It says nothing of what the user's
    was called, and llama.cpp finds the parts of a sharded set by this pattern."""
    stem = "model" if role == "weights" else role
    if role == "spec":
        return f"spec/{number}"
    return f"{stem}.gguf" if count == 1 else f"{stem}-{number + 1:05}-of-{count:05}.gguf"


def _variant(store: StoreReader, manifest: Manifest) -> Variant:
    if is_ollama(manifest):
        return _ollama_variant(store, manifest)
    if manifest.artifact_type != mediatypes.MODELPACK_ARTIFACT:
        kind = manifest.artifact_type or manifest.config.media_type or "unknown"
        raise DoesNotFit(
            f"The artifact {manifest.digest} is of the kind {kind!r:.80}, which is no model slmctl can read.",
            hint="Make a model from its GGUF file with: slmctl create NAME --from FILE",
        )
    files = tuple(file for layer in manifest.layers if (file := _file(layer)) is not None)
    config = load_json_object(store.read_blob(manifest.config), "The model's config")
    facts = _facts(manifest)
    format_ = facts.format if facts else _described(config, "config", "format") or "gguf"
    quantization = facts.quantization if facts else _described(config, "config", "quantization")
    return Variant(
        id=written_id(manifest) or variant_id(format_, quantization),
        format=format_,
        quantization=quantization,
        digest=manifest.digest,
        facts=facts,
        spec=_spec(store, files),
        licenses=_licenses(config),
        files=files,
        local=all(store.has(file.digest) for file in files),
    )


def _ollama_variant(store: StoreReader, manifest: Manifest) -> Variant:
    model = read_model(store, manifest)
    of_role: dict[str, list[Descriptor]] = {}
    for role, layer in model.layers:
        of_role.setdefault(role, []).append(layer)
    files = tuple(
        PackageFile(
            path=file_path(role, number, len(layers)) if model.format == "gguf" else f"{role}/{number}",
            role=role,
            digest=layer.digest,
            size=layer.size,
        )
        for role, layers in of_role.items()
        for number, layer in enumerate(layers)
    )
    facts = None
    if model.format == "gguf" and (weights := of_role.get("weights")):
        with suppress(
            NotFound, BadContent, OperationFailed
        ):  # what is gone or damaged is said when it is used
            facts = derived_facts(store, manifest.digest, weights)
    quantization = model.quantization or (facts.quantization if facts else None)
    return Variant(
        id=variant_id(model.format, quantization),
        format=model.format,
        quantization=quantization,
        digest=manifest.digest,
        facts=facts,
        spec=model.spec,
        licenses=(),
        files=files,
        local=all(store.has(file.digest) for file in files),
    )


def _file(layer: Descriptor) -> PackageFile | None:
    """The file in a layer; None for layers that are not ours to read. Raises MalformedFile for a bad path."""
    role = _role(layer)
    if role is None:
        return None
    path = layer.annotations.get(mediatypes.MODELPACK_FILEPATH, "")
    return PackageFile(path=checked_path(path), role=role, digest=layer.digest, size=layer.size)


def _role(layer: Descriptor) -> str | None:
    if layer.media_type == mediatypes.MODELPACK_WEIGHT:
        return layer.annotations.get(mediatypes.SLMCTL_ROLE, "weights")
    return next((role for role, media_type in MEDIA_TYPES.items() if media_type == layer.media_type), None)


def _described(config: dict[str, object], part: str, name: str) -> str | None:
    described = config.get(part)
    value = described.get(name) if isinstance(described, dict) else None
    return value if isinstance(value, str) else None


def _licenses(config: dict[str, object]) -> tuple[str, ...]:
    described = config.get("descriptor")
    licenses = described.get("licenses") if isinstance(described, dict) else None
    return tuple(text for text in licenses if isinstance(text, str)) if isinstance(licenses, list) else ()


def checked_path(text: str) -> str:
    """A relative path of a file in a package, without tricks; raises MalformedFile."""
    path = PurePosixPath(text)
    tricky = any(
        part in {"..", "."} or "\\" in part or ":" in part or not part.isprintable() for part in path.parts
    )
    if not path.parts or tricky or path.is_absolute() or str(path) != text or len(text) > 1024:
        raise MalformedFile(f"The model names a file {text!r:.80}, which is not a safe relative path.")
    return text


def _facts(manifest: Manifest) -> ModelFacts | None:
    text = manifest.annotations.get(mediatypes.SLMCTL_FACTS)
    if text is None:
        return None
    try:
        return ModelFacts.from_json(json.loads(text))
    except (ValueError, RecursionError):
        raise MalformedFile(f"The facts in the manifest {manifest.digest} are not valid JSON.") from None


def _spec(store: StoreReader, files: Sequence[PackageFile]) -> ModelSpec:
    for file in files:
        if file.role == "config" and file.path == SPEC_PATH:
            return ModelSpec.from_json(load_json_object(store.read_blob(file.descriptor), "The model's spec"))
    return ModelSpec()
