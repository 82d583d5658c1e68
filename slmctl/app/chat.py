"""A conversation with a model that stays loaded between the questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelfiles.spec import ModelSpec, ParameterValue
from registry.errors import SlmctlError, UsageError
from registry.names import ModelRef, parse_name
from registry.store.reader import StoreReader
from registry.store.store import Store
from runtimes import protocol
from slmctl.app.create import Created, CreateRequest, create
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.load import Loaded, LoadedModel, LoadRequest
from slmctl.app.package import Package, Variant
from slmctl.app.parameters import LOAD_PARAMETERS
from slmctl.app.planning.wishes import NO_WISHES, RunWishes
from slmctl.app.questions import conversation
from slmctl.app.reaching import reach
from slmctl.config import Settings

if TYPE_CHECKING:
    from slmctl.app.remote_model import RemoteModel

ChatEvent = Loaded | protocol.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """What a conversation is held with. It may be replaced between two questions.

    `system` None leaves it to the package, `parameters` win over the package's; `raw` sends each prompt as
    it is, `think` asks for the model's reasoning or for none, `schema` (JSON Schema) makes the answers JSON;
    `verify` hashes the files before each loading, `keep_seconds` and `wishes` are
    LoadRequest's.
    """

    system: str | None = None
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    raw: bool = False
    think: protocol.Think | None = None
    schema: Mapping[str, object] | None = None
    verify: bool = False
    keep_seconds: float | None = None
    wishes: RunWishes = NO_WISHES


class Chat:
    """Owns a loaded model and what was said so far. Leaving it stops the worker, unless that is to be kept.
    Not thread-safe.

    The model's files are in `reader`, which is the store unless a bundle is used where it lies. A worker that
    is gone, or was loaded with other parameters than those set now, is replaced when the next
    question needs one.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        package: Package,
        chosen: ChatSettings,
        *,
        reader: StoreReader | None = None,
        variant: str | None = None,
        on_event: OnEvent = ignore,
    ) -> None:
        self.chosen = chosen
        self._store = store
        self._reader = reader or store
        self._settings = settings
        self._package = package
        self._variant = variant
        self._on_event = on_event
        self._turns: list[tuple[str, str]] = []
        self._worker = ExitStack()  # what stops it
        self._model: LoadedModel | RemoteModel | None = None
        self._loaded_with: Mapping[str, ParameterValue] = {}
        self._chat_template: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unload()

    @property
    def package(self) -> Package:
        return self._package

    @property
    def variant(self) -> Variant:
        loaded = self._model.about.variant if self._model is not None else None
        return self._package.choose(loaded or self._variant)

    @property
    def system(self) -> str | None:
        """The system message in force."""
        return self.chosen.system if self.chosen.system is not None else self.variant.spec.system

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """The package's parameters and, over them, those set here."""
        return {**self.variant.spec.parameters, **self.chosen.parameters}

    @property
    def chat_template(self) -> str | None:
        """The chat template of the model that was loaded last."""
        return self._chat_template

    @property
    def needs_loading(self) -> bool:
        """Whether the next question has to load the model first."""
        return self._model is None or self._model.ended or self._loaded_with != self._wanted()

    def load(self) -> Loaded:
        """Have the model loaded. Raises NotFound, BadContent, DoesNotFit, UsageError, EngineFailed."""
        return self._loaded().about

    def ask(self, prompt: str) -> Generator[ChatEvent]:
        """Answer `prompt`; `Loaded` comes first when the model had to be loaded, `Finished` last.

        Closing the generator stops the answer: what was said until then is remembered. After an error it is
        as if nothing had been asked.
        """
        if self.needs_loading:
            yield self.load()
        model = self._loaded()
        said: list[str] = []
        try:
            for event in self._answer(model, prompt):
                if isinstance(event, protocol.TextDelta):
                    said.append(event.text)
                yield event
        except SlmctlError:
            said.clear()
            raise
        finally:
            if said:
                self._turns += [("user", prompt), ("assistant", "".join(said))]

    def forget(self) -> None:
        """Start the conversation anew."""
        self._turns.clear()

    def use(self, package: Package) -> Loaded:
        """Go on with another model and an empty conversation. When it cannot be loaded all stays as it was.

        The old one is unloaded first, for memory's sake. Raises as `load`.
        """
        before = self._package, self._variant, self._reader
        self._replace()
        self._package, self._variant, self._reader = package, None, self._store
        try:
            about = self.load()
        except BaseException:
            self._package, self._variant, self._reader = before
            raise
        self.forget()
        return about

    def save(self, name: ModelRef, *, now: str) -> Created:
        """Make a model of this one, its system message and its parameters. Raises as `create`."""
        if self._reader is not self._store:
            raise UsageError(
                f"{self._package.name} is not in the store but in {self._reader.root}.",
                hint=f"Import it first: slmctl import {self._reader.root}",
            )
        spec = ModelSpec(parameters=self.chosen.parameters, system=self.chosen.system)
        base = parse_name(self._package.name)
        request = CreateRequest(name=name, bases=[base], folder=Path(), spec=spec)
        return create(self._store, request, now=now, on_event=self._on_event)

    def _answer(self, model: LoadedModel | RemoteModel, prompt: str) -> Generator[protocol.Event]:
        chosen = self.chosen
        if chosen.raw:
            return model.complete(prompt, chosen.parameters, schema=chosen.schema)
        messages = conversation(self.system, *self._turns, ("user", prompt), opening=model.spec.messages)
        return model.answer(messages, chosen.parameters, think=chosen.think, schema=chosen.schema)

    def _wanted(self) -> dict[str, ParameterValue]:
        return {name: value for name, value in self.parameters.items() if name in LOAD_PARAMETERS}

    def _loaded(self) -> LoadedModel | RemoteModel:
        if self._model is not None and not self.needs_loading:
            return self._model
        self._replace()
        wanted = LoadRequest(
            package=self._package,
            parameters=self.chosen.parameters,
            variant=self._variant,
            verify=self.chosen.verify,
            keep_seconds=self.chosen.keep_seconds,
            wishes=self.chosen.wishes,
        )
        self._model = self._worker.enter_context(reach(self._reader, self._settings, wanted, self._on_event))
        self._loaded_with = self._wanted()
        self._chat_template = self._model.chat_template
        if not self._model.has_chat_template and not self.chosen.raw:
            note = f"{self._package.name} has no chat template; each prompt is sent alone, as plain text."
            self._on_event(Note(text=note))
        return self._model

    def _replace(self) -> None:
        """Unload what is loaded because another takes its place, also where it would have been kept."""
        if self._model is not None and self.chosen.keep_seconds is not None:
            self._model.keep_no_longer()
        self._unload()

    def _unload(self) -> None:
        self._model = None
        self._worker.close()
