"""A model that is loaded: package -> variant -> files -> worker, which then answers any number of questions.

    look up -> choose the variant -> open and check its files -> start the worker -> ask -> stream

What was checked is what is loaded: the worker gets the very files that were opened here, not their paths.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from modelfiles.spec import ModelSpec, ParameterValue
from registry.digest import Digest
from registry.errors import MalformedFile, SlmctlError, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.store import Store
from runtimes import protocol
from runtimes.client import Client
from runtimes.engines.base import Engine, LaunchRequest
from runtimes.engines.catalog import engine_for
from runtimes.keeping import Kept, find_kept, keep_key, start_kept
from runtimes.process import Launch, Worker, fd_path, worker_argv, worker_environment
from runtimes.sampling import Sampling
from slmctl import __version__
from slmctl.app.events import ByteCounter, EngineLog, Note, OnEvent, ReadsFromDisk, ignore
from slmctl.app.logs import begin_log, has_log
from slmctl.app.package import Package, Variant, weight_path
from slmctl.app.pagecache import is_in_memory
from slmctl.config import Settings

DEFAULT_CONTEXT = 4096
"""Tokens of context when nobody asked for a number and the model was trained for at least as many."""

BIG_BYTES = 1_000_000_000
"""From this size on it is said when a model comes from the disk: seconds, even from a fast one."""

LOAD_PARAMETERS = frozenset({"main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "use_mmap"})
"""The parameters that say how a model is loaded; the others are said with each question."""

_HARMLESS_VARIABLES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR"})
"""Variables that differ between two terminals and change nothing in a loaded model."""

Messages = Sequence[Mapping[str, object]]
"""A conversation in OpenAI's shape: role and content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Which model is loaded how. `parameters` are Ollama's and win over the package's.

    `keep_seconds` leaves it loaded for so long after its last use (infinity: until it is stopped), 0 unloads
    what an earlier run kept; None unloads what was loaded here and leaves what was kept as it is.
    """

    package: Package
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    variant: str | None = None
    verify: bool = False
    keep_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The model is loaded: what it is, and how long that took. `context_length` is in tokens."""

    name: str
    digest: Digest
    variant: str
    engine: str
    context_length: int
    load_seconds: float


