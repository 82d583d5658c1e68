"""A plan for `run`: what a stored model is loaded with on this machine now, and what is said about it.

What the user names is a pin of the plan; what the package's author or the settings name is a wish. A model
that no plan can be made for (its facts are not known, or no engine runs its format) is left to the engine's
own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from modelfiles.spec import ParameterValue
from registry.errors import DoesNotFit, MalformedFile, UsageError
from registry.names import short_name
from registry.store.reader import StoreReader
from runtimes.hardware.machine import Hardware
from runtimes.planning.budget import HOST, host_budget
from runtimes.planning.values import Build, Evaluated, Launch, Plan, PlanRequest
from slmctl.app.kept import kept_models
from slmctl.app.package import Package, Variant
from slmctl.app.parameters import whole
from slmctl.app.planning.files import file_of_builds
from slmctl.app.planning.package_builds import builds_of_package, counts_all_tokens, drafting, is_embedding
from slmctl.app.planning.planner import Planner
from slmctl.app.planning.shrinking import less, shrunk
from slmctl.app.planning.wishes import NO_WISHES, RunWishes, ServingPlan
from slmctl.app.planning.words import choice_line, mib, need_words, nofit_line, unused_gpu
from slmctl.config import Settings

_TINY = 128 << 20
"""A model that takes no more than the smallest reserve is let into it: `hello` runs wherever Python does."""

_WHOLE_TEXT = 2048
"""Tokens of a text that becomes a vector in one batch, where nobody asked for more."""

_WISHES = ("PIN_CONFLICT", "KV_QUANT_UNSAFE")
_REFUSED = frozenset({"MEM_HOST", "MEM_CGROUP", "MEM_DEVICE", "SPEED_FLOOR", "QUALITY_FLOOR", *_WISHES})
"""Reasons for which a run is refused. For all others (no engine, a format, an architecture, a type) the
engine's own refusal says more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What was decided: the variant and, where there is a plan, how it is launched. `notes` are sentences."""

    variant: Variant
    plan: Plan | None = None
    launch: Launch | None = None
    hardware: Hardware | None = None
    notes: tuple[str, ...] = ()
    foreign: bool = False
    """Whether the plan is for another machine than this."""

    @property
    def chosen(self) -> Evaluated | None:
        return self.plan.chosen if self.plan is not None else None


