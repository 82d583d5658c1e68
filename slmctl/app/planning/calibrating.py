"""`hardware --calibrate`: how fast this machine decodes, by running models that are here (fit.md 4.3).

    models of the store -> a plan for each -> the largest, and one of another size -> short answers, timed
    -> the two parameters -> the history, from which plans take them

The models run where and as the plan would run them, through the worker that `run` uses. An interrupted
calibration leaves nothing: figures are written at the end.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from registry.errors import DoesNotFit, OperationFailed
from registry.names import ModelRef
from registry.store.reader import StoreReader
from runtimes.hardware.machine import Hardware
from runtimes.planning.calibration import IN_CACHE, Rates, TimedRun, calibrated
from runtimes.protocol import Finished
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.finding import locate
from slmctl.app.load import LoadedModel, LoadRequest, load
from slmctl.app.planning.calibration_subjects import (
    CONTEXT,
    PROMPT,
    TOKENS,
    Subject,
    chosen_models,
    stored_subjects,
    subjects_of,
)
from slmctl.app.planning.hardware import CPU, machine_of
from slmctl.app.planning.history import SpeedRecord
from slmctl.app.planning.history_file import update_history
from slmctl.app.planning.learning import prior as undecided
from slmctl.config import Settings

WARM_UP_TOKENS = 8
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """What one model's answers took. Speeds are tokens per second: as predicted before, as measured, and as
    it would be predicted now."""

    name: str
    variant: str
    layers: int
    bytes_read: int
    tokens: int
    before: float
    measured: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The parameters of one engine build at one place, before and after. `basis` is that of the figures
    before, `basis_now` that of the new ones; `accuracy` says in a sentence what to expect of them."""

    engine: str
    build: str
    place: str
    threads: int
    date: str
    basis: str
    basis_now: str
    before: Rates
    after: Rates
    models: tuple[MeasuredModel, ...]
    accuracy: str


def calibrate(
    store: StoreReader,
    settings: Settings,
    hardware: Hardware,
    name: ModelRef | None,
    *,
    date: str,
    on_event: OnEvent = ignore,
) -> Calibration:
    """Run models of the store and keep what that shows. `name` is the only one then; else the largest that
    runs well here is taken, with one of another size where there is one.

    `hardware` is this machine with what is known of its speed. Raises NotFound for a name that is not here,
    DoesNotFit where nothing runs here, OperationFailed when the figures cannot be kept, and as `load` does.
    """
    if name is not None:
        reader, package = locate(store, name, on_event)
        subjects = tuple(subjects_of(reader, package, hardware))[:1]
        if not subjects:
            raise DoesNotFit(f"No build of {package.name} that is here runs on this machine.")
    else:
        subjects = chosen_models(tuple(stored_subjects(store, hardware, on_event)))
        if not subjects:
            raise DoesNotFit(
                "No model that is here runs on this machine.", hint="Pull one: slmctl pull qwen3:0.6b"
            )
    before = subjects[0].rates
    runs = []
    for subject in subjects:
        on_event(Note(text=f"Running {subject.package.name} ({subject.chosen.candidate.build.variant})."))
        runs.append(subject.run(_seconds_per_token(settings, subject, on_event)))
    after = calibrated(before, runs)
    found = _calibration(hardware, subjects, runs, before, after, date)
    if not update_history(settings.home, lambda old: old.with_speed(_record(found, hardware, runs))):
        raise OperationFailed(
            "The figures could not be kept.", hint=f"Look whether {settings.home} can be written to."
        )
    return found


def _seconds_per_token(settings: Settings, subject: Subject, on_event: OnEvent) -> float:
    """The middle one of a few short answers."""
    request = LoadRequest(
        package=subject.package,
        variant=subject.chosen.candidate.build.variant,
        parameters={
            "num_ctx": CONTEXT,
            "num_thread": subject.launch.threads,
            "num_gpu": subject.launch.gpu_layers,
        },
    )
    with load(subject.reader, settings, request, on_event) as model:
        _answer(model, WARM_UP_TOKENS)
        return statistics.median(_answer(model, TOKENS) for _ in range(ROUNDS))


def _answer(model: LoadedModel, tokens: int) -> float:
    """Seconds per token of an answer of so many, without the first, which belongs to the prompt."""
    events = model.complete(PROMPT, {"temperature": 0.0, "num_predict": tokens}, to_the_limit=True)
    finished = next((event for event in events if isinstance(event, Finished)), None)
    if finished is None or finished.generation_seconds is None or (finished.generated_tokens or 0) < 2:
        raise OperationFailed("The engine did not say how long its answer took.")
    assert finished.generated_tokens is not None
    return finished.generation_seconds / (finished.generated_tokens - 1)


def _calibration(
    hardware: Hardware,
    subjects: Sequence[Subject],
    runs: Sequence[TimedRun],
    before: Rates,
    after: Rates,
    date: str,
) -> Calibration:
    engine, place = subjects[0].place
    build = hardware.engine(engine)
    speed = subjects[0].chosen.speed
    assert speed is not None
    models = tuple(
        MeasuredModel(
            name=subject.package.name,
            variant=subject.chosen.candidate.build.variant,
            layers=run.layers,
            bytes_read=int(run.bytes),
            tokens=ROUNDS * TOKENS,
            before=1 / before.seconds(run),
            measured=1 / run.seconds,
            after=1 / after.seconds(run),
        )
        for subject, run in zip(subjects, runs, strict=True)
    )
    return Calibration(
        engine=engine,
        build=(build.version if build is not None else None) or "unknown",
        place=place,
        threads=subjects[0].launch.threads,
        date=date,
        basis=speed.basis,
        basis_now="measured" if "measured" in (speed.basis, _basis_of(runs)) else _basis_of(runs),
        before=before,
        after=after,
        models=models,
        accuracy=_accuracy(runs),
    )


def _accuracy(runs: Sequence[TimedRun]) -> str:
    large = [run for run in runs if run.bytes >= IN_CACHE]
    if not large:
        return (
            "A model this small lies in the processor's cache: it tells what a layer costs, and nothing about"
            " the memory; a larger model's speed may still be off by 40 percent. Calibrate with one of 300 MB"
            " or more."
        )
    if len(large) == 1:
        return "One model: what a layer costs is still a guess; expect speeds within 20 percent."
    return "Two models of different size: expect speeds within 15 percent."


def _record(found: Calibration, hardware: Hardware, runs: Sequence[TimedRun]) -> SpeedRecord:
    record = SpeedRecord(
        engine=found.engine,
        build=found.build,
        place=found.place,
        machine=machine_of(hardware, found.place),
        threads=found.threads if found.place == CPU else 0,
        overhead=found.after.overhead,
        bandwidth=found.after.bandwidth,
        samples=0,
        date=found.date,
    )
    return record if found.basis_now == "measured" else undecided(record)


def _basis_of(runs: Sequence[TimedRun]) -> str:
    """Of models in the cache only the overhead is known: no more than a figure of the same device."""
    return "measured" if any(run.bytes >= IN_CACHE for run in runs) else "same-device"
