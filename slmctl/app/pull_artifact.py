"""Pulling from a place of artifacts: manifests come as they are, and of an index only what was chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry import mediatypes
from registry.digest import Digest
from registry.errors import UsageError
from registry.manifest import Descriptor, Manifest
from registry.remotes.base import Artifact, Blob, BlobSource, Remote
from registry.store.index import Entry
from registry.store.store import Session
from registry.transfer.download import Wanted
from slmctl.app.artifacts import Tree, needed_to_read, tree_of
from slmctl.app.coming import Coming, Work
from slmctl.app.package import Package, Variant

_MAX_SMALL_BYTES = 16 << 20


def coming_artifact(
    work: Work,
    remote: Remote,
    sources: Sequence[BlobSource],
    artifact: Artifact,
    *,
    name: str,
    wanted: Sequence[str],
    all_variants: bool,
) -> Coming:
    """Take in the documents of an artifact and all that tells what its variants are; choose among them.

    Raises as `Remote.manifest`, `Package.of` and `Package.choose` do.
    """
    tree = tree_of(remote, artifact)
    _take_documents(work.session, remote, tree)
    package = Package.of(work.store, Entry(name=name, descriptor=tree.root, source=None, linked=None))
    chosen = _choose(package, wanted, all_variants=all_variants)
    blobs = {
        blob.digest: blob for variant in chosen for blob in tree.manifests[variant.digest].blobs if blob.size
    }
    return Coming(
        source=artifact.pinned,
        variants=tuple(variant.id for variant in chosen),
        others=tuple(variant.id for variant in package.variants if variant not in chosen),
        wanted=tuple(
            Wanted(blob=Blob(digest=blob.digest, size=blob.size), sources=tuple(sources))
            for blob in blobs.values()
        ),
        size=sum({file.digest: file.size for variant in chosen for file in variant.files}.values()),
        root=tree.root,
        finish=lambda session: _finish(session, tree),
    )


def _choose(package: Package, wanted: Sequence[str], *, all_variants: bool) -> Sequence[Variant]:
    if all_variants:
        if wanted:
            raise UsageError("--variant and --all-variants exclude each other.", hint="Give one of the two.")
        return package.variants
    chosen = {package.choose(each).digest for each in wanted} or {package.choose(None).digest}
    return [variant for variant in package.variants if variant.digest in chosen]


def _take_documents(session: Session, remote: Remote, tree: Tree) -> None:
    for manifest in tree.manifests.values():
        for blob in needed_to_read(manifest):
            session.put(remote.read_blob(blob, limit=_MAX_SMALL_BYTES))
    for document in tree.documents:
        session.put(document.raw)


def _finish(_: Session, tree: Tree) -> Descriptor:
    """The documents are there already, and under the lease: nothing names them before the blobs are."""
    return tree.root
