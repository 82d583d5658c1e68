"""A model that is loaded: package -> variant -> files -> worker, which then answers any number of questions.

    look up -> choose the variant -> open and check its files -> start the worker -> ask -> stream

What was checked is what is loaded: the worker gets the very files that were opened here, not their paths.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from modelfiles.spec import ModelSpec, ParameterValue
from registry.digest import Digest
from registry.errors import SlmctlError
from registry.store.reader import StoreReader
from runtimes import protocol
from runtimes.client import Client
from runtimes.environment import worker_environment
from runtimes.kept import Kept, find_kept
from runtimes.preview import check_prompt
from runtimes.sampling import Sampling
from slmctl import __version__
from slmctl.app.cpus import usable_cpus
from slmctl.app.events import EngineLog, Note, OnEvent, ignore
from slmctl.app.formats import engine_template
from slmctl.app.package import Package, Variant
from slmctl.app.parameters import LOAD_PARAMETERS, sampling_of
from slmctl.app.planning.learn import Learning, Pace
from slmctl.app.planning.wishes import NO_WISHES, RunWishes
from slmctl.app.questions import Manner, Messages, may_begin_twice, parses_thoughts, plain_text
from slmctl.app.thoughts import thoughtful
from slmctl.config import Settings

if TYPE_CHECKING:
    from runtimes.process import Worker

BIG_BYTES = 1_000_000_000
"""From this size on it is said when a model comes from the disk: seconds, even from a fast one."""

LOADED_ROLES = ("weights", "adapter", "draft")
"""The roles of the files that a worker is given; a projector waits for the first image."""

_HARMLESS_VARIABLES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR"})
"""Variables that differ between two terminals and change nothing in a loaded model."""

_LOG_SECONDS = 0.2
"""Engines write their logs from a thread of their own: so long after an answer its last line has come."""

Purpose = Literal["text", "embedding", "rank"]
"""What a worker is started for: to answer, to make vectors of texts, or to say how well texts fit a query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What a server asks of a worker beyond what a run does.

    `parallel` is how many requests it answers at once, None as many as the plan finds good.
    """

    purpose: Purpose = "text"
    parallel: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Which model is loaded how. `parameters` are Ollama's and win over the package's.

    `keep_seconds` leaves it loaded for so long after its last use (infinity: until it is stopped), 0 unloads
    what an earlier run kept; None unloads what was loaded here and leaves what was kept as it is. `wishes`
    are what was said about the plan. `serving` is a server's, which keeps nothing beyond its own end; its
    workers get the projector too, since the first image may come at any time.
    """

    package: Package
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    variant: str | None = None
    verify: bool = False
    keep_seconds: float | None = None
    wishes: RunWishes = NO_WISHES
    serving: Serving | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The model is loaded: what it is, and how long that took. `context_length` is in tokens."""

    name: str
    digest: Digest
    variant: str
    engine: str
    context_length: int
    load_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFile:
    """What is known of a loaded model from its files' headers; kept beside a kept worker."""

    engine: str
    context_length: int
    chat_template: str | None
    has_chat_template: bool
    notes: tuple[str, ...]
    pace: Pace | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> LoadedFile:
        context, template, notes = fields["context_length"], fields["chat_template"], fields["notes"]
        pace = fields.get("pace")
        assert isinstance(context, int)
        assert isinstance(notes, list)
        return cls(
            pace=Pace(**pace) if isinstance(pace, dict) else None,
            engine=str(fields["engine"]),
            context_length=context,
            chat_template=template if isinstance(template, str) else None,
            has_chat_template=fields["has_chat_template"] is True,
            notes=tuple(str(note) for note in notes),
        )


