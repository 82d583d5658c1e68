"""Loading a model for the first time: open its files, check them, and start a worker that has them.

Apart from `load` because a run that finds a kept worker has no use for it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from modelfiles.spec import ParameterValue
from registry.errors import MalformedFile, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.reader import StoreReader
from registry.store.store import Store
from runtimes.engines.base import Engine, LaunchRequest
from runtimes.engines.catalog import engine_for
from runtimes.environment import worker_environment
from runtimes.holding import start_kept
from runtimes.kept import Kept
from runtimes.process import Launch, Worker, fd_path, worker_argv
from slmctl.app.cpus import usable_cpus
from slmctl.app.events import ByteCounter, EngineLog, Note, OnEvent, ReadsFromDisk
from slmctl.app.file_names import file_path
from slmctl.app.formats import engine_template
from slmctl.app.holds import Hold, hold
from slmctl.app.load import LOADED_ROLES, LoadedFile, LoadRequest, finite
from slmctl.app.logs import begin_log, has_log
from slmctl.app.own_template import packaged_template
from slmctl.app.package import Package, Variant, check_unpacked
from slmctl.app.pagecache import is_in_memory
from slmctl.app.parameters import flag, whole
from slmctl.config import Settings

DEFAULT_CONTEXT = 4096
"""Tokens of context when nobody asked for a number and the model was trained for at least as many."""


def start(
    store: StoreReader,
    settings: Settings,
    request: LoadRequest,
    variant: Variant,
    identity: str,
    on_event: OnEvent,
    big_bytes: int,
) -> tuple[Worker | Kept, LoadedFile, Hold]:
    """Start a worker of our own, or have a holder start one that stays. Raises as `load` does.

    What is held for the worker is to be released when it is gone.
    """
    held = hold(store, settings, request.package, variant)
    try:
        worker, about = _start(store, settings, request, variant, identity, on_event, big_bytes, held)
    except BaseException:
        held.release()
        raise
    return worker, about, held


def _start(
    store: StoreReader,
    settings: Settings,
    request: LoadRequest,
    variant: Variant,
    identity: str,
    on_event: OnEvent,
    big_bytes: int,
    held: Hold,
) -> tuple[Worker | Kept, LoadedFile]:
    check_unpacked(request.package, variant)
    engine = engine_for(variant.format, variant.facts.architecture if variant.facts else None)
    template = packaged_template(store, variant)
    parameters = {**variant.spec.parameters, **request.parameters}
    with _open_model(store, variant, request.verify, on_event) as model:
        context = _context_length(parameters, settings, model.facts)
        trained = model.facts.trained_context
        notes: tuple[str, ...] = ()
        if trained is not None and context > trained:
            notes = (f"{{name}} was trained for {trained} tokens of context; it gets no more.",)
            context = trained
        about = LoadedFile(
            engine=engine.name,
            context_length=context,
            chat_template=template or model.chat_template,
            has_chat_template=template is not None or model.has_chat_template,
            notes=notes,
        )
        size = sum(file.size for file in variant.weights)
        if size >= big_bytes and not request.verify and _comes_from_disk(model, settings, request.package):
            on_event(ReadsFromDisk(size=size))
        log = begin_log(settings.home, name=request.package.name, variant=variant.id, engine=engine.name)
        launch = dataclasses.replace(
            _launch(engine, settings, model, parameters, context, engine_template(variant.spec) or template),
            log=log,
        )
        if not request.keep_seconds:
            worker = Worker(launch)
            worker.start()  # while the files are open
            return worker, about
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
        return kept, about


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenModel:
    """The files of a variant that are loaded, opened and checked, in order; which weights were in memory."""

    streams: tuple[BinaryIO, ...]
    adapters: tuple[BinaryIO, ...]
    draft: tuple[BinaryIO, ...]
    in_memory: tuple[bool | None, ...]
    facts: ModelFacts
    chat_template: str | None
    has_chat_template: bool


@contextmanager
def _open_model(
    store: StoreReader, variant: Variant, verify: bool, on_event: OnEvent
) -> Iterator[_OpenModel]:
    if not variant.weights:
        raise MalformedFile(f"The variant {variant.id} has no weights.")
    with ExitStack() as stack:
        opened: dict[str, list[BinaryIO]] = {role: [] for role in LOADED_ROLES}
        in_memory = []
        for role, streams in opened.items():
            for file in variant.of_role(role):
                stage = "verify" if store.origin is None else "unpack"
                progress = ByteCounter(on_event, stage=stage, item=file.path, total=file.size)
                opened_file = store.open_file(file.descriptor, progress, check_notes=not verify)
                stream = stack.enter_context(opened_file)
                if role == "weights":
                    in_memory.append(is_in_memory(stream.fileno()))
                if verify:
                    hashing = ByteCounter(on_event, stage="verify", item=file.path, total=file.size)
                    Store(store.root).verify_open_blob(file.descriptor, stream, hashing)
                streams.append(stream)
        headers = [_header(stream) for stream in opened["weights"]]
        for stream in (*opened["adapter"], *opened["draft"]):
            _header(stream)  # the engine is given nothing that nobody has looked at
        facts = facts_from_gguf(headers)
        if variant.facts is not None and facts != variant.facts:
            on_event(Note(text="The package's facts contradict the file's header; the header counts."))
        yield _OpenModel(
            streams=tuple(opened["weights"]),
            adapters=tuple(opened["adapter"]),
            draft=tuple(opened["draft"]),
            in_memory=tuple(in_memory),
            facts=facts,
            chat_template=headers[0].chat_template,
            has_chat_template=headers[0].has_chat_template,
        )


def _comes_from_disk(model: _OpenModel, settings: Settings, package: Package) -> bool:
    """Where the system does not say what is in memory: whether the model has never run."""
    if None in model.in_memory:
        return not has_log(settings.home, package.name)
    return not all(model.in_memory)


def _header(stream: BinaryIO) -> GgufHeader:
    stream.seek(0)
    try:
        return read_header(stream)
    except MalformedFile as error:
        raise MalformedFile(error.message, hint=error.hint or "Make or pull the model again.") from None


def _context_length(parameters: Mapping[str, ParameterValue], settings: Settings, facts: ModelFacts) -> int:
    """What was asked for, else 4,096 or what the model was trained for if that is less."""
    asked = parameters.get("num_ctx", settings.context_length)
    if isinstance(asked, int) and asked != 0:  # 0 is Ollama's way to say: as usual
        if asked < 1:
            raise UsageError(f"A context of {asked} tokens is none.", hint="Ask for at least 1 token.")
        return asked
    return min(DEFAULT_CONTEXT, facts.trained_context or DEFAULT_CONTEXT)


def _launch(
    engine: Engine,
    settings: Settings,
    model: _OpenModel,
    parameters: Mapping[str, ParameterValue],
    context: int,
    chat_template: str | None,
) -> Launch:
    links: dict[str, int] = {}
    weights = _handed_over(model.streams, "weights", links)
    adapters = tuple(path for each in model.adapters for path in _handed_over([each], "adapter", links))
    draft = _handed_over(model.draft, "draft", links)
    draft_tokens = whole(parameters, "draft_num_predict")
    request = LaunchRequest(
        model=weights[0],
        adapters=adapters,
        draft=draft[0] if draft and draft_tokens != 0 else None,
        draft_tokens=draft_tokens or None,
        chat_template=chat_template,
        context_length=context,
        parallel=1,
        threads=whole(parameters, "num_thread") or usable_cpus(),
        batch=whole(parameters, "num_batch"),
        gpu_layers=whole(parameters, "num_gpu"),
        main_gpu=whole(parameters, "main_gpu"),
        mmap=flag(parameters, "use_mmap"),
        cache_ram_mib=0,  # one answer has no use for a cache of prompts
    )
    return Launch(
        argv=worker_argv(engine.worker),
        environment=worker_environment(settings.environment),
        document=engine.command(request),
        explain=engine.explain,
        folder_candidates=settings.runtime_folders,
        pass_fds=tuple(stream.fileno() for stream in (*model.streams, *model.adapters, *model.draft)),
        links=links,
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
