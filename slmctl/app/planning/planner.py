"""Planning as every command does it: the machine, what was learned on it, and the builds, to a plan.

Where an estimate for an architecture was off too far once, and for graphs that the formulas do not cover, the
engine itself is asked about what was chosen (the oracle), until the choice rests on its word. So
`runtimes.planning.plan` stays pure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from registry.errors import MalformedFile, SlmctlError
from runtimes.hardware.machine import Hardware
from runtimes.planning.plan import plan
from runtimes.planning.values import Build, Evaluated, Learned, Need, Plan, PlanRequest, Shape
from slmctl.app import clock
from slmctl.app.planning.hardware import CPU, other_machine, this_machine
from slmctl.app.planning.history import History
from slmctl.app.planning.history_file import read_history
from slmctl.app.planning.package_builds import is_sane
from slmctl.config import Settings

FileOf = Callable[[Build], Path | bytes | None]
"""Where the weights of a build lie, or how their file begins; None where neither is here, or they are in
several files."""

_POOR = ("compact", "floor")

_MOST_QUESTIONS = 4
"""So often the engine is asked in one planning; each time costs a third of a second."""


class Planner:
    """Plans for one command. `profile` is another machine's (its history is not ours); `quick` starts no
    child and measures nothing to know this one."""

    def __init__(self, settings: Settings, *, profile: str | None = None, quick: bool = False) -> None:
        self.settings = settings
        self.profile = profile
        self._quick = quick

    @functools.cached_property
    def history(self) -> History:
        return History() if self.profile is not None else read_history(self.settings.home)

    @functools.cached_property
    def hardware(self) -> Hardware:
        """The machine. Raises UsageError, MalformedFile for a profile that is none."""
        if self.profile is not None:
            return other_machine(self.profile)
        return this_machine(self.settings, self.history, quick=self._quick)

    def look_again(self) -> None:
        """Forget the machine: its free memory may have changed."""
        self.__dict__.pop("hardware", None)
        self.__dict__.pop("history", None)

    def plan(
        self,
        builds: Sequence[Build],
        request: PlanRequest,
        *,
        siblings: Callable[[], Sequence[Build]] | None = None,
        file_of: FileOf | None = None,
    ) -> Plan:
        """The plan for these builds. Where nothing fits well, `siblings` gives other models to offer; with
        `file_of` the oracle is asked where the formulas are not trusted: on this machine, since the engine
        here knows nothing of another's GPU. Raises MalformedFile where no build is a possible model."""
        if self.profile is not None:
            file_of = None
        builds = _sane(builds)
        found = self._plan(builds, request, (), file_of)
        if siblings is not None and (found.chosen is None or "SLOW" in found.flags or found.tier in _POOR):
            return self._plan(builds, request, siblings(), file_of)
        return found

    def _plan(
        self,
        builds: Sequence[Build],
        request: PlanRequest,
        siblings: Sequence[Build],
        file_of: FileOf | None,
    ) -> Plan:
        needs: dict[tuple[str, str, str, Shape], Need] = {}
        engines = {each.name: each.version for each in self.hardware.engines}
        learned = Learned(needs=needs, bounds=self.history.bounds_of(engines, clock.now()))
        for _ in range(_MOST_QUESTIONS):
            found = plan(builds, self.hardware, request, siblings, learned=learned)
            asked = None if file_of is None else self._asked(found, file_of)
            if asked is None:
                return found
            key, need = asked
            if key in needs:
                return found
            needs[key] = need
        return plan(builds, self.hardware, request, siblings, learned=learned)

    def _asked(self, found: Plan, file_of: FileOf) -> tuple[tuple[str, str, str, Shape], Need] | None:
        """The engine's own word about the choice; None where nobody doubts it, or it cannot be asked."""
        chosen = found.chosen
        if chosen is None or chosen.need.method == "oracle":
            return None
        candidate = chosen.candidate
        build, engine = candidate.build, self.hardware.engine(candidate.runtime)
        if engine is None or engine.version is None:
            return None
        doubted = self.history.distrusts(build.facts.architecture, candidate.runtime, engine.version)
        rough = chosen.need.method == "parameters" and not build.guessed
        if not (doubted or (rough and (not self._quick or _is_close(chosen)))):
            return None
        model = file_of(build)
        need = None if model is None else self.engine_says(chosen, model)
        if need is None:
            return None
        return (build.key, candidate.runtime, candidate.place, candidate.shape), need

    def engine_says(self, chosen: Evaluated, model: Path | bytes) -> Need | None:
        """What the engine itself says that a candidate takes (the oracle); None where it cannot be asked."""
        from runtimes.oracle import Place, measure  # few plans ask it
        from runtimes.planning.speed import cpu_features

        candidate, hardware = chosen.candidate, self.hardware
        device = next((each for each in hardware.devices if each.id == candidate.place), None)
        place = Place(
            device_pool=None if candidate.place == CPU else candidate.place,
            unified=device is not None and device.unified,
            features=cpu_features(hardware, hardware.engine(candidate.runtime)),
            main_gpu=main_gpu(hardware, candidate.runtime, candidate.place),
            api=candidate.api,
        )
        with suppress(SlmctlError):
            answers = measure(
                candidate.build, [candidate.shape], model, environ=self.settings.environment, place=place
            )
            return answers[0].need
        return None


def _sane(builds: Sequence[Build]) -> Sequence[Build]:
    """Those that could be a model: the layers of a hostile header are not counted one by one."""
    found = [each for each in builds if is_sane(each.facts) and (each.draft is None or is_sane(each.draft))]
    if builds and not found:
        raise MalformedFile(f"{builds[0].model} has more layers, or tokens, than any model.")
    return found


def _is_close(chosen: Evaluated) -> bool:
    """Whether a third of a second is well spent on knowing better: with half of the memory no estimate is so
    bad that it matters."""
    need = chosen.need
    return any(need.of(pool) * need.margin * 2 > budget for pool, budget in chosen.budget.items())


def main_gpu(hardware: Hardware, engine: str, place: str) -> int | None:
    """The number of a device in the engine's own list; None for the CPU, or where it has no list."""
    build = hardware.engine(engine)
    if build is None or not build.devices or place not in build.devices:
        return None
    return build.devices.index(place)


def forced(request: PlanRequest) -> PlanRequest:
    """The same wish of somebody who insists."""
    return replace(request, force=True)
