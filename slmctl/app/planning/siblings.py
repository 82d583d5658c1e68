"""What the library has to offer in the place of a model that does not fit, or runs badly."""

from __future__ import annotations

from collections.abc import Sequence

from runtimes.planning.values import Build
from slmctl.app.library import LibraryModel, library
from slmctl.app.planning.builds import builds_of_model
from slmctl.app.planning.package_builds import is_embedding
from slmctl.app.planning.subject import Subject

_MOST_SIBLINGS = 5


def siblings_of(subject: Subject) -> tuple[Build, ...]:
    """Other models of the library to offer instead: the family's other sizes, then smaller ones for the same
    tasks, a few of both."""
    return () if subject.sizes else siblings(subject.name, subject.builds)


def siblings(name: str, builds: Sequence[Build]) -> tuple[Build, ...]:
    """As `siblings_of`, of the model `name` with these builds."""
    if not builds or is_embedding(builds):
        return ()
    family, size = name.partition(":")[0], builds[0].facts.parameters or 0
    others = [
        each
        for each in library()
        if not each.entry.ships
        and each.entry.name != name
        and each.entry.kind != "embedding"
        and (each.entry.family == family or 0 < (each.facts.parameters or 0) < size)
    ]
    others.sort(key=lambda each: (-(each.facts.parameters or 0), each.entry.name))
    own = [each for each in others if each.entry.family == family][: _MOST_SIBLINGS - 1]
    further = _spread([each for each in others if each.entry.family != family], _MOST_SIBLINGS - len(own))
    return tuple(build for model in (*own, *further) for build in builds_of_model(model))


def _spread(models: Sequence[LibraryModel], count: int) -> Sequence[LibraryModel]:
    """So many of them from the first to the last, which is the smallest: that fits where little does."""
    last, steps = len(models) - 1, max(1, count - 1)
    return models if last < count else [models[last - at * last // steps] for at in reversed(range(count))]
