"""Which variants a name in the store has, from the manifests alone.

Apart from `package`, which reads the rest, because `slmctl list` must start fast.
"""

from __future__ import annotations

import re

from registry import mediatypes
from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Manifest
from registry.store.reader import StoreReader

_MAX_VARIANTS = 500
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def manifests_of(store: StoreReader, descriptor: Descriptor) -> list[Manifest]:
    """The image manifests behind a name: one, or those of an index and of the indexes in it, each once.

    Raises MalformedFile for an index that is nested too deeply, names too many or names none.
    """
    found: dict[Digest, Manifest] = {}
    seen: set[Digest] = set()
    level = [descriptor]
    for _ in range(MAX_INDEX_DEPTH):
        below: list[Descriptor] = []
        for each in level:
            if each.digest in seen:
                continue
            seen.add(each.digest)
            document = store.manifest(each)
            if isinstance(document, Manifest):
                found[each.digest] = document
            else:
                below += document.manifests
            if len(seen) > _MAX_VARIANTS:
                raise MalformedFile(f"The image index {descriptor.digest} names more than {_MAX_VARIANTS}.")
        level = below
    if level:
        raise MalformedFile(f"The image index {descriptor.digest} is nested too deeply.")
    if not found:
        raise MalformedFile(f"The image index {descriptor.digest} names no variant.")
    return list(found.values())


def is_modelpack(manifest: Manifest) -> bool:
    """Whether a manifest is in the format that slmctl writes, and other tools read."""
    return manifest.artifact_type == mediatypes.MODELPACK_ARTIFACT


def says_facts(manifest: Manifest) -> bool:
    """Whether facts stand in the manifest, so that they need not be derived from the file's header."""
    return mediatypes.SLMCTL_FACTS in manifest.annotations


def written_id(manifest: Manifest) -> str | None:
    """The variant's id as the manifest has it; None when it has none that is one."""
    written = manifest.annotations.get(mediatypes.SLMCTL_VARIANT, "")
    return written if _ID.fullmatch(written) else None


def listed_id(store: StoreReader, manifest: Manifest) -> str:
    """The variant's id for a listing: as the manifest has it, or as its config says; else `unknown`."""
    written = written_id(manifest)
    if written is not None:
        return written
    # here, because most stores have manifests of ours only
    from slmctl.app.derived_facts import noted_facts
    from slmctl.app.dialects import reading
    from slmctl.app.ollama_manifest import format_of, is_ollama

    found = format_of(store, manifest) if is_ollama(manifest) else reading.format_of(store, manifest)
    if found is None:
        return "unknown"
    model_format, quantization = found
    noted = noted_facts(store, manifest.digest)
    if noted is not None and (quantization is None or not is_ollama(manifest)):
        model_format, quantization = noted.format, noted.quantization or quantization
    return f"{model_format}-{quantization or 'unknown'}".lower()
