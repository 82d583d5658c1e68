"""The files of a model that is about to be loaded: opened, checked, and read as far as their headers go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.reader import StoreReader
from registry.store.store import Store
from slmctl.app.events import ByteCounter, Note, OnEvent
from slmctl.app.load import LOADED_ROLES
from slmctl.app.logs import has_log
from slmctl.app.package import Package, Variant
from slmctl.app.pagecache import is_in_memory
from slmctl.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """The files of a variant that are loaded, opened and checked, in order; which weights were in memory."""

    streams: tuple[BinaryIO, ...]
    adapters: tuple[BinaryIO, ...]
    draft: tuple[BinaryIO, ...]
    projector: tuple[BinaryIO, ...]
    in_memory: tuple[bool | None, ...]
    facts: ModelFacts
    chat_template: str | None
    has_chat_template: bool

    @property
    def all_streams(self) -> tuple[BinaryIO, ...]:
        return (*self.streams, *self.adapters, *self.draft, *self.projector)


@contextmanager
def open_model(
    store: StoreReader,
    variant: Variant,
    verify: bool,
    on_event: OnEvent,
    roles: Sequence[str] = LOADED_ROLES,
) -> Iterator[OpenModel]:
    if not variant.weights:
        raise MalformedFile(f"The variant {variant.id} has no weights.")
    with ExitStack() as stack:
        opened: dict[str, list[BinaryIO]] = {role: [] for role in (*LOADED_ROLES, "projector")}
        in_memory = []
        for role in roles:
            streams = opened[role]
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
        projector = opened["projector"][:1]
        for stream in (*opened["adapter"], *opened["draft"], *projector):
            _header(stream)  # the engine is given nothing that nobody has looked at
        facts = facts_from_gguf(headers)
        if variant.facts is not None and facts != variant.facts:
            on_event(Note(text="The package's facts contradict the file's header; the header counts."))
        yield OpenModel(
            streams=tuple(opened["weights"]),
            adapters=tuple(opened["adapter"]),
            draft=tuple(opened["draft"]),
            projector=tuple(projector),
            in_memory=tuple(in_memory),
            facts=facts,
            chat_template=headers[0].chat_template,
            has_chat_template=headers[0].has_chat_template,
        )


def comes_from_disk(model: OpenModel, settings: Settings, package: Package) -> bool:
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
