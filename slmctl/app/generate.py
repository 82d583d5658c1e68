"""One answer from a model that is loaded for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from modelfiles.spec import ParameterValue
from registry.store.reader import StoreReader
from runtimes import protocol
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.load import Loaded, LoadRequest
from slmctl.app.package import Package
from slmctl.app.planning.wishes import NO_WISHES, RunWishes
from slmctl.app.questions import conversation
from slmctl.app.reaching import reach
from slmctl.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """What is asked of which model.

    `parameters` are Ollama's (num_ctx, temperature, ...) and win over the package's. `raw` sends the prompt
    as it is, behind the token that begins a text, without a template and without the system message. `think`
    asks for the model's reasoning or for none; None leaves it to the model. `schema` (JSON Schema) makes the
    answer JSON; `keep_seconds` and `wishes` are LoadRequest's.
    """

    package: Package
    prompt: str
    system: str | None = None
    raw: bool = False
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    variant: str | None = None
    verify: bool = False
    think: protocol.Think | None = None
    schema: Mapping[str, object] | None = None
    keep_seconds: float | None = None
    wishes: RunWishes = NO_WISHES


GenerateEvent = Loaded | protocol.Event


def generate(
    store: StoreReader, settings: Settings, request: GenerateRequest, on_event: OnEvent = ignore
) -> Generator[GenerateEvent, None, None]:
    """Load the model and answer: first `Loaded`, then what the engine says; the last event is `Finished`.

    Closing the generator stops the answer, and the worker unless it is to be kept. Raises NotFound,
    BadContent, DoesNotFit, EngineFailed.
    """
    wanted = LoadRequest(
        package=request.package,
        parameters=request.parameters,
        variant=request.variant,
        verify=request.verify,
        keep_seconds=request.keep_seconds,
        wishes=request.wishes,
    )
    with reach(store, settings, wanted, on_event) as model:
        yield model.about
        if request.raw:
            yield from model.complete(request.prompt, request.parameters, schema=request.schema)
            return
        if not model.has_chat_template:
            note = f"{model.about.name} has no chat template; the prompt is sent as plain text."
            on_event(Note(text=note))
        system = request.system if request.system is not None else model.spec.system
        messages = conversation(system, ("user", request.prompt), opening=model.spec.messages)
        yield from model.answer(messages, request.parameters, think=request.think, schema=request.schema)
