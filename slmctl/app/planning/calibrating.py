"""`hardware --calibrate`: how fast this machine decodes, by running models that are here (fit.md 4.3).

    models of the store -> a plan for each -> the largest, and one of another size -> short answers, timed
    -> the two parameters -> the history, from which plans take them

The models run where and as the plan would run them, through the worker that `run` uses. An interrupted
calibration leaves nothing: figures are written at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from registry.errors import BadContent, DoesNotFit, NotFound, OperationFailed
from registry.names import ModelRef, parse_name
from registry.store.reader import StoreReader
from runtimes.hardware.machine import Hardware
from runtimes.planning.calibration import IN_CACHE, Rates, TimedRun, calibrated
from runtimes.planning.plan import plan
from runtimes.planning.speed import cache_bytes_read, weight_bytes_read
from runtimes.planning.values import Evaluated, Launch, PlanRequest, Shape
from runtimes.protocol import Finished
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.finding import locate
from slmctl.app.listing import names_of
from slmctl.app.load import LoadedModel, LoadRequest, load
from slmctl.app.package import Package
from slmctl.app.planning.builds import builds_of_package, is_embedding
from slmctl.app.planning.hardware import CPU, machine_of
from slmctl.app.planning.history import SpeedRecord
from slmctl.app.planning.history_file import update_history
from slmctl.app.planning.learning import prior as undecided
from slmctl.config import Settings

CONTEXT = 512
PROMPT = "Once upon a time there was"
WARM_UP_TOKENS = 8
TOKENS = 33
"""Of each timed answer; the engine's clock starts with the first of them."""

ROUNDS = 3
_LONGEST_SECONDS = 0.25
"""Of one token, as far as is known before: slower models take too long to run when there are others."""

_OF_ANOTHER_SHAPE = 1.5
"""A second model has at least so many times as many layers for each byte as the first: only then do two runs
tell the two parameters apart."""


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
    before; `accuracy` says in a sentence what to expect of the new ones."""

    engine: str
    build: str
    place: str
    threads: int
    date: str
    basis: str
    before: Rates
    after: Rates
    models: tuple[MeasuredModel, ...]
    accuracy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    package: Package
    reader: StoreReader
    chosen: Evaluated
    launch: Launch

    @property
    def rates(self) -> Rates:
        speed = self.chosen.speed
        assert speed is not None
        return Rates(overhead=speed.overhead, bandwidth=speed.bandwidth)

    @property
    def place(self) -> tuple[str, str]:
        return self.chosen.candidate.runtime, self.chosen.candidate.place

    @property
    def layers_per_byte(self) -> float:
        run = self.run(1.0)
        return run.layers / run.bytes

    def run(self, seconds: float) -> TimedRun:
        """A token of this model that took so long."""
        build = self.chosen.candidate.build
        filled = Shape(
            context=len(PROMPT.split()) + TOKENS, type_k=self.launch.type_k, type_v=self.launch.type_v
        )
        weights = weight_bytes_read(build.facts, build.size, cpu=self.launch.device is None)
        return TimedRun(
            layers=build.facts.layers or 0,
            bytes=weights + cache_bytes_read(build.facts, filled),
            seconds=seconds,
        )


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

    `hardware` is this machine with what is known of its speed. Raises NotFound where no model is here,
    DoesNotFit where none runs here, OperationFailed when the figures cannot be kept, and what `load` raises.
    """
    if name is not None:
        reader, package = locate(store, name, on_event)
        subjects = tuple(_subjects(reader, package, hardware))[:1]
        if not subjects:
            raise DoesNotFit(f"No build of {package.name} that is here runs on this machine.")
    else:
        subjects = chosen_models(tuple(_stored(store, hardware, on_event)))
    if not subjects:
        raise NotFound(
            "There is no model here to calibrate with.",
            hint="Pull one of 300 MB or more: slmctl pull qwen3:0.6b",
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


def chosen_models(subjects: Sequence[_Subject]) -> tuple[_Subject, ...]:
    """The one that reads most, of those that do not take too long, and the one with the most layers for its
    bytes, where a token of the two consists of different parts."""
    if not subjects:
        return ()
    ordered = sorted(subjects, key=lambda each: (-each.run(1.0).bytes, each.package.name))
    quick = [each for each in ordered if each.rates.seconds(each.run(1.0)) <= _LONGEST_SECONDS]
    first = quick[0] if quick else ordered[-1]
    others = [
        each
        for each in quick
        if each.place == first.place and each.layers_per_byte >= _OF_ANOTHER_SHAPE * first.layers_per_byte
    ]
    large = [each for each in others if each.run(1.0).bytes >= IN_CACHE]
    found = max(large or others, key=lambda each: each.layers_per_byte, default=None)
    return (first,) if found is None else (first, found)


def _stored(store: StoreReader, hardware: Hardware, on_event: OnEvent) -> Iterator[_Subject]:
    for name in sorted(names_of(store, on_event).entries):
        with suppress(NotFound, BadContent):
            reader, package = locate(store, parse_name(name), on_event)
            yield from _subjects(reader, package, hardware)


def _subjects(reader: StoreReader, package: Package, hardware: Hardware) -> Iterator[_Subject]:
    """The package's build that a plan would run, wholly at one place."""
    builds = [
        build
        for build in builds_of_package(reader, package)
        if build.stored and build.facts.format == "gguf" and not is_embedding([build])
    ]
    request = PlanRequest(context=CONTEXT, context_is_pinned=True, runtime="llama.cpp", force=True)
    found = plan(builds, hardware, request) if builds else None
    if (
        found is not None
        and found.chosen is not None
        and found.launch is not None
        and found.chosen.speed is not None
    ):
        layers = found.chosen.candidate.build.facts.layers or 0
        if layers and found.launch.gpu_layers in (0, layers + 1):
            yield _Subject(package=package, reader=reader, chosen=found.chosen, launch=found.launch)


def _seconds_per_token(settings: Settings, subject: _Subject, on_event: OnEvent) -> float:
    """The fastest of a few short answers: what else runs here can only make one slower."""
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
        return min(_answer(model, TOKENS) for _ in range(ROUNDS))


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
    subjects: Sequence[_Subject],
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
        threads=found.threads if found.place == CPU else hardware.cpu.threads,
        overhead=found.after.overhead,
        bandwidth=found.after.bandwidth,
        samples=0,
        date=found.date,
    )
    # of models in the cache only the overhead is known: no more than a figure of the same device
    return record if any(run.bytes >= IN_CACHE for run in runs) else undecided(record)