class LoadedModel:
    """A model in a worker, ours or a kept one, which answers one question after the other.

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
        environment: Mapping[str, str],
        on_event: OnEvent,
        learns: Learning | None = None,
    ) -> None:
        self.about = about
        self._learns = learns
        manner = Manner.of(spec, chat_template, has_chat_template)
        self._go_template = manner.go_template
        self.chat_template = manner.chat_template
        self.spec = spec
        self.has_chat_template = manner.has_chat_template
        self._environment = environment
        self._worker = worker
        self._on_event = on_event

    @property
    def ended(self) -> bool:
        """Whether the worker is gone, for whatever reason."""
        return self._worker.ended.is_set()

    def keep_no_longer(self) -> None:
        """Have it unloaded when it is left, whatever was wished before."""
        if isinstance(self._worker, Kept):
            self._worker.keep_for(0.0)

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
        if self._go_template is not None:  # the author's TEMPLATE: the engine reads Jinja only
            text = self._rendered(self._go_template, messages, think)
            events = self.complete(self._begun_once(text), parameters, schema=schema)
            return thoughtful(events, self.spec, think, prompt=text)
        if self.has_chat_template:
            sampling = self._sampling(parameters)
            ours = parses_thoughts(self.spec)
            question = protocol.chat_request(
                messages, sampling, think=think, json_schema=schema, as_written=ours
            )
            events = self._stream(question)
            return thoughtful(events, self.spec, think) if ours else events
        return self.complete(plain_text(messages), parameters, schema=schema)

    def complete(
        self,
        text: str | Sequence[int],
        parameters: Mapping[str, ParameterValue],
        *,
        schema: Mapping[str, object] | None = None,
        to_the_limit: bool = False,
    ) -> Generator[protocol.Event]:
        """Continue `text` as it is, behind the token that begins a text, or tokens.

        `to_the_limit` goes on behind the model's own end of the text, up to num_predict.
        """
        sampling = self._sampling(parameters)
        question = protocol.completion_request(text, sampling, json_schema=schema, ignore_end=to_the_limit)
        return self._stream(question)

    def _rendered(self, template: str, messages: Messages, think: protocol.Think | None) -> str:
        from slmctl.app.go_prompts import go_prompt  # few models have one

        return go_prompt(template, messages, think=think, environment=self._environment)

    def _begun_once(self, text: str) -> str | Sequence[int]:
        """`text`, or its tokens where the tokenizer would begin it a second time."""
        client = Client(self._worker.endpoint, self._worker)
        tokens = client.tokenize(text, add_special=True)
        if not may_begin_twice(tokens) or client.tokenize(text) != tokens[1:]:
            return text
        return tokens[1:]

    def _sampling(self, parameters: Mapping[str, ParameterValue]) -> Sampling:
        return sampling_of({**self.spec.parameters, **parameters}, self.about.context_length)

    def _stream(self, question: protocol.HttpRequest) -> Generator[protocol.Event]:
        with _last_words(self._worker, self._on_event):
            if question.path == protocol.CHAT:
                check_prompt(self._worker, question)
            for event in Client(self._worker.endpoint, self._worker).stream(question):
                yield event
                if self._learns is not None and isinstance(event, protocol.Finished):
                    self._learns.answered(self._worker, event, self._on_event)


@contextmanager
def load(
    store: StoreReader,
    settings: Settings,
    request: LoadRequest,
    on_event: OnEvent = ignore,
    *,
    big_bytes: int = BIG_BYTES,
) -> Iterator[LoadedModel]:
    """Load a model, or use one that is kept; what is not to be kept is unloaded on the way out.

    A model of `big_bytes` or more is told of when it is not in memory yet.

    Raises NotFound, BadContent, DoesNotFit, UsageError, EngineFailed.
    """
    package = request.package
    started = time.monotonic()
    with ExitStack() as stack:
        kept, variant = _kept_of(store, settings, request)
        if kept is not None and request.verify:  # to verify is to load anew: what is in memory was read then
            if request.keep_seconds is not None:
                kept.keep_for(0.0)
            kept.close()
            kept = None
        if kept is None:
            from slmctl.app.loading import start

            begun = start(store, settings, request, on_event, big_bytes)
            worker, about, variant, learns = begun.worker, begun.about, begun.variant, begun.learning
            stack.callback(begun.held.release)
        else:
            worker, about = kept, LoadedFile.from_json(kept.about)
            learns = Learning(home=settings.home, pace=about.pace)
            if request.keep_seconds is not None:
                kept.keep_for(finite(request.keep_seconds))
        stack.enter_context(worker)
        for note in about.notes:
            on_event(Note(text=note.format(name=package.name)))
        with _last_words(worker, on_event), learns.watching(on_event):
            worker.ensure_ready()
        loaded = Loaded(
            name=package.name,
            digest=package.digest,
            variant=variant.id,
            engine=about.engine,
            context_length=about.context_length,
            load_seconds=time.monotonic() - started,
        )
        with learns.watching(on_event):
            yield LoadedModel(
                loaded,
                variant.spec,
                worker,
                chat_template=about.chat_template,
                has_chat_template=about.has_chat_template,
                environment=settings.environment,
                on_event=on_event,
                learns=learns,
            )


def _kept_of(store: StoreReader, settings: Settings, request: LoadRequest) -> tuple[Kept | None, Variant]:
    """The kept worker that answers to this request, and its variant: it runs with the plan that it was loaded
    by, which is not made again while it holds the memory. Without one the variant is the usual one."""
    package = request.package
    usual = package.choose(request.variant)
    here = [each for each in package.variants if each.local]
    for variant in (
        (usual,) if request.variant is not None else (usual, *(each for each in here if each != usual))
    ):
        kept = find_kept(settings.runtime_folders, identity_of(store, variant, request, settings))
        if kept is not None:
            return kept, variant
    return None, usual


@contextmanager
def _last_words(worker: Worker | Kept, on_event: OnEvent) -> Iterator[None]:
    """When an error comes from below, tell what the engine wrote before it."""
    try:
        yield
    except SlmctlError:
        time.sleep(_LOG_SECONDS)
        on_event(EngineLog(text=worker.stderr_tail))
        raise


def identity_of(store: StoreReader, variant: Variant, request: LoadRequest, settings: Settings) -> str:
    """All that a worker is asked to be loaded with: a run may use a kept one only where this is equal.

    What the plan made of it is not in it: that follows from this, and from the memory that was free then.
    """
    parameters = {**variant.spec.parameters, **request.parameters}
    several = len(request.package.variants) > 1
    identity = {
        "pinned": several and request.variant is not None,
        "context_is_pinned": "num_ctx" in request.parameters,
        "wishes": request.wishes.key,
        **({} if store.origin is None else {"origin": store.origin}),
        "slmctl": __version__,
        "format": variant.format,
        "files": [[file.role, str(file.digest)] for role in LOADED_ROLES for file in variant.of_role(role)],
        "parameters": {name: parameters[name] for name in sorted(LOAD_PARAMETERS & parameters.keys())},
        "context": settings.context_length,
        "cpus": usable_cpus(),
        "chat_template": engine_template(variant.spec),
        "own_template": str(variant.chat_template.digest) if variant.chat_template else None,
        "environment": {
            name: value
            for name, value in worker_environment(settings.environment).items()
            if name not in _HARMLESS_VARIABLES and not name.startswith("LC_")
        },
    }
    return json.dumps(identity, sort_keys=True)


def finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
