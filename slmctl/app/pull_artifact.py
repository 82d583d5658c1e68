"""Pulling from a place of artifacts: manifests come as they are, and of an index only what was chosen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from registry.manifest import Descriptor
from registry.remotes.base import Artifact, Blob, BlobSource, Remote
from registry.store.index import Entry
from registry.store.store import Session
from registry.transfer.download import Wanted
from slmctl.app.artifacts import ReadsThrough, Tree, tree_of
from slmctl.app.coming import Coming, Work
from slmctl.app.package import Package, Variant


def coming_artifact(
    work: Work,
    remote: Remote,
    sources: Sequence[BlobSource],
    artifact: Artifact,
    *,
    name: str,
    wanted: Sequence[str],
    all_variants: bool,
    kept: Collection[str] = (),
) -> Coming:
    """Take in the documents of an artifact and all that tells what its variants are; choose among them: what
    is wanted, else the ids in `kept`, else the usual one.

    Raises as `Remote.manifest`, `Package.of` and `Package.choose` do.
    """
    tree = tree_of(remote, artifact)
    for document in tree.documents:
        work.session.put(document.raw)
    reader = ReadsThrough(work.store, work.session, remote)
    package = Package.of(reader, Entry(name=name, descriptor=tree.root, source=None, linked=None))
    chosen = _choose(package, wanted, kept, all_variants=all_variants)
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
        labels={file.digest: file.path for variant in chosen for file in variant.files},
        root=tree.root,
        finish=lambda session: _finish(session, tree),
    )


def _choose(
    package: Package, wanted: Sequence[str], kept: Collection[str], *, all_variants: bool
) -> Sequence[Variant]:
    if all_variants:
        return package.variants
    if not wanted and (again := [variant for variant in package.variants if variant.id in kept]):
        return again
    chosen = {package.choose(each).digest for each in wanted} or {package.choose(None).digest}
    return [variant for variant in package.variants if variant.digest in chosen]


def _finish(_: Session, tree: Tree) -> Descriptor:
    """The documents are there already, and under the lease: nothing names them before the blobs are."""
    return tree.root
