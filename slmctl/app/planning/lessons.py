"""Writing down what loads and answers taught (`learn` says when)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from registry.errors import SlmctlError
from runtimes.errors import ModelTooBig
from runtimes.planning.buffer_lines import parse
from runtimes.planning.values import LowerBound, Part
from slmctl.app import clock
from slmctl.app.events import Note, OnEvent
from slmctl.app.planning.history import (
    BOUND_LASTS,
    TOO_FAR_OFF,
    BoundRecord,
    EstimateRecord,
    History,
    SpeedRecord,
)
from slmctl.app.planning.history_file import read_history, update_history
from slmctl.app.planning.learn import Lesson, Pace
from slmctl.app.planning.learning import SpeedSample, prior, sharpened
from slmctl.app.planning.words import mib

_SMALL = 32 << 20
"""An estimate is not too far off that is off by less: process and page sizes alone are that much."""

_PLAUSIBLE = 2
"""A load that has this many times what it should need did not die of too little memory."""

_COMPARED = ("weights", "kv", "state", "compute", "output")


def compare_load(home: Path, lesson: Lesson, text: str, on_event: OnEvent) -> None:
    """After a load that went well: hold the plan against what the engine said.

    An estimate that is too far off is made by the oracle from now on, which is said once. That loads which
    needed no more have died is forgotten.
    """
    loaded = lesson.chosen.candidate
    update_history(home, lambda old: old.without_bounds(loaded.build.digest, loaded.runtime, loaded.shape))
    buffers = parse(text)
    found = {name: size for name in _COMPARED if (size := buffers.total(name))}
    if not buffers.complete or not found:
        return
    planned = sum(part.bytes for part in lesson.chosen.need.parts if _component(part) in found)
    measured = sum(found.values())
    candidate = lesson.chosen.candidate
    error = planned / measured - 1
    off = abs(error) > TOO_FAR_OFF and abs(planned - measured) > _SMALL
    by_formula = lesson.chosen.need.method != "oracle"
    record = EstimateRecord(
        architecture=candidate.build.facts.architecture,
        engine=candidate.runtime,
        build=lesson.build,
        loads=1,
        planned=planned,
        measured=measured,
        worst=abs(error),
        oracle=off and by_formula,
        model=lesson.model,
        date=clock.now(),
    )
    known = read_history(home).distrusts(*record.key)
    update_history(home, lambda old: old.with_estimate(record))
    if record.oracle and not known:
        on_event(
            Note(
                text=f"The plan was off by {error:+.0%}: {mib(planned)} for {mib(measured)}. From now on"
                f" {candidate.runtime} itself is asked about {record.architecture}."
            )
        )


def _component(part: Part) -> str:
    return part.name.split(",")[0].split(" ")[0]


def sharpen(home: Path, pace: Pace, filled: int, seconds: float) -> None:
    """Learn from an answer with so many tokens in the cache on average, each of which took `seconds`."""
    sample = SpeedSample(layers=pace.layers, bytes=pace.bytes + pace.cache * filled, seconds=seconds)

    def change(old: History) -> History:
        key = (pace.engine, pace.place, pace.machine, pace.threads)
        known = next((each for each in old.speeds if each.key == key and each.build == pace.build), None)
        start = known or prior(
            SpeedRecord(
                engine=pace.engine,
                build=pace.build,
                place=pace.place,
                machine=pace.machine,
                threads=pace.threads,
                overhead=pace.overhead,
                bandwidth=pace.bandwidth,
                samples=0,
                date="",
            )
        )
        return old.with_speed(replace(sharpened(start, sample), date=clock.now()))

    update_history(home, change)


def remember_death(home: Path, lesson: Lesson, error: SlmctlError, on_event: OnEvent) -> None:
    """A load that memory was too short for needs more than there was: the same is not planned again."""
    if not isinstance(error, ModelTooBig) and "ran out of memory" not in error.message:
        return
    candidate, need = lesson.chosen.candidate, lesson.chosen.need
    pools = [pool for pool in lesson.free if need.of(pool)]
    if not pools or candidate.build.digest is None:
        return
    pool = max(pools, key=lambda each: need.of(each) / max(1, lesson.free[each]))
    if need.of(pool) * _PLAUSIBLE < lesson.free[pool]:
        return  # somebody killed it
    bound = LowerBound(
        digest=candidate.build.digest,
        runtime=candidate.runtime,
        shape=candidate.shape,
        pool=pool,
        bytes=lesson.free[pool],
    )
    record = BoundRecord(bound=bound, build=lesson.build, model=lesson.model, date=clock.now())
    update_history(home, lambda old: old.with_bound(record))
    on_event(
        Note(
            text=f"It is remembered for {BOUND_LASTS.days} days that this needs more than {mib(bound.bytes)}:"
            " it is not tried again with less."
        )
    )
