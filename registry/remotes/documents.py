"""Manifests and indexes as a registry gives them: capped, hashed here, and unambiguous.

OCI distribution specification 1.1, "Pulling manifests"; OCI image specification 1.1, "Digests" (the
registered algorithms). Docker-Content-Digest is what the registry says; our own hash of the bytes is what
counts. A document that could be read as two things (CVE-2021-41190, GHSA-5j5w-g665-5m35) is refused.
"""

from __future__ import annotations

import hashlib
import re

from registry import mediatypes
from registry.digest import Digest
from registry.errors import DigestMismatch, MalformedFile
from registry.formats.quote import quoted
from registry.manifest import Descriptor, Index, Manifest, parse

MANIFEST_TYPES = frozenset({mediatypes.OCI_MANIFEST, mediatypes.DOCKER_MANIFEST})
INDEX_TYPES = frozenset({mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST})
_ACCEPTED = (
    mediatypes.OCI_MANIFEST,
    mediatypes.OCI_INDEX,
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_MANIFEST_LIST,
)
ACCEPTED = ", ".join(_ACCEPTED)
"""The Accept header for documents."""

_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|blake3:[0-9a-f]{64})", re.ASCII)
"""The registered algorithms, each with its only encoding."""


def read_document(
    raw: bytes, *, content_type: str, said_digest: str | None, wanted: Descriptor | Digest | None, shown: str
) -> Manifest | Index:
    """The document in `raw`, which came from `shown` with these headers.

    `wanted` is what was asked for, if that is known. Raises DigestMismatch, MalformedFile.
    """
    own = Digest.of(raw)
    digest = wanted.digest if isinstance(wanted, Descriptor) else wanted
    if digest is not None and own != digest:
        raise DigestMismatch(
            f"{shown} gave a manifest that is not the one asked for: its digest is {own}, not {digest}.",
            hint="The registry, or something between it and here, is broken or hostile.",
        )
    if said_digest:
        _check_said(raw, own, said_digest.strip(), shown)
    document = parse(raw)
    is_index = isinstance(document, Index)
    types = [document.media_type, content_type.partition(";")[0].strip().lower()]
    if isinstance(wanted, Descriptor):
        types.append(wanted.media_type)
    for text in types:
        if text in (MANIFEST_TYPES if is_index else INDEX_TYPES):
            raise MalformedFile(
                f"{shown} gave a document that is called {text} and holds"
                f" {'an index' if is_index else 'a manifest'}."
            )
    known = {text for text in types[:2] if text in MANIFEST_TYPES | INDEX_TYPES}
    if len(known) > 1:
        raise MalformedFile(f"{shown} calls a document {types[1]} that calls itself {types[0]}.")
    return document


def _check_said(raw: bytes, own: Digest, said: str, shown: str) -> None:
    if not _DIGEST.fullmatch(said):
        raise MalformedFile(f"{shown} gave a manifest with a digest that is none: {quoted(said, 100)}.")
    algorithm, _, encoded = said.partition(":")
    ours = {"sha256": own.hex, "sha512": hashlib.sha512(raw).hexdigest()}.get(algorithm, encoded)
    if ours != encoded:
        raise DigestMismatch(
            f"{shown} gave a manifest whose digest is {algorithm}:{ours}, and said that it is {said[:100]}.",
            hint="The registry, or something between it and here, is broken or hostile.",
        )
