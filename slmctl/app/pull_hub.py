"""Pulling from a place of files: the manifests are ours, made of what the files are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from modelfiles.spec import ModelSpec, merge
from registry.digest import Digest
from registry.errors import DoesNotFit, UsageError
from registry.remotes.base import FileRemote, Listing
from registry.remotes.huggingface import blob_of
from registry.transfer.download import Wanted
from slmctl.app.chooser import Chooser
from slmctl.app.coming import Coming
from slmctl.app.events import Note, OnEvent
from slmctl.app.hub.build import build
from slmctl.app.hub.choosing import highest
from slmctl.app.hub.repository import HubRepository
from slmctl.app.hub.variant import HubVariant
from slmctl.app.packaging import BlobWriter, Build, write_model
from slmctl.app.planning.remote_builds import builds_of_repository

_Chosen = tuple[HubRepository, HubVariant]


def coming_hub(
    writer: BlobWriter,
    found: Sequence[tuple[FileRemote, Listing]],
    *,
    spec: ModelSpec,
    wanted: Sequence[str],
    all_variants: bool,
    kept: Collection[str],
    dry_run: bool,
    on_event: OnEvent,
    picker: Chooser | None = None,
) -> Coming:
    """Choose builds in repositories and read what tells about them: what is wanted, else the ids in `kept`,
    else the usual one of each. `spec` is said over what the repositories say.

    In a dry run nothing but the lists of files is read. Raises as `HubRepository.choose` and `build` do.
    """
    repositories = [HubRepository(remote, listing) for remote, listing in found]
    chosen = [
        (repository, variant)
        for repository in repositories
        for variant in _choose(
            repository, wanted, kept, all_variants=all_variants, picker=picker, on_event=on_event
        )
    ]
    others = [
        variant.id
        for repository in repositories
        for variant in repository.variants()
        if (repository, variant) not in chosen and variant.problem is None
    ]
    if dry_run:
        return _listed(found[0][1].pinned, chosen, others)
    builds: list[Build] = []
    blobs: dict[Digest, Wanted] = {}
    for repository, variant in chosen:
        made = build(writer, repository, variant, on_event)
        builds.append(replace(made.build, spec=merge(made.build.spec, spec)))
        for blob in made.wanted:
            blobs.setdefault(blob.digest, Wanted(blob=blob, sources=(repository.source,)))
    ids = [each.id for each in builds]
    if len(set(ids)) != len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise UsageError(
            f"Two of the builds are {twice}.", hint="Pull one at a time, each under a name of its own: --as."
        )
    return Coming(
        source=found[0][1].pinned,
        variants=tuple(ids),
        others=tuple(others),
        wanted=tuple(blobs.values()),
        size=sum({file.digest: file.size for each in builds for file in each.files}.values()),
        labels={digest: each.blob.location for digest, each in blobs.items()},
        root=write_model(_Nowhere(), builds),
        finish=lambda session: write_model(session, builds),
        pins=tuple(listing.pinned for _, listing in found) if len(found) > 1 else (),
    )


class _Nowhere:
    """For who wants to know the digest that a model will have."""

    def put(self, data: bytes, /) -> Digest:
        return Digest.of(data)


def _choose(
    repository: HubRepository,
    wanted: Sequence[str],
    kept: Collection[str],
    *,
    all_variants: bool,
    picker: Chooser | None,
    on_event: OnEvent,
) -> list[HubVariant]:
    if all_variants:
        whole = [variant for variant in repository.variants() if variant.problem is None]
        if not whole:
            raise DoesNotFit(f"No build in hf.co/{repository.name} is whole.", hint="Tell its publisher.")
        return whole
    if not wanted and repository.listing.selector is None:
        again = [variant for variant in repository.variants() if variant.id in kept]
        if again:
            return again
    selector = repository.listing.selector
    if wanted and selector is not None:
        raise UsageError(
            f"The name says already which build of hf.co/{repository.name} is meant: {selector!r:.80}.",
            hint=f"Name the other: slmctl pull hf.co/{repository.name}:{wanted[0]:.80}",
        )
    if picker is not None and not wanted and selector is None:
        picked = _picked(repository, picker, on_event)
        wanted = () if picked is None else (picked,)
    choices = [repository.choose(each) for each in wanted] or [repository.choose()]
    for choice in choices:
        if choice.said:
            on_event(Note(text=choice.said))
    chosen = {choice.variant.id: choice.variant for choice in choices}
    if wanted:  # what was pulled before stays
        chosen |= {variant.id: variant for variant in repository.variants() if variant.id in kept}
    order = {variant.id: place for place, variant in enumerate(repository.variants())}
    return sorted(
        chosen.values(), key=lambda variant: order.get(variant.id, len(order))
    )  # one digest for all


def _picked(repository: HubRepository, picker: Chooser, on_event: OnEvent) -> str | None:
    """The id of the build that the plan takes, after one header; None where it has nothing to say."""
    whole = [variant for variant in repository.variants() if variant.problem is None]
    ggufs = highest([variant for variant in whole if variant.format == "gguf"])
    if len(ggufs) < 2 or any(variant.adapters for variant in ggufs):
        return None
    name = f"hf.co/{repository.name}"
    found = picker.build(name, builds_of_repository(repository, ggufs, name=name).builds)
    if found is None:
        return None
    on_event(Note(text=found.said))
    return found.build.variant


def _listed(source: str, chosen: Sequence[_Chosen], others: Sequence[str]) -> Coming:
    """What is known without reading a file."""
    blobs = {
        part.file.sha256: Wanted(blob=blob_of(part.file), sources=(repository.remote,))
        for repository, variant in chosen
        for part in variant.parts
        if part.file.sha256 is not None
    }
    return Coming(
        source=source,
        variants=tuple(variant.id for _, variant in chosen),
        others=tuple(others),
        wanted=tuple(blobs.values()),
        size=sum(variant.size for _, variant in chosen),
        labels={},
        root=None,
        finish=None,
    )
