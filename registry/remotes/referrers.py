"""What refers to a manifest: signatures, attestations, further documents.

OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema": registries without the API
keep an index under the tag `sha256-HEX`, which clients maintain.
"""

from __future__ import annotations

from registry import mediatypes
from registry.digest import Digest
from registry.errors import MalformedFile, NotFound
from registry.manifest import Descriptor, Index, canonical_json, parse
from registry.remotes.connection import Connection
from registry.remotes.http import Answer
from registry.remotes.pages import pages

MAX_REFERRERS = 10_000


def fallback_tag(digest: Digest) -> str:
    return f"sha256-{digest.hex}"


def from_api(connection: Connection, digest: Digest) -> tuple[Descriptor, ...] | None:
    """The referrers by the registry's API, all types; None where it has no such API."""
    found: dict[Digest, Descriptor] = {}
    what = "its list of referrers"

    def read(_: Answer, raw: bytes) -> Index:
        document = parse(raw)
        if not isinstance(document, Index):
            raise MalformedFile(f"{connection.repository.shown} gave a list of referrers that is no index.")
        return document

    try:
        for index in pages(connection, connection.repository.referrers(digest), what, read):
            found.update((each.digest, each) for each in index.manifests)
            if len(found) > MAX_REFERRERS:
                raise MalformedFile(
                    f"{connection.repository.shown} names more than {MAX_REFERRERS} referrers of one"
                    " manifest."
                )
    except NotFound:
        return None
    return tuple(found.values())


def of_type(referrers: tuple[Descriptor, ...], artifact_type: str | None) -> tuple[Descriptor, ...]:
    """Those of a type; filtered here whatever the registry said that it has filtered."""
    if artifact_type is None:
        return referrers
    return tuple(each for each in referrers if each.artifact_type == artifact_type)


def index_with(raw: bytes | None, added: Descriptor) -> bytes | None:
    """The fallback index with one more referrer; None where it is in there already. `raw` is the one
    before."""
    before: tuple[Descriptor, ...] = ()
    if raw is not None:
        document = parse(raw)
        if not isinstance(document, Index):
            raise MalformedFile("Under the tag for referrers there is no index.")
        before = document.manifests
    if any(each.digest == added.digest for each in before):
        return None
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [each.to_json() for each in (*before, added)],
        }
    )
