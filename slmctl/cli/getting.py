"""Having a model that a command names: from the store, else from where it can be had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.errors import NotFound, SlmctlError
from registry.names import ModelRef, Source
from registry.store.reader import StoreReader
from slmctl.app.chooser import Chooser
from slmctl.app.finding import locate
from slmctl.app.package import Package
from slmctl.app.planning.wishes import NO_WISHES, RunWishes
from slmctl.app.upstream import place_of
from slmctl.cli.command import Context
from slmctl.cli.network_options import NetworkOptions

if TYPE_CHECKING:
    from slmctl.app.planning.picking import Picker

POLICIES = ("missing", "always", "never")
"""When a model is pulled before it runs; the words are Kubernetes' and Docker's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be run of a model: a variant, with so much context, by such a plan."""

    variant: str | None = None
    context: int | None = None
    wishes: RunWishes = NO_WISHES


def located(
    context: Context, ref: ModelRef, policy: str, network: NetworkOptions, wanted: Wanted
) -> tuple[StoreReader, Package, RunWishes]:
    """The package that `ref` names, pulled first if `policy` says so, where its files are, and the wishes
    with the plan by which it was pulled.

    Raises as `locate` and `pull` do. A model that nobody has is told of as one that the store does not have,
    with the names there that are like it.
    """
    if ref.source is Source.FILE:
        return *locate(context.reader, ref, context.output.on_event), wanted.wishes
    missing: NotFound | None = None
    if policy == "always" and _stays(context, ref):
        return *locate(context.reader, ref, context.output.on_event), wanted.wishes
    if policy != "always":
        try:
            reader, package = locate(context.reader, ref, context.output.on_event)
        except NotFound as error:
            missing = error
        else:
            if policy == "never" or _is_here(package, wanted.variant):
                return reader, package, wanted.wishes
    if missing is not None and policy == "never":
        raise missing
    with network.places(context) as places:
        if missing is not None and (why := places.network.offline) is not None:
            missing.hint = f"It was not looked for elsewhere, because {why}. {missing.hint or ''}".strip()
            raise missing
        from slmctl.app.pull import pull
        from slmctl.app.pulls import by_name

        try:
            chooser = Chooser(lambda: _picker(context, wanted))
            request = by_name(
                context.store,
                ref,
                search=places.network.settings.search,
                variants=(wanted.variant,) if wanted.variant else (),
                sized=chooser.size,
            )
            request = replace(request, pace=places.network.settings.pace, picker=chooser)
            context.output.status(f"looking for {ref.short_name}")
            pull(context.store, places, request, now=context.now(), on_event=context.output.on_event)
        except SlmctlError as error:
            if missing is not None and missing.hint and missing.hint.startswith("Did you mean"):
                error.hint = f"{missing.hint.partition('?')[0]}? {error.hint or ''}".strip()
            raise
    context.output.end_progress()
    wishes = replace(wanted.wishes, planned=chooser.last)
    return *locate(context.reader, ref, context.output.on_event), wishes


def _picker(context: Context, wanted: Wanted) -> Picker:
    """Who chooses what is pulled: by what is to be run, and not at all where that does not fit."""
    from slmctl.app.planning.picking import Picker
    from slmctl.app.planning.planner import Planner
    from slmctl.app.planning.running import request_of

    request = request_of(wanted.wishes, context=wanted.context, usual=context.settings.context_length)
    planner = Planner(context.settings, profile=wanted.wishes.profile)
    return Picker(planner, request, context.output.on_event, strict=not wanted.wishes.force)


def _stays(context: Context, ref: ModelRef) -> bool:
    """Whether a model is here that nobody can be asked for again; it is said then."""
    from slmctl.app.pulls import nothing_to_pull

    search = context.settings.network.search
    why = nothing_to_pull(context.reader.names(), ref, search=search)
    if why is not None:
        context.output.note(f"{ref.short_name} {why}: there is nothing to pull, it runs as it is here.")
    return why is not None


def _is_here(package: Package, variant: str | None) -> bool:
    """Whether there is nothing to pull: of a model that was, only some variants may be in the store."""
    return place_of(package.source) is None or package.choose(variant).local
