"""Pulling from a place of artifacts: manifests come as they are, and of an index only what was chosen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from registry.errors import DoesNotFit, UsageError
from registry.manifest import Descriptor, Manifest
from registry.names import short_name
from registry.remotes.base import Artifact, Blob, BlobSource, Remote
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Session
from registry.transfer.download import Wanted
from slmctl.app.artifacts import ReadsThrough, Tree, tree_of
from slmctl.app.chooser import Chooser
from slmctl.app.coming import Coming, Work
from slmctl.app.dialects.unpacking import needs, unpack
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.package import Package, Variant

_CHUNK_BYTES = 256 << 10


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
    picker: Chooser | None = None,
    on_event: OnEvent = ignore,
) -> Coming:
    """Take in the documents of an artifact and all that tells what its variants are; choose among them: what
    is wanted, else the ids in `kept`, else the usual one. Raises DoesNotFit for one without weights.

    Of packed variants one is taken, and unpacked at the end. Raises UsageError for several of them, and as
    `Remote.manifest`, `Package.of` and `Package.choose` do.
    """
    tree = tree_of(remote, artifact)
    for document in tree.documents:
        work.session.put(document.raw)
    reader = ReadsThrough(work.store, work.session, remote)
    package = Package.of(reader, Entry(name=name, descriptor=tree.root, source=None, linked=None))
    if picker is not None and not wanted and len(package.variants) > 1:
        wanted = _picked(reader, package, picker, on_event)
    chosen = _choose(package, wanted, kept, all_variants=all_variants)
    for variant in chosen:
        if not variant.weights and variant.packed is None:
            raise DoesNotFit(
                f"The variant {variant.id} of {name} has no weights.",
                hint="Tell its publisher; 'slmctl tags' lists what else there is.",
            )
    packed = [variant for variant in chosen if variant.packed is not None]
    if packed and len(chosen) > 1:
        raise UsageError(
            f"The variants of {name} are packed in tars, and are unpacked one at a time.",
            hint=f"Choose one with --variant: {', '.join(variant.id for variant in package.variants)}.",
        )
    needed = {variant.digest: needs(reader, tree.manifests[variant.digest]) for variant in chosen}
    blobs = {
        blob.digest: blob
        for variant in chosen
        for blob in (tree.manifests[variant.digest].config, *needed[variant.digest].layers)
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
        labels={
            file.digest: f"{variant.id}/{file.path}" if len(chosen) > 1 else file.path
            for variant in chosen
            for file in variant.files
        },
        root=None if packed else _root(tree),
        passing=(*blobs, *(each.digest for each in tree.documents)) if packed else (),
        finish=lambda session: (
            _unpack(session, reader, tree.manifests[packed[0].digest], on_event) if packed else _root(tree)
        ),
    )


def _root(tree: Tree) -> Descriptor:
    """What the name points at. The documents are here already, and under the lease."""
    document = tree.indexes.get(tree.root.digest) or tree.manifests[tree.root.digest]
    return replace(tree.root, artifact_type=document.artifact_type, annotations={})


def _unpack(session: Session, reader: StoreReader, manifest: Manifest, on_event: OnEvent) -> Descriptor:
    """A model of ours, made of the files in an artifact's tars, which are in the store by now."""

    @contextmanager
    def opened(layer: Descriptor) -> Iterator[Iterable[bytes]]:
        with reader.open_blob(layer) as stream:
            yield iter(partial(stream.read, _CHUNK_BYTES), b"")

    return unpack(session, reader, manifest, blobs=reader, open_layer=opened, on_event=on_event)


def _picked(reader: ReadsThrough, package: Package, picker: Chooser, on_event: OnEvent) -> Sequence[str]:
    """The id of the variant that the plan takes; nothing where it has nothing to say."""
    from slmctl.app.planning.package_builds import builds_of_package  # few models have a choice

    found = picker.build(short_name(package.name), builds_of_package(reader, package))
    if found is None:
        return ()
    on_event(Note(text=found.said))
    return (found.build.variant,)


def _choose(
    package: Package, wanted: Sequence[str], kept: Collection[str], *, all_variants: bool
) -> Sequence[Variant]:
    if all_variants:
        return package.variants
    if not wanted and (again := [variant for variant in package.variants if variant.id in kept]):
        return again
    chosen = {package.choose(each).digest for each in wanted} or {package.choose(None).digest}
    return [variant for variant in package.variants if variant.digest in chosen]
