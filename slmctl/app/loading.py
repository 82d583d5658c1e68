"""Loading a model for the first time: open its files, check them, and start a worker that has them.

Apart from `load` because a run that finds a kept worker has no use for it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from modelfiles.spec import ParameterValue
from registry.formats.facts import ModelFacts
from registry.store.reader import StoreReader
from runtimes.engines.base import Engine, LaunchRequest
from runtimes.engines.catalog import engine_for
from runtimes.environment import worker_environment
from runtimes.holding import start_kept
from runtimes.kept import Kept
from runtimes.process import Ended, Launch, Worker, fd_path, worker_argv
from slmctl.app.cpus import usable_cpus
from slmctl.app.events import EngineLog, Note, OnEvent, ReadsFromDisk
from slmctl.app.file_names import file_path
from slmctl.app.formats import engine_template
from slmctl.app.holds import Hold, hold
from slmctl.app.load import LOADED_ROLES, LoadedFile, LoadRequest, Serving, finite, identity_of
from slmctl.app.logs import begin_log
from slmctl.app.opening import OpenModel, comes_from_disk, open_model
from slmctl.app.own_template import packaged_template
from slmctl.app.package import Variant, check_unpacked
from slmctl.app.parameters import flag, whole
from slmctl.app.planning.launching import lesson_of, pace_of, planned_flags
from slmctl.app.planning.learn import Learning
from slmctl.app.planning.running import RunPlan, asked_context, plan_run
from slmctl.app.planning.serving import plan_served
from slmctl.config import Settings

POOLINGS = ("none", "mean", "cls", "last", "rank")
"""How vectors of tokens become one of a text, as llama.cpp names them, by their number in a GGUF."""

OnEnd = Callable[[Ended], None]

DEFAULT_CONTEXT = 4096
"""Tokens of context where nobody asked for a number and no plan could be made."""

SERVED_NICENESS = 10
"""By how much a server's workers step back from the server (docs/decisions/0027)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A worker that was started, and all that is known of it. `held` is to be released when it is gone.

    `decided` is the plan by which it was started.
    """

    worker: Worker | Kept
    about: LoadedFile
    held: Hold
    variant: Variant
    learning: Learning
    decided: RunPlan


def start(
    store: StoreReader,
    settings: Settings,
    request: LoadRequest,
    on_event: OnEvent,
    big_bytes: int,
    *,
    on_end: OnEnd | None = None,
) -> Begun:
    """Plan, and start a worker of our own, or have a holder start one that stays. Raises as `load` does.

    `on_end` is told of the end of a worker of our own, from its watcher's thread.
    """
    decided = _plan(store, settings, request)
    held = hold(store, settings, request.package, decided.variant)
    try:
        return _start(store, settings, request, decided, on_event, big_bytes, held, on_end)
    except BaseException:
        held.release()
        raise


def _plan(store: StoreReader, settings: Settings, request: LoadRequest) -> RunPlan:
    if request.serving is not None:
        return plan_served(store, settings, request, request.serving)
    return plan_run(
        store,
        settings,
        request.package,
        variant=request.variant,
        parameters=request.parameters,
        wishes=request.wishes,
    )


def _start(
    store: StoreReader,
    settings: Settings,
    request: LoadRequest,
    decided: RunPlan,
    on_event: OnEvent,
    big_bytes: int,
    held: Hold,
    on_end: OnEnd | None,
) -> Begun:
    variant = decided.variant
    check_unpacked(request.package, variant)
    engine = engine_for(variant.format, variant.facts.architecture if variant.facts else None)
    template = packaged_template(store, variant)
    parameters = {**variant.spec.parameters, **request.parameters}
    serving = request.serving
    roles = LOADED_ROLES if serving is None or serving.purpose != "text" else (*LOADED_ROLES, "projector")
    with open_model(store, variant, request.verify, on_event, roles) as model:
        if variant.facts is not None and model.facts != variant.facts and decided.launch is not None:
            decided = _planned_again(store, settings, request, variant, model.facts)
        context, notes = _context_length(parameters, settings, model.facts)
        if decided.launch is not None:
            context = decided.launch.context
        for note in decided.notes:
            on_event(Note(text=note))
        about = LoadedFile(
            engine=engine.name,
            context_length=context,
            chat_template=template or model.chat_template,
            has_chat_template=template is not None or model.has_chat_template,
            notes=notes,
            pace=pace_of(decided),
        )
        size = sum(file.size for file in variant.weights)
        if size >= big_bytes and not request.verify and comes_from_disk(model, settings, request.package):
            on_event(ReadsFromDisk(size=size))
        log = begin_log(settings.home, name=request.package.name, variant=variant.id, engine=engine.name)
        wanted = _request(model, parameters, context, engine_template(variant.spec) or template, decided)
        if serving is not None:
            wanted = _served(wanted, model, serving)
        launch = dataclasses.replace(
            _launch(engine, settings, model, wanted),
            log=log,
            niceness=0 if serving is None else SERVED_NICENESS,
        )
        learning = Learning(
            home=settings.home,
            pace=about.pace,
            lesson=lesson_of(decided, settings, request.package.name),
            log=log,
        )
        if not request.keep_seconds:
            worker = Worker(launch, on_end=on_end)
            worker.start()  # while the files are open
            return Begun(
                worker=worker, about=about, held=held, variant=variant, learning=learning, decided=decided
            )
        identity = identity_of(store, variant, request, settings)
        with learning.watching(on_event):  # it is ready when it comes back
            kept = start_kept(
                dataclasses.replace(launch, pass_fds=(*launch.pass_fds, *held.fds), lease=held.path),
                engine=engine.name,
                identity=identity,
                about={"name": request.package.name, "variant": variant.id, **dataclasses.asdict(about)},
                keep_seconds=finite(request.keep_seconds),
                on_log=lambda text: on_event(EngineLog(text=text)),
            )
        held.hand_over()
        if kept.unkept is not None:
            on_event(Note(text=f"The model does not stay loaded: {kept.unkept}."))
        return Begun(worker=kept, about=about, held=held, variant=variant, learning=learning, decided=decided)


def _planned_again(
    store: StoreReader, settings: Settings, request: LoadRequest, variant: Variant, facts: ModelFacts
) -> RunPlan:
    """The plan by what the file itself says: it counts, and the package's facts were something else."""
    alone = dataclasses.replace(request.package, variants=(dataclasses.replace(variant, facts=facts),))
    return _plan(store, settings, dataclasses.replace(request, package=alone, variant=variant.id))


