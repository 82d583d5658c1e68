"""What a name in the store means: a package of variants, each a build for one runtime.

With `variants`, which lists them, `ollama_manifest`, which reads Ollama's, and `dialects`, which reads the
others', this is the only module outside `registry` that gives media types and annotations a meaning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, DoesNotFit, MalformedFile, NotFound, OperationFailed, UsageError
from registry.formats.facts import ModelFacts
from registry.manifest import Descriptor, Manifest
from registry.names import ModelRef
from registry.store.index import Entry, NameTable
from registry.store.reader import StoreReader
from slmctl.app.derived_facts import derived_facts
from slmctl.app.dialects.described import TEMPLATE_PATH
from slmctl.app.dialects.folders import derived_folder_facts
from slmctl.app.dialects.reading import describe
from slmctl.app.file_names import file_path
from slmctl.app.ollama_manifest import is_ollama, read_model
from slmctl.app.variants import manifests_of, written_id

DEFAULT_QUANTIZATION = "q4_k_m"

PACKED = "packed"
"""The role of a layer that is a tar of files: nothing can be done with it but unpack it."""

MEDIA_TYPES = {"config": mediatypes.MODELPACK_WEIGHT_CONFIG, "doc": mediatypes.MODELPACK_DOC}
"""What a file's role makes of its layer; all other roles are kinds of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file of a variant. `role` is weights, projector, adapter, draft, config or doc; `size` in bytes.

    In others' dialects also spec, a layer that the variant's spec was read from, and PACKED.
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
    """A build for one runtime; `digest` is its manifest's, `facts` None when no one has derived them yet.

    `packed` says how the weights lie in an artifact that must be unpacked before anything can run it.
    """

    id: str
    format: str
    quantization: str | None
    digest: Digest
    facts: ModelFacts | None
    spec: ModelSpec
    licenses: tuple[str, ...]
    files: tuple[PackageFile, ...]
    local: bool
    packed: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def weights(self) -> tuple[PackageFile, ...]:
        """The weight files by name, which for a sharded set is the order of the shards."""
        return self.of_role("weights")

    @property
    def chat_template(self) -> PackageFile | None:
        """The file of the package that holds a chat template in Jinja; None where there is none."""
        return next((file for file in self.of_role("config") if file.path == TEMPLATE_PATH), None)

    def of_role(self, role: str) -> tuple[PackageFile, ...]:
        """The files of a role, by name."""
        return tuple(sorted((file for file in self.files if file.role == role), key=lambda file: file.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A model in the store: a name, the digest that it points at, and its variants. `tracks` and `pins` are
    as in the table of names (`registry.store.index.Entry`)."""

    name: str
    digest: Digest
    source: str | None
    linked: str | None
    variants: tuple[Variant, ...]
    tracks: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

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
            tracks=entry.tracks,
            pins=entry.pins,
            variants=tuple(_variant(store, manifest) for manifest in manifests_of(store, entry.descriptor)),
        )

    def choose(self, wanted: str | None) -> Variant:
        """The variant whose id is `wanted` or contains it in any case; without a wish Q4_K_M, else the first,
        of those that are here if any is.

        Raises NotFound when none matches, UsageError when several do.
        """
        ids = ", ".join(variant.id for variant in self.variants)
        if wanted is None:
            here = [variant for variant in self.variants if variant.local] or self.variants
            usual = default_id([variant.id for variant in here])
            return next(variant for variant in self.variants if variant.id == usual)
        text = wanted.lower()
        matches = [variant for variant in self.variants if variant.id == text]
        matches = matches or [variant for variant in self.variants if text in variant.id]
        if not matches:
            raise NotFound(f"The model {self.name} has no variant {wanted!r}.", hint=f"It has {ids}.")
        if len(matches) > 1:
            raise UsageError(f"More than one variant of {self.name} fits {wanted!r}.", hint=f"It has {ids}.")
        return matches[0]


def check_unpacked(package: Package, variant: Variant) -> None:
    """Raise DoesNotFit for a variant whose files lie where nothing can use them."""
    if variant.packed is not None:
        raise DoesNotFit(
            f"The weights of {package.name} are {variant.packed}.",
            hint="Pull it from its registry: 'slmctl pull' makes a model of it that runs.",
        )


def default_id(ids: Sequence[str]) -> str:
    """The variant that runs without a wish and without a plan: Q4_K_M, else the first."""
    return next((each for each in ids if each.endswith(f"-{DEFAULT_QUANTIZATION}")), ids[0])


def variant_id(format: str, quantization: str | None) -> str:  # noqa: A002 - the field's name
    """`<format>-<quantization>`, lower case."""
    return f"{format}-{quantization or 'unknown'}".lower()


def _variant(store: StoreReader, manifest: Manifest) -> Variant:
    if is_ollama(manifest):
        return _ollama_variant(store, manifest)
    said = describe(store, manifest)
    files = tuple(
        PackageFile(
            path=part.path,
            role=PACKED if part.packing else part.role,
            digest=part.layer.digest,
            size=part.layer.size,
        )
        for part in said.parts
    )
    format_ = said.format or "gguf"
    facts = _facts(manifest)
    if facts is None and not said.packed:
        facts = _derived(store, manifest, files, format_, said.quantization)
    if facts is not None:
        format_ = facts.format
    quantization = (facts.quantization if facts else None) or said.quantization
    return Variant(
        id=written_id(manifest) or variant_id(format_, quantization),
        format=format_,
        quantization=quantization,
        digest=manifest.digest,
        facts=facts,
        spec=said.spec,
        licenses=said.licenses,
        files=files,
        local=all(store.has(file.digest) for file in files),
        packed=said.packed,
    )


def _derived(
    store: StoreReader,
    manifest: Manifest,
    files: Sequence[PackageFile],
    format_: str,
    quantization: str | None,
) -> ModelFacts | None:
    """What the headers of the weights say; None where they are gone or damaged, which is said on use."""
    weights = sorted((file for file in files if file.role == "weights"), key=lambda file: file.path)
    if not weights:
        return None
    with suppress(NotFound, BadContent, OperationFailed):
        if format_ == "gguf":
            return derived_facts(store, manifest.digest, [file.descriptor for file in weights])
        blobs = {file.path: file.descriptor for file in files}
        paths = [file.path for file in weights]
        return derived_folder_facts(store, manifest.digest, blobs, paths, format_, quantization)
    return None


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
    facts = _derived(store, manifest, files, "gguf", None) if model.format == "gguf" else None
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


def _facts(manifest: Manifest) -> ModelFacts | None:
    text = manifest.annotations.get(mediatypes.SLMCTL_FACTS)
    if text is None:
        return None
    try:
        return ModelFacts.from_json(json.loads(text))
    except (ValueError, RecursionError):
        raise MalformedFile(f"The facts in the manifest {manifest.digest} are not valid JSON.") from None
