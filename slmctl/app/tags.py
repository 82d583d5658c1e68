"""What a place has beside what one name means: the tags of a repository, the builds behind a tag."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from registry.errors import BadContent, DoesNotFit, NotFound, SlmctlError, Unauthorized
from registry.formats.facts import ModelFacts
from registry.names import ModelRef, Source
from registry.remotes.base import Artifact, FileRemote, Listing, Remote
from registry.store.index import Entry
from registry.store.store import Store
from slmctl.app.artifacts import ReadsThrough, tree_of
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.hub.facts import facts_of
from slmctl.app.hub.repository import HubRepository
from slmctl.app.hub.variant import HubVariant
from slmctl.app.library import library
from slmctl.app.package import Package, Variant
from slmctl.app.places import Places
from slmctl.app.where import usual_first


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteVariant:
    """A build that can be pulled from `place`, a pinned reference. `size` is in bytes; `problem` says why it
    cannot be had. `facts` are None where nobody asked for them and the manifest has none. `head` is how its
    one GGUF file begins, where that was read to know them."""

    id: str
    place: str
    format: str
    quantization: str | None
    size: int
    facts: ModelFacts | None = None
    problem: str | None = None
    head: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryTag:
    """A model of the library: its tag, its title, where its usual build is had, and that build's size in
    bytes. `default` says that the bare name means it."""

    tag: str
    title: str
    place: str
    size: int
    default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a place has under a name: tags of a repository, or builds behind one tag; of the two one is empty.

    `place` is what was asked, the first of several for a model of the library.
    """

    place: str
    tags: tuple[str, ...] = ()
    variants: tuple[RemoteVariant, ...] = ()
    library: tuple[LibraryTag, ...] = ()


def library_tags(family: str) -> Listed | None:
    """The models of a family of the library; None where it has no such family. Offline."""
    found = [model for model in library() if model.entry.family == family.lower()]
    if not found:
        return None
    return Listed(
        place="library",
        library=tuple(
            LibraryTag(
                tag=model.entry.tag,
                title=model.entry.title,
                place=str(usual_first(model.entry.builds)[0].reference),
                size=model.size,
                default=model.entry.default,
            )
            for model in sorted(found, key=lambda model: model.facts.parameters or 0)
        ),
    )


def tags_of(places: Places, ref: ModelRef, *, with_facts: bool = False) -> Listed:
    """Ask a place. A name of an OCI registry without a tag means its tags; else it is the builds.

    No weights are fetched; facts that stand in no manifest come from the files' headers, if asked for. Raises
    as `Remote.resolve` and `Remote.tags` do.
    """
    remote = places.remote_of(ref)
    if ref.source is Source.OCI and ref.tag is None and ref.digest is None:
        return Listed(place=remote.shown, tags=tuple(remote.tags()))
    if ref.source is Source.OLLAMA and ref.tag is None and ref.digest is None:
        remote.tags()  # says that there is no such list
    found = remote.resolve(ref)
    if isinstance(found, Artifact):
        return Listed(
            place=found.pinned, variants=tuple(of_artifact(remote, found, ref, with_facts=with_facts))
        )
    files = cast("FileRemote", remote)
    return Listed(place=found.pinned, variants=tuple(_of_listing(files, found, with_facts=with_facts)))


def tags_of_all(
    places: Places, refs: Sequence[ModelRef], *, with_facts: bool = False, on_event: OnEvent = ignore
) -> Listed:
    """Ask several places for builds of one model. One that has none is told of and left out.

    Raises as `tags_of`: what a place cannot be asked for, and of places without builds what the first says.
    """
    listed: list[Listed] = []
    failed: list[SlmctlError] = []
    for ref in refs:
        try:
            listed.append(tags_of(places, ref, with_facts=with_facts))
        except (NotFound, Unauthorized, BadContent, DoesNotFit) as error:
            failed.append(error)
            on_event(Note(text=f"{ref} is left out: {error.message}"))
    if not listed:
        raise failed[0]
    return replace(listed[0], variants=tuple(variant for each in listed for variant in each.variants))


def of_artifact(
    remote: Remote, artifact: Artifact, ref: ModelRef, *, with_facts: bool
) -> list[RemoteVariant]:
    tree = tree_of(remote, artifact)
    with tempfile.TemporaryDirectory(prefix="slmctl-") as folder:
        store = Store(Path(folder))
        with store.session("tags") as session:
            for document in tree.documents:
                session.put(document.raw)
            reader = ReadsThrough(store, session, remote, peeks=with_facts)
            entry = Entry(name=str(ref), descriptor=tree.root, source=None, linked=None)
            package = Package.of(reader, entry)
    return [
        RemoteVariant(
            id=variant.id,
            place=artifact.pinned,
            format=variant.format,
            quantization=variant.quantization,
            size=variant.size,
            facts=variant.facts,
            head=reader.head(variant.weights[0].digest) if _is_one_gguf(variant) else None,
        )
        for variant in package.variants
    ]


def _is_one_gguf(variant: Variant) -> bool:
    return variant.format == "gguf" and variant.packed is None and len(variant.weights) == 1


def _of_listing(remote: FileRemote, listing: Listing, *, with_facts: bool) -> list[RemoteVariant]:
    repository = HubRepository(remote, listing)
    variants = repository.variants()
    if listing.selector is not None:
        variants = [repository.choose().variant]
    return [_of_hub(repository, variant, with_facts=with_facts) for variant in variants]


def _of_hub(repository: HubRepository, variant: HubVariant, *, with_facts: bool) -> RemoteVariant:
    """A build of a repository; one whose files are not what they are called is a row like others."""
    facts, problem = None, variant.problem
    if with_facts and problem is None:
        try:
            facts = facts_of(repository, variant).facts
        except (BadContent, DoesNotFit) as error:
            problem = error.message
    return RemoteVariant(
        id=variant.id,
        place=repository.listing.pinned,
        format=variant.format,
        quantization=variant.label,
        size=variant.size,
        facts=facts,
        problem=problem,
    )
