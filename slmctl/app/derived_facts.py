"""The facts of models whose manifests carry none: derived from their headers, and remembered.

A note in `cache/facts/` is named after the digest of the manifest, whose bytes never change. It is read like
any document from outside, and where it is absent, damaged or impossible to write the header is read again.
What is loaded is always held against the header (`loading`), so a note that lies costs a sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from registry.digest import Digest
from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.manifest import Descriptor, canonical_json
from registry.store.reader import StoreReader

_MAX_BYTES = 4 << 20


def derived_facts(store: StoreReader, manifest: Digest, weights: Sequence[Descriptor]) -> ModelFacts:
    """The facts of the GGUF files `weights`, in order, which `manifest` names.

    Raises NotFound, BadContent.
    """
    noted = noted_facts(store, manifest)
    if noted is not None:
        return noted
    with ExitStack() as stack:
        headers = [read_header(stack.enter_context(store.open_blob(file))) for file in weights]
    facts = facts_from_gguf(headers)
    remember_facts(store, manifest, facts)
    return facts


def noted_facts(store: StoreReader, manifest: Digest) -> ModelFacts | None:
    """The facts as they were remembered; None where nothing was, or nothing that can be read."""
    return _read(_path(store, manifest))


def remember_facts(store: StoreReader, manifest: Digest, facts: ModelFacts) -> None:
    """Keep the facts, where the store can be written to."""
    path = _path(store, manifest)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)  # never the store itself
        try:
            temporary.write_bytes(canonical_json(facts.to_json()))
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)


def _path(store: StoreReader, manifest: Digest) -> Path:
    return store.layout.facts / f"{manifest.hex}.json"


def _read(path: Path) -> ModelFacts | None:
    try:
        with path.open("rb") as stream:
            return ModelFacts.from_json(json.loads(stream.read(_MAX_BYTES)))
    except (OSError, ValueError, RecursionError, MalformedFile):
        return None
