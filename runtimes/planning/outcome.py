"""What one model comes to on a machine: the best of its builds over engines and places (fit.md 6.4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtimes.engines.paper import CPU
from runtimes.planning.assess import Assessor, Option
from runtimes.planning.candidates import PAPER_ENGINES, Field
from runtimes.planning.choose import Decision, decide
from runtimes.planning.dominance import Dominated, without_dominated
from runtimes.planning.quality import limit
from runtimes.planning.split import split

MANY = 8
"""Requests at once from which on an engine made for many of them is worth a whole device (fit.md 6.4)."""

_FASTER = 1.15
"""What another engine must gain, measured, to displace the default; within it MLX wins ties on a Mac."""

_CLEARLY_FASTER = 1.5
"""What a CPU must gain over a device by priors alone, which may be off by 40 percent."""

_GROUPS = ((True, True), (True, False), (False, True), (False, False))
"""Installed engines before others, builds that exist before those that could be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One model's decision, None where nothing fits, and what each engine would have offered beside it."""

    model: str
    field: Field
    decision: Decision | None
    offers: tuple[Decision, ...] = ()
    dominated: tuple[Dominated, ...] = ()


def outcome(model: str, field: Field, assessor: Assessor) -> Outcome:
    """Decide for the builds of one model."""
    floor = admits_floor(field.options, assessor)
    dominated: list[Dominated] = []
    for installed, made in _GROUPS:
        group = [each for each in field.options if each.installed == installed and each.build.made == made]
        kept, beaten = without_dominated(group, assessor)
        dominated += beaten
        found = (_of_engine(engine.name, kept, assessor, floor=floor) for engine in PAPER_ENGINES)
        offers = [offer for offer in found if offer is not None]
        if offers:
            return Outcome(
                model=model,
                field=field,
                decision=_among(offers, assessor),
                offers=tuple(offers),
                dominated=tuple(dominated),
            )
    return Outcome(model=model, field=field, decision=None, dominated=tuple(dominated))


def as_asked(number: float) -> str:
    """A number that somebody asked for, without an exponent and without zeros at its end."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def admits_floor(options: Iterable[Option], assessor: Assessor) -> bool:
    """Whether a build of the floor tier may be chosen: asked for, or there is nothing better at all."""
    request = assessor.request
    if request.force or request.variant is not None:
        return True
    return all(assessor.quality(each.build, "f16").loss > limit("compact") for each in options)


def _of_engine(name: str, options: Sequence[Option], assessor: Assessor, *, floor: bool) -> Decision | None:
    """The best that one engine has to offer, over all places."""
    own = sorted((each for each in options if each.engine.name == name), key=lambda each: each.place)
    found: list[Decision] = []
    for _, group in itertools.groupby(own, key=lambda each: each.place):
        decision = decide(list(group), assessor, floor=floor)
        if decision is not None:
            found.append(decision)
    best = min(found, key=_preferred, default=None)
    if best is None or best.option.place == CPU:
        shared = split(own, assessor, floor=floor)
        if shared is not None and (best is None or _order(shared) < _order(best)):
            return shared
    return best


def _among(offers: Sequence[Decision], assessor: Assessor) -> Decision:
    """The engines' offers come in order of preference; a later one must have a reason to displace another."""
    best = offers[0]
    for offer in offers[1:]:
        if _displaces(offer, best, assessor):
            best = offer
    return best


def _displaces(offer: Decision, best: Decision, assessor: Assessor) -> bool:
    parallel = assessor.request.parallel
    if offer.option.engine.reserves:
        return parallel >= MANY and offer.tier in ("near-lossless", "balanced")
    if best.option.engine.reserves and parallel < MANY:
        return True
    if offer.rank != best.rank:
        return offer.rank < best.rank
    if offer.option.engine.name == "mlx" and assessor.hardware.system == "darwin":
        return offer.speed * _FASTER >= best.speed
    speed = offer.evaluated.speed
    return speed is not None and speed.basis != "prior" and offer.speed >= best.speed * _FASTER


def _preferred(decision: Decision) -> tuple[object, ...]:
    """Decoding is about as fast on a CPU as on a GPU that shares its memory, reading prompts is not: the CPU
    must be clearly faster."""
    on_cpu, speed = decision.option.place == CPU, decision.evaluated.speed
    is_prior = speed is None or speed.basis == "prior"
    handicap = 1.0 if not on_cpu else _CLEARLY_FASTER if is_prior else _FASTER
    return (decision.rank, -decision.speed / handicap, decision.option.key)


def _order(decision: Decision) -> tuple[object, ...]:
    return (decision.rank, -decision.speed, decision.option.key)