def plan_run(
    store: StoreReader,
    settings: Settings,
    package: Package,
    *,
    variant: str | None,
    parameters: Mapping[str, ParameterValue],
    wishes: RunWishes = NO_WISHES,
    serving: ServingPlan | None = None,
) -> RunPlan:
    """Choose the variant and its launch flags. `parameters` are the user's own.

    Raises DoesNotFit with what would fit, UsageError for a context that is none, NotFound for a variant.
    """
    usual = package.choose(variant)
    given = {**usual.spec.parameters, **parameters}
    asked = asked_context(given, settings)
    pinned = "num_ctx" in parameters and asked is not None
    builds = _builds(store, package, usual if variant is not None else None)
    if not builds:
        return RunPlan(variant=usual)
    builds, draft_tokens = drafting(builds, given)
    planner = Planner(settings, profile=wishes.profile, quick=True)
    trained = min((each.facts.trained_context for each in builds if each.facts.trained_context), default=None)
    at_once = serving is not None and serving.embedding and counts_all_tokens(builds)
    if at_once and asked is None:
        asked = _WHOLE_TEXT
    serving = serving or ServingPlan(embedding=is_embedding(builds))
    if serving.room:
        planner.hardware = _with_room(planner.hardware, serving.room)
    request = replace(
        request_of(wishes, context=None, usual=None),
        context=asked if asked is None or trained is None else min(asked, trained),
        context_is_pinned=pinned,
        variant=usual.id if variant is not None or len(builds) == 1 else None,
        gpu_layers=_gpu_layers(given, planner.hardware),
        parallel=serving.parallel,
        embedding=serving.embedding,
        one_batch=at_once,
        draft_tokens=draft_tokens,
    )
    name = short_name(package.name)
    subject = _Subject(name=name, builds=builds, package=package, reader=store)
    try:
        found = _planned(planner, request, subject, wishes)
    except MalformedFile:  # facts without what an estimate needs: the engine may know better
        return RunPlan(variant=usual)
    notes: tuple[str, ...] = ()
    if found.chosen is None and found.binding is not None and found.binding.code not in _REFUSED:
        return RunPlan(variant=usual)  # the engine says it better
    if found.chosen is None:
        roomy, why = _insisted(planner, request, subject, found, wishes)
        if roomy is None:
            raise _refusal(found, name, planner.hardware, wishes.planned, _kept_names(settings))
        found, notes = roomy, (why,)
    else:
        notes = (
            *shrunk(found, settings, name, wishes),
            *_told(found, package, request, planner.hardware),
        )
    assert found.chosen is not None
    build = found.chosen.candidate.build
    chosen = next(each for each in package.variants if str(each.digest) == build.digest)
    return RunPlan(
        variant=chosen,
        plan=found,
        launch=found.launch,
        hardware=planner.hardware,
        notes=notes,
        foreign=wishes.profile is not None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    name: str
    builds: tuple[Build, ...]
    package: Package
    reader: StoreReader

    def siblings(self) -> tuple[Build, ...]:
        from slmctl.app.planning.siblings import siblings  # most models fit, and need no others

        return siblings(self.name, self.builds)


def request_of(wishes: RunWishes, *, context: int | None, usual: int | None) -> PlanRequest:
    """What the wishes ask of a plan; `context` is a command, `usual` the settings' wish."""
    default = PlanRequest()
    return PlanRequest(
        context=context or usual,
        context_is_pinned=context is not None,
        prefer=wishes.prefer,
        runtime=wishes.runtime,
        kv_type=wishes.kv,
        max_memory=wishes.max_memory,
        min_speed=default.min_speed if wishes.min_speed is None else wishes.min_speed,
        comfort_speed=max(default.comfort_speed, wishes.min_speed or 0.0),
        speed_is_pinned=wishes.min_speed is not None,
        force=wishes.force,
    )


def _planned(planner: Planner, request: PlanRequest, subject: _Subject, wishes: RunWishes) -> Plan:
    """The plan, with a file of the right engine's to ask where formulas are not trusted."""
    return planner.plan(
        subject.builds,
        request,
        siblings=subject.siblings,
        file_of=file_of_builds(subject.reader, subject.package) if wishes.profile is None else None,
    )


def asked_context(given: Mapping[str, ParameterValue], settings: Settings) -> int | None:
    """What was asked for: 0 is Ollama's way to say: as usual."""
    asked = given.get("num_ctx", settings.context_length)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked == 0:
        return None
    if asked < 1:
        raise UsageError(f"A context of {asked} tokens is none.", hint="Ask for at least 1 token.")
    return asked


def _builds(store: StoreReader, package: Package, only: Variant | None) -> tuple[Build, ...]:
    """The builds that are here, or the one that was named."""
    try:
        builds = builds_of_package(store, package)
    except MalformedFile:
        return ()
    here = {str(each.digest) for each in package.variants if each.local}
    wanted = {str(only.digest)} if only is not None else here
    return tuple(build for build in builds if build.digest in wanted)


def _gpu_layers(given: Mapping[str, ParameterValue], hardware: Hardware) -> int | None:
    """Layers that somebody wants on the GPU; of no meaning where the engine has none."""
    layers = whole(given, "num_gpu")
    if layers is None or layers < 0 or not any(each.devices for each in hardware.engines):
        return None
    return layers


def _insisted(
    planner: Planner, request: PlanRequest, subject: _Subject, found: Plan, wishes: RunWishes
) -> tuple[Plan | None, str]:
    """The plan of somebody who insists, or of a model so small that it may have what is kept free."""
    if wishes.force:
        everything = Planner(planner.settings, profile=planner.profile)
        everything.hardware = _with_room(planner.hardware, 1 << 50)
        insisted = replace(request, max_memory=None, speed_is_pinned=False)
        roomy = _planned(everything, insisted, subject, wishes)
        bare = None if roomy.launch is None else replace(roomy.launch, cache_ram=0, context_checkpoints=0)
        lacking = found.binding
        if lacking is None or lacking.need is None or lacking.budget is None:
            why = f"{nofit_line(found, subject.name)} It"
        else:
            why = f"{subject.name} does not fit here by {mib(lacking.need - lacking.budget)}; it"
        roomy = replace(roomy, launch=bare)
        return roomy if roomy.chosen is not None else None, f"{why} is loaded because of --force."
    own = Planner(planner.settings, profile=planner.profile)
    own.hardware = _with_room(planner.hardware, host_budget(planner.hardware).reserve)
    roomy = _planned(own, request, subject, wishes)
    small = roomy.chosen is not None and roomy.chosen.need.total * roomy.chosen.need.margin <= _TINY
    return (roomy if small else None), f"Memory is short here: {subject.name} takes what is kept free."


def _with_room(hardware: Hardware, more: int) -> Hardware:
    """The machine with so much more free memory of every kind."""
    memory = replace(
        hardware.memory,
        available=hardware.memory.available + more,
        limits=tuple(replace(each, usage=each.usage - more) for each in hardware.memory.limits),
    )
    devices = tuple(
        replace(
            each,
            free=None if each.free is None else each.free + more,
            working_set=None if each.working_set is None else each.working_set + more,
        )
        for each in hardware.devices
    )
    return replace(hardware, memory=memory, devices=devices)


def _kept_names(settings: Settings) -> list[str]:
    """The models that 'run --keep' left in memory."""
    return sorted({short_name(model.name) for model in kept_models(settings)})


def _refusal(
    found: Plan, name: str, hardware: Hardware, planned: Plan | None, kept: Sequence[str]
) -> DoesNotFit:
    text = nofit_line(found, name)
    if planned is not None and planned.chosen is not None:
        before, now = planned.chosen.budget.get(HOST), host_budget(hardware).bytes
        if before is not None and before > now:
            text = f"{text} {less(before, now)}"
    alternatives = [choice_line(each) for each in found.alternatives]
    fits = (
        f"What would fit: {'; or '.join(alternatives)}." if alternatives else "Nothing else was found to fit."
    )
    if kept:
        verb = "is" if len(kept) == 1 else "are"
        fits = f"{', '.join(kept)} {verb} kept loaded: slmctl stop {kept[0]}. {fits}"
    return DoesNotFit(text, hint=f"{fits} 'slmctl plan {name}' explains it, --force tries it all the same.")


def _told(found: Plan, package: Package, request: PlanRequest, hardware: Hardware) -> Iterator[str]:
    """What the user should know: which of several builds it is, and what memory made of the usual."""
    chosen = found.chosen
    assert chosen is not None
    candidate, shape = chosen.candidate, chosen.candidate.shape
    here = [each for each in package.variants if each.local]
    if request.variant is None and len(here) > 1:
        yield (
            f"Running {candidate.build.variant} of {len(here)} variants"
            f" ({need_words(chosen)}); --variant chooses another."
        )
    changes = []
    if "CTX_REDUCED" in found.flags:
        changes.append(f"the context is {shape.context:,} tokens")
    if "KV_Q8" in found.flags and request.kv_type is None:
        changes.append(f"the KV cache is {shape.type_k}")
    if changes:
        text = " and ".join(changes)
        why = found.binding.detail.rstrip(".") if found.binding is not None else need_words(chosen)
        yield f"To fit, {text}: {why}."
    line = unused_gpu(found, hardware)
    if line is not None:
        yield line
