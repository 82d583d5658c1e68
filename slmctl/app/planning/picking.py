"""Which build a pull brings, and which size a bare family is: the plan's choice, in one line with its number.

Where nothing is known of the builds, or none fits, it is as without a plan: Q4_K_M, else what comes close,
and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry.errors import DoesNotFit, MalformedFile
from runtimes.planning.values import Build, Plan, PlanRequest
from slmctl.app.events import Note, OnEvent
from slmctl.app.library import LibraryModel
from slmctl.app.planning.builds import builds_of_model
from slmctl.app.planning.contexts import capped
from slmctl.app.planning.package_builds import is_embedding
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.words import choice_line, need_words, nofit_line
from slmctl.app.where import usual_first

_FORMATS = ("gguf",)
"""What can be pulled and run here today; other formats are had by naming them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The build that was chosen, and why in a sentence."""

    build: Build
    said: str


class Picker:
    """Chooses for one command. `strict` refuses what does not fit, for who wants to run it; else the usual
    build is pulled all the same, for another machine, and it is said. `last` is the plan that was made last.
    """

    def __init__(
        self, planner: Planner, request: PlanRequest, on_event: OnEvent, *, strict: bool = False
    ) -> None:
        self._planner = planner
        self._request = request
        self._on_event = on_event
        self._strict = strict
        self.last: Plan | None = None

    def size(self, models: Sequence[LibraryModel]) -> tuple[LibraryModel, str] | None:
        """Which of a family's sizes is comfortable here, and a sentence; None where there is no choice."""
        if len(models) < 2:
            return None
        builds = [build for model in models for build in builds_of_model(model) if _may_be_had(build)]
        family = models[0].entry.family
        found = self._plan(builds, family)
        if found is None or found.chosen is None:
            return None
        chosen = found.chosen.candidate.build.model
        model = next(each for each in models if each.entry.name == chosen)
        speed = found.chosen.speed
        pace = f", about {speed.expected:.3g} tokens/s" if speed is not None else ""
        place = usual_first(model.entry.builds)[0].reference
        where = f" for {self._planner.profile}" if self._planner.profile else " here"
        return model, (
            f"{family} is {chosen}{where}: the largest of {len(models)} sizes that is comfortable"
            f" ({need_words(found.chosen)}{pace}); it is {model.entry.title} of the library: {place}."
        )

    def build(self, name: str, builds: Sequence[Build]) -> Picked | None:
        """Which of the builds that there are is pulled; None where the plan has no answer, which is said.

        Raises DoesNotFit where nothing fits and that matters.
        """
        there = [build for build in builds if _may_be_had(build)]
        if len(there) < 2:
            return None
        found = self._plan(there, name)
        if found is None or found.chosen is None:
            return None
        build = found.chosen.candidate.build
        where = f" for {self._planner.profile}" if self._planner.profile else ""
        flags = [word for flag, word in _FLAGS.items() if flag in found.flags]
        more = f", {', '.join(flags)}" if flags else ""
        said = (
            f"Of {len(there)} builds {build.variant} is the one{where}: {need_words(found.chosen)}"
            f"{more}; --variant takes another."
        )
        return Picked(build=build, said=said)

    def _plan(self, builds: Sequence[Build], name: str) -> Plan | None:
        request, _ = capped(self._request, builds, name)  # run says it
        request = replace(request, embedding=is_embedding(builds))
        try:
            found = self._planner.plan(builds, request)
        except MalformedFile as error:
            self._on_event(Note(text=f"No plan could be made ({error.message}) so the usual build is taken."))
            return None
        self.last = found
        if found.chosen is None:
            text = nofit_line(found, name)
            if self._strict:
                fits = "; or ".join(choice_line(each) for each in found.alternatives)
                hint = f"What would fit: {fits}." if fits else f"'slmctl plan {name}' says what would."
                raise DoesNotFit(text, hint=f"{hint} --pull never and --variant change what is asked.")
            self._on_event(Note(text=f"{text} The usual build is taken."))
        return found


_FLAGS = {"SLOW": "slow", "KV_Q8": "with a q8_0 KV cache", "CTX_REDUCED": "with a shorter context"}


def _may_be_had(build: Build) -> bool:
    return build.made and build.facts.format in _FORMATS