class LoadedModel:
    """A model in a worker of its own, which answers one question after the other.

    `parameters` of a question win over the package's; those that say how to load have no effect here. Closing
    an answer's generator stops it and frees the engine's slot; the model stays loaded. What an answer raises
    is EngineFailed or what the worker's end means; afterwards `ended` tells whether the model is still there.
    `chat_template` is None where there is none, and where it is too large to be held.
    """

    def __init__(
        self,
        about: Loaded,
        spec: ModelSpec,
        worker: Worker | Kept,
        *,
        chat_template: str | None,
        has_chat_template: bool,
        on_event: OnEvent,
    ) -> None:
        self.about = about
        self.chat_template = chat_template
        self.spec = spec
        self.has_chat_template = has_chat_template
        self._worker = worker
        self._on_event = on_event

    @property
    def ended(self) -> bool:
        """Whether the worker is gone, for whatever reason."""
        return self._worker.ended.is_set()

    def answer(
        self,
        messages: Messages,
        parameters: Mapping[str, ParameterValue],
        *,
        think: protocol.Think | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> Generator[protocol.Event]:
        """Answer the last of `messages` through the chat template; the last event is `Finished`.

        A model without a template gets the system message and the last message as plain text. `think` asks a
        model that can for its reasoning, or asks it to leave that out; `schema` (JSON Schema) makes the
        answer a JSON text that fits it.
        """
        if self.has_chat_template:
            sampling = self._sampling(parameters)
            return self._stream(protocol.chat_request(messages, sampling, think=think, json_schema=schema))
        return self.complete(_plain_text(messages), parameters, schema=schema)

    def complete(
        self,
        text: str,
        parameters: Mapping[str, ParameterValue],
        *,
        schema: Mapping[str, object] | None = None,
    ) -> Generator[protocol.Event]:
        """Continue `text` as it is, behind the token that begins a text."""
        sampling = self._sampling(parameters)
        return self._stream(protocol.completion_request(text, sampling, json_schema=schema))

    def _sampling(self, parameters: Mapping[str, ParameterValue]) -> Sampling:
        return sampling_of({**self.spec.parameters, **parameters}, self.about.context_length)

    def _stream(self, question: protocol.HttpRequest) -> Generator[protocol.Event]:
        with _last_words(self._worker, self._on_event):
            yield from Client(self._worker.endpoint, self._worker).stream(question)


@contextmanager
def load(
    store: Store,
    settings: Settings,
    request: LoadRequest,
    on_event: OnEvent = ignore,
    *,
    big_bytes: int = BIG_BYTES,
) -> Iterator[LoadedModel]:
    """Load a model; it is unloaded on the way out. One of `big_bytes` or more is told when it is not in
    memory yet.

    Raises NotFound, BadContent, DoesNotFit, UsageError, EngineFailed.
    """
    package = request.package
    variant = package.choose(request.variant)
    if len(package.variants) > 1 and request.variant is None:
        on_event(
            Note(text=f"Running {variant.id} of {len(package.variants)} variants; --variant chooses another.")
        )
    engine = engine_for(variant.format, variant.facts.architecture if variant.facts else None)
    parameters = {**variant.spec.parameters, **request.parameters}
    started = time.monotonic()
    with ExitStack() as stack:
        key = keep_key(_identity(variant, engine, parameters, settings))
        # to verify is to load anew: the bytes in memory are those of then
        kept = None if request.verify else find_kept(settings.runtime_folders, key)
        if kept is None:
            worker, about = _start(store, settings, request, variant, engine, key, on_event, big_bytes)
        else:
            worker, about = kept, _LoadedFile.from_json(kept.about)
            if request.keep_seconds is not None:
                kept.keep_for(_finite(request.keep_seconds))
        stack.enter_context(worker)
        for note in about.notes:
            on_event(Note(text=note.format(name=package.name)))
        if isinstance(worker, Worker):
            with _last_words(worker, on_event):
                worker.ensure_ready()
        loaded = Loaded(
            name=package.name,
            digest=package.digest,
            variant=variant.id,
            engine=engine.name,
            context_length=about.context_length,
            load_seconds=time.monotonic() - started,
        )
        yield LoadedModel(
            loaded,
            variant.spec,
            worker,
            chat_template=about.chat_template,
            has_chat_template=about.has_chat_template,
            on_event=on_event,
        )


def conversation(system: str | None, *turns: tuple[str, str]) -> Messages:
    """Messages from a system message, where there is one, and (role, content) pairs."""
    opening = [("system", system)] if system else []
    return [{"role": role, "content": content} for role, content in (*opening, *turns)]


def _plain_text(messages: Messages) -> str:
    texts = [message["content"] for message in messages if message["role"] == "system"]
    return "\n\n".join(str(text) for text in (*texts, messages[-1]["content"]))


@contextmanager
def _last_words(worker: Worker | Kept, on_event: OnEvent) -> Iterator[None]:
    """When an error comes from below, tell what the engine wrote before it."""
    try:
        yield
    except SlmctlError:
        on_event(EngineLog(text=worker.stderr_tail))
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoadedFile:
    """What is known of a loaded model from its files' headers; kept beside a kept worker."""

    context_length: int
    chat_template: str | None
    has_chat_template: bool
    notes: tuple[str, ...]

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> _LoadedFile:
        context, template, notes = fields["context_length"], fields["chat_template"], fields["notes"]
        assert isinstance(context, int)
        assert isinstance(notes, list)
        return cls(
            context_length=context,
            chat_template=template if isinstance(template, str) else None,
            has_chat_template=fields["has_chat_template"] is True,
            notes=tuple(str(note) for note in notes),
        )


def _start(
    store: Store,
    settings: Settings,
    request: LoadRequest,
    variant: Variant,
    engine: Engine,
    key: str,
    on_event: OnEvent,
    big_bytes: int,
) -> tuple[Worker | Kept, _LoadedFile]:
    """Start a worker of our own, or have a holder start one that stays."""
    parameters = {**variant.spec.parameters, **request.parameters}
    with _open_model(store, variant, request.verify, on_event) as model:
        context = _context_length(parameters, settings, model.facts)
        trained = model.facts.trained_context
        notes: tuple[str, ...] = ()
        if trained is not None and context > trained:
            notes = (f"{{name}} was trained for {trained} tokens of context; it gets no more.",)
            context = trained
        about = _LoadedFile(
            context_length=context,
            chat_template=model.chat_template,
            has_chat_template=model.has_chat_template,
            notes=notes,
        )
        size = sum(file.size for file in variant.weights)
        if size >= big_bytes and not request.verify and _comes_from_disk(model, settings, request.package):
            on_event(ReadsFromDisk(size=size))
        log = begin_log(settings.home, name=request.package.name, variant=variant.id, engine=engine.name)
        launch = dataclasses.replace(_launch(engine, settings, model, parameters, context), log=log)
        if not request.keep_seconds:
            worker = Worker(launch)
            worker.start()  # while the files are open
            return worker, about
        kept = start_kept(
            launch,
            engine=engine.name,
            key=key,
            about={"name": request.package.name, "variant": variant.id, **dataclasses.asdict(about)},
            keep_seconds=_finite(request.keep_seconds),
            on_log=lambda text: on_event(EngineLog(text=text)),
        )
        return kept, about


def _identity(
    variant: Variant, engine: Engine, parameters: Mapping[str, ParameterValue], settings: Settings
) -> dict[str, object]:
    """All that a worker is loaded with: a run may use a kept one only where this is equal."""
    return {
        "slmctl": __version__,
        "engine": engine.name,
        "weights": [str(file.digest) for file in variant.weights],
        "parameters": {name: parameters[name] for name in sorted(LOAD_PARAMETERS & parameters.keys())},
        "context": settings.context_length,
        "cpus": _usable_cpus(),
        "environment": {
            name: value
            for name, value in worker_environment(settings.environment).items()
            if name not in _HARMLESS_VARIABLES and not name.startswith("LC_")
        },
    }


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenModel:
    """The weight files of a variant, opened and checked, in order; whether each was in memory before that."""

    streams: tuple[BinaryIO, ...]
    in_memory: tuple[bool | None, ...]
    facts: ModelFacts
    chat_template: str | None
    has_chat_template: bool


@contextmanager
def _open_model(store: Store, variant: Variant, verify: bool, on_event: OnEvent) -> Iterator[_OpenModel]:
    if not variant.weights:
        raise MalformedFile(f"The variant {variant.id} has no weights.")
    with ExitStack() as stack:
        streams = []
        in_memory = []
        for file in variant.weights:
            stream = stack.enter_context(store.open_blob(file.descriptor))
            in_memory.append(is_in_memory(stream.fileno()))
            if verify:
                progress = ByteCounter(on_event, stage="verify", item=file.path, total=file.size)
                store.verify_open_blob(file.descriptor, stream, progress)
            streams.append(stream)
        headers = [_header(stream) for stream in streams]
        facts = facts_from_gguf(headers)
        if variant.facts is not None and facts != variant.facts:
            on_event(Note(text="The package's facts contradict the file's header; the header counts."))
        yield _OpenModel(
            streams=tuple(streams),
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
) -> Launch:
    fds = [stream.fileno() for stream in model.streams]
    for fd in fds:
        os.lseek(fd, 0, os.SEEK_SET)  # where /dev/fd is a duplicate (macOS), the offset is shared too
    sharded = len(fds) > 1
    names = [weight_path(number, len(fds)) for number in range(len(fds))]  # the package's own are not asked
    request = LaunchRequest(
        model=names[0] if sharded else fd_path(fds[0]),
        context_length=context,
        parallel=1,
        threads=_whole(parameters, "num_thread") or _usable_cpus(),
        batch=_whole(parameters, "num_batch"),
        gpu_layers=_whole(parameters, "num_gpu"),
        main_gpu=_whole(parameters, "main_gpu"),
        mmap=_flag(parameters, "use_mmap"),
        cache_ram_mib=0,  # one answer has no use for a cache of prompts
    )
    return Launch(
        argv=worker_argv(engine.worker),
        environment=worker_environment(settings.environment),
        document=engine.command(request),
        explain=engine.explain,
        folder_candidates=settings.runtime_folders,
        pass_fds=tuple(fds),
        links=dict(zip(names, fds, strict=True)) if sharded else {},
        start_timeout_seconds=settings.start_timeout_seconds,
        loggable=engine.loggable,
    )


def _usable_cpus() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def sampling_of(parameters: Mapping[str, ParameterValue], context: int) -> Sampling:
    """The parameters that say how to sample, for a context of so many tokens; the others say how to load."""
    stop = parameters.get("stop")
    last = _whole(parameters, "repeat_last_n")
    return Sampling(
        temperature=_number(parameters, "temperature"),
        top_k=_whole(parameters, "top_k"),
        top_p=_number(parameters, "top_p"),
        min_p=_number(parameters, "min_p"),
        typical_p=_number(parameters, "typical_p"),
        repeat_penalty=_number(parameters, "repeat_penalty"),
        repeat_last_n=context if last == -1 else last,  # Ollama: -1 is the whole context
        presence_penalty=_number(parameters, "presence_penalty"),
        frequency_penalty=_number(parameters, "frequency_penalty"),
        seed=_whole(parameters, "seed"),
        num_predict=_whole(parameters, "num_predict"),
        num_keep=_whole(parameters, "num_keep"),
        stop=stop if isinstance(stop, tuple) else None,
    )


def _whole(parameters: Mapping[str, ParameterValue], name: str) -> int | None:
    value = parameters.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(parameters: Mapping[str, ParameterValue], name: str) -> float | None:
    value = parameters.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _flag(parameters: Mapping[str, ParameterValue], name: str) -> bool | None:
    value = parameters.get(name)
    return value if isinstance(value, bool) else None
