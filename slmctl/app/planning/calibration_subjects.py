"""Which models of the store a calibration runs, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from registry.errors import BadContent, NotFound
from registry.names import parse_name
from registry.store.reader import StoreReader
from runtimes.hardware.machine import Hardware
from runtimes.planning.calibration import IN_CACHE, Rates, TimedRun
from runtimes.planning.plan import plan
from runtimes.planning.speed import cache_bytes_read, waits_for_threads, weight_bytes_read
from runtimes.planning.values import Evaluated, Launch, PlanRequest, Shape
from slmctl.app.events import OnEvent
from slmctl.app.finding import locate
from slmctl.app.listing import names_of
from slmctl.app.package import Package
from slmctl.app.planning.package_builds import builds_of_package, is_embedding

CONTEXT = 512
PROMPT = "Once upon a time there was"
TOKENS = 49
"""Of each timed answer; the engine's clock starts with the first of them."""

_SHIPPED = "hello"
_LONGEST_SECONDS = 0.25
"""Of one token, as far as is known before: slower models take too long to run when there are others."""

_OF_ANOTHER_SHAPE = 1.5
"""A second model has at least so many times as many layers for each byte as the first: only then do two runs
tell the two parameters apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    package: Package
    reader: StoreReader
    chosen: Evaluated
    launch: Launch
    hardware: Hardware

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
        cpu = self.launch.device is None
        few = cpu and waits_for_threads(self.hardware)
        weights = weight_bytes_read(build.facts, build.size, cpu=cpu, few_threads=few)
        return TimedRun(
            layers=build.facts.layers or 0,
            bytes=weights + cache_bytes_read(build.facts, filled, few_threads=few),
            seconds=seconds,
        )


def chosen_models(subjects: Sequence[Subject]) -> tuple[Subject, ...]:
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


def stored_subjects(store: StoreReader, hardware: Hardware, on_event: OnEvent) -> Iterator[Subject]:
    """What models there are; where there are none, the one that comes with slmctl."""
    for name in sorted(names_of(store, on_event).entries) or [_SHIPPED]:
        with suppress(NotFound, BadContent):
            reader, package = locate(store, parse_name(name), on_event)
            yield from subjects_of(reader, package, hardware)


def subjects_of(reader: StoreReader, package: Package, hardware: Hardware) -> Iterator[Subject]:
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
            yield Subject(
                package=package, reader=reader, chosen=found.chosen, launch=found.launch, hardware=hardware
            )