def _context_length(
    parameters: Mapping[str, ParameterValue], settings: Settings, facts: ModelFacts
) -> tuple[int, tuple[str, ...]]:
    """What was asked for, else what is usual without a plan; and what is to be said about it."""
    trained = facts.trained_context
    asked = asked_context(parameters, settings)
    if asked is None:
        return min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT), ()
    if trained is not None and asked > trained:
        return trained, (f"{{name}} was trained for {trained} tokens of context; it gets no more.",)
    return asked, ()


def named_flags(parameters: Mapping[str, ParameterValue]) -> dict[str, Any]:
    """The fields of a `LaunchRequest` that parameters name, beside the context and what is drafted."""
    named = {
        "threads": whole(parameters, "num_thread"),
        "batch": whole(parameters, "num_batch"),
        "gpu_layers": whole(parameters, "num_gpu"),
        "main_gpu": whole(parameters, "main_gpu"),
        "mmap": flag(parameters, "use_mmap"),
    }
    return {name: value for name, value in named.items() if value is not None}


def _request(
    model: OpenModel,
    parameters: Mapping[str, ParameterValue],
    context: int,
    chat_template: str | None,
    decided: RunPlan,
) -> _Wanted:
    """What the engine is told: the plan's flags, all of them, and over them what somebody asked for."""
    links: dict[str, int] = {}
    weights = _handed_over(model.streams, "weights", links)
    adapters = tuple(path for each in model.adapters for path in _handed_over([each], "adapter", links))
    draft = _handed_over(model.draft, "draft", links)
    draft_tokens = whole(parameters, "draft_num_predict")
    planned = {} if decided.launch is None else planned_flags(decided)
    named = named_flags(parameters)
    if "threads" in named:
        planned.pop("batch_threads", None)  # as many as for all else
    usual: dict[str, Any] = {"threads": usable_cpus(), "cache_ram_mib": 0, "parallel": 1}
    request = LaunchRequest(
        model=weights[0],
        adapters=adapters,
        draft=draft[0] if draft and draft_tokens != 0 else None,
        draft_tokens=draft_tokens or None,
        chat_template=chat_template,
        context_length=context,
        **{**usual, **planned, **named},
    )
    return _Wanted(request=request, links=links)


def _served(wanted: _Wanted, model: OpenModel, serving: Serving) -> _Wanted:
    """The same for a worker of the server's: with its projector, or for vectors instead of answers.

    It has no cache of prompts beside its slots: that would grow beyond what the plan counts, and hold for one
    key what another has asked.
    """
    request = dataclasses.replace(wanted.request, cache_ram_mib=0)
    if model.projector:
        (projector,) = _handed_over(model.projector, "projector", {})
        request = dataclasses.replace(request, projector=projector)
    if serving.purpose != "text":
        named = model.facts.pooling or 0
        pooling = POOLINGS[named] if 0 < named < len(POOLINGS) else "last"
        request = dataclasses.replace(request, embedding=True, pooling=pooling)
    return dataclasses.replace(wanted, request=request)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the engine is told, and by which names it finds the parts of a set."""

    request: LaunchRequest
    links: Mapping[str, int]


def _launch(engine: Engine, settings: Settings, model: OpenModel, wanted: _Wanted) -> Launch:
    return Launch(
        argv=worker_argv(engine.worker),
        environment=worker_environment(settings.environment),
        document=engine.command(wanted.request),
        explain=engine.explain,
        folder_candidates=settings.runtime_folders,
        pass_fds=tuple(stream.fileno() for stream in model.all_streams),
        links=wanted.links,
        start_timeout_seconds=settings.start_timeout_seconds,
        loggable=engine.loggable,
        is_at_template=engine.is_at_template,
    )


def _handed_over(streams: Sequence[BinaryIO], role: str, links: dict[str, int]) -> list[str]:
    """The paths by which the worker opens files that it is handed. The parts of a sharded set get `links`,
    since they are found by their names; the package's own are not asked."""
    fds = [stream.fileno() for stream in streams]
    for fd in fds:
        os.lseek(fd, 0, os.SEEK_SET)  # where /dev/fd is a duplicate (macOS), the offset is shared too
    if len(fds) == 1:
        return [fd_path(fds[0])]
    names = [file_path(role, number, len(fds)) for number in range(len(fds))]
    links.update(zip(names, fds, strict=True))
    return names
