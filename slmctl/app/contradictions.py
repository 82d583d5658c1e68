"""Facts in a manifest that the header of the file itself contradicts. The header counts, and it is said."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.findings import Finding
from registry.store.index import Entry
from registry.store.needs import User
from registry.store.reader import StoreReader
from slmctl.app.package import Package, Variant
from slmctl.app.variants import manifests_of, says_facts


def contradictions(
    reader: StoreReader, entries: Collection[Entry], bad: AbstractSet[Digest]
) -> Iterator[Finding]:
    """What is found in the headers of the weights of `entries`, without the files that are `bad`."""
    seen: set[Digest] = set()
    for entry in entries:
        variants: tuple[Variant, ...] = ()
        with suppress(SlmctlError, OSError):  # what cannot be read was found by others
            if any(
                map(says_facts, manifests_of(reader, entry.descriptor))
            ):  # else they are derived, and kept
                variants = Package.of(reader, entry).variants
        for variant in variants:
            if variant.digest in seen or bad & {file.digest for file in variant.weights}:
                continue
            seen.add(variant.digest)
            if _contradicts(reader, variant):
                yield Finding(
                    kind="contradiction",
                    message="the facts in its manifest are not those of the file's header",
                    digest=variant.digest,
                    path=reader.layout.blob(variant.digest),
                    users=(User(entry.name, variant.id),),
                )


def _contradicts(reader: StoreReader, variant: Variant) -> bool:
    if variant.facts is None or variant.format != "gguf" or not variant.weights:
        return False
    headers = []
    try:
        for file in variant.weights:
            with reader.open_blob(file.descriptor, check_notes=False) as stream:  # it was just hashed
                headers.append(read_header(stream))
        return facts_from_gguf(headers) != variant.facts
    except (SlmctlError, OSError):
        return False  # not here, or no GGUF: a run says so
