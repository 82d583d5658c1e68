"""Writing packages: builds become manifests, and several of them an image index.

Everything is canonical: the same builds give the same digests on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import UsageError
from registry.formats.facts import ModelFacts
from registry.manifest import (
    Descriptor,
    Index,
    canonical_json,
    modelpack_config,
    modelpack_index,
    modelpack_layer,
    modelpack_manifest,
)
from slmctl.app.dialects.modelpack import SPEC_PATH
from slmctl.app.package import MEDIA_TYPES, PackageFile, Variant, variant_id


class BlobWriter(Protocol):
    """Where small blobs go: a session of the store, or nowhere, for who only wants to know the digests."""

    def put(self, data: bytes, /) -> Digest: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What becomes a variant: its files, without the spec, whose blobs are in the session's store.

    `own_id` is the variant's id where its publisher calls it something else than the facts do.
    """

    files: tuple[PackageFile, ...]
    facts: ModelFacts
    licenses: tuple[str, ...]
    spec: ModelSpec
    own_id: str | None = None

    @property
    def id(self) -> str:
        return self.own_id or variant_id(self.facts.format, self.facts.quantization)


def build_of(variant: Variant) -> Build:
    """A variant as something to be written anew: its files without those that hold what its author said.

    Raises UsageError for one whose facts nobody knows.
    """
    if variant.packed is not None:
        raise UsageError(
            f"The weights of the variant {variant.id} are {variant.packed}.", hint="'slmctl pull' unpacks it."
        )
    if variant.facts is None:
        raise UsageError(f"The variant {variant.id} has no facts to build on.", hint="Its file is not here.")
    files = tuple(file for file in variant.files if file.path != SPEC_PATH and file.role != "spec")
    derived = variant_id(variant.facts.format, variant.facts.quantization)
    return Build(
        files=files,
        facts=variant.facts,
        licenses=variant.licenses,
        spec=variant.spec,
        own_id=None if variant.id == derived else variant.id,
    )


def write_model(session: BlobWriter, builds: Sequence[Build]) -> Descriptor:
    """Write the canonical manifest of one build, or of several and an index of them in their order.

    Gives the descriptor that a name can be linked to.
    """
    return write_variants(session, {build.id: _write_variant(session, build) for build in builds})


def write_variants(session: BlobWriter, variants: Mapping[str, Descriptor]) -> Descriptor:
    """What a name can be linked to that has these manifests, by the variants' ids: the one, or an index of
    several in their order."""
    if len(variants) == 1:
        return next(iter(variants.values()))
    index = index_of(variants)
    return Descriptor(
        media_type=mediatypes.OCI_INDEX,
        digest=session.put(index.raw),
        size=len(index.raw),
        artifact_type=mediatypes.MODELPACK_ARTIFACT,
    )


def index_of(variants: Mapping[str, Descriptor]) -> Index:
    """The canonical index of several manifests, by the variants' ids, in their order."""
    return modelpack_index(
        [
            replace(manifest, artifact_type=None, annotations={mediatypes.SLMCTL_VARIANT: each})
            for each, manifest in variants.items()
        ]
    )


def _write_variant(session: BlobWriter, build: Build) -> Descriptor:
    spec_bytes = build.spec.to_canonical_bytes()
    spec_file = PackageFile(
        path=SPEC_PATH, role="config", digest=session.put(spec_bytes), size=len(spec_bytes)
    )
    layers = [_layer(file) for file in (*build.files, spec_file)]
    facts = build.facts
    config = modelpack_config(
        architecture=facts.architecture,
        format=facts.format,
        quantization=facts.quantization,
        parameters=facts.parameters,
        licenses=build.licenses,
        diff_ids=[layer.digest for layer in layers],
    )
    manifest = modelpack_manifest(
        config=Descriptor(
            media_type=mediatypes.MODELPACK_CONFIG, digest=session.put(config), size=len(config)
        ),
        layers=layers,
        annotations={
            mediatypes.SLMCTL_VARIANT: build.id,
            mediatypes.SLMCTL_FACTS: canonical_json(facts.to_json()).decode(),
        },
    )
    return Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=session.put(manifest.raw),
        size=len(manifest.raw),
        artifact_type=mediatypes.MODELPACK_ARTIFACT,
    )


def _layer(file: PackageFile) -> Descriptor:
    return modelpack_layer(
        media_type=MEDIA_TYPES.get(file.role, mediatypes.MODELPACK_WEIGHT),
        digest=file.digest,
        size=file.size,
        path=file.path,
        role=None if file.role == "weights" or file.role in MEDIA_TYPES else file.role,
    )
