"""Small models for the tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from registry import mediatypes
from registry.digest import Digest
from registry.manifest import (
    Descriptor,
    modelpack_config,
    modelpack_index,
    modelpack_layer,
    modelpack_manifest,
)
from registry.store.index import Entry
from registry.store.store import Replace, Session, Store

NOW = "2026-11-22T00:00:00Z"


def write_manifest(session: Session, weights: Digest, size: int, variant: str = "gguf-f32") -> Descriptor:
    """A manifest whose only layer is `weights`, with its config."""
    config = modelpack_config(
        architecture=None, format="gguf", quantization=None, parameters=None, licenses=[], diff_ids=[weights]
    )
    manifest = modelpack_manifest(
        config=Descriptor(
            media_type=mediatypes.MODELPACK_CONFIG, digest=session.put(config), size=len(config)
        ),
        layers=[
            modelpack_layer(
                media_type=mediatypes.MODELPACK_WEIGHT, digest=weights, size=size, path="model.gguf"
            )
        ],
        annotations={mediatypes.SLMCTL_VARIANT: variant},
    )
    digest = session.put(manifest.raw)
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(manifest.raw))


def add(store: Store, name: str, content: bytes, source: str = "create") -> Entry:
    """A model of one variant whose weights are `content`."""
    with store.session("test") as session:
        descriptor = write_manifest(session, session.put(content), len(content))
        return link(store, name, descriptor, source)


def add_several(store: Store, name: str, contents: Sequence[bytes], source: str = "create") -> Entry:
    """A model with a variant for each of `contents`, called v0, v1 and so on."""
    with store.session("test") as session:
        variants = [
            write_manifest(session, session.put(content), len(content), f"v{number}")
            for number, content in enumerate(contents)
        ]
        index = modelpack_index([replace(variant, artifact_type=None) for variant in variants])
        digest = session.put(index.raw)
        descriptor = Descriptor(media_type=mediatypes.OCI_INDEX, digest=digest, size=len(index.raw))
        return link(store, name, descriptor, source)


def link(store: Store, name: str, descriptor: Descriptor, source: str = "create") -> Entry:
    return store.link(name, descriptor, source=source, linked=NOW, replace_rule=Replace.ANYTHING)
