"""The models that are loaded for this user: in the server of this store, and by `run --keep`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from registry.errors import NotFound
from registry.names import ModelRef
from slmctl.app import kept
from slmctl.app.announced import find_server
from slmctl.app.server_client import ServerClient
from slmctl.app.server_wire import ServedStatus
from slmctl.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRow:
    """A row of `ps`. What is not known is None; `seconds_left` is None also where it stays until it is
    stopped. `is_served` is whether the server has it."""

    name: str
    digest: str | None
    variant: str
    engine: str | None
    purpose: str
    state: str
    size_bytes: int | None
    vram_bytes: int | None
    context_length: int | None
    parallel: int | None
    running: int | None
    waiting: int | None
    in_use: bool
    seconds_left: float | None
    pinned: bool
    pid: int | None
    is_served: bool


def loaded_models(settings: Settings) -> list[LoadedRow]:
    """By name. A server that does not answer raises ServerGone."""
    client = _server(settings)
    served = [] if client is None else [_served(each) for each in client.models()]
    return sorted((*served, *map(_kept, kept.kept_models(settings))), key=lambda row: (row.name, row.purpose))


def unload_models(settings: Settings, ref: ModelRef | None) -> list[str]:
    """Unload the model, or all; their names. What the server has goes when its last answer has ended.

    Raises OperationFailed when one does not go.
    """
    stopped = kept.unload(settings, ref)
    client = _server(settings)
    if client is not None:
        with contextlib.suppress(
            NotFound
        ):  # not in the store any more: what is loaded of it leaves by itself
            stopped += client.unload(None if ref is None else ref.full_name)
    return list(dict.fromkeys(stopped))


def _server(settings: Settings) -> ServerClient | None:
    announced = find_server(settings.runtime_folders, settings.store)
    return None if announced is None else ServerClient(announced)


def _served(status: ServedStatus) -> LoadedRow:
    return LoadedRow(
        name=status.name,
        digest=status.digest,
        variant=status.variant,
        engine=status.engine or None,
        purpose=status.purpose,
        state=status.state,
        size_bytes=status.size_bytes,
        vram_bytes=status.vram_bytes,
        context_length=status.context_length or None,
        parallel=status.parallel,
        running=status.running,
        waiting=status.waiting,
        in_use=status.running > 0,
        seconds_left=status.seconds_left,
        pinned=status.pinned,
        pid=status.pid,
        is_served=True,
    )


def _kept(model: kept.KeptModel) -> LoadedRow:
    return LoadedRow(
        name=model.name,
        digest=None,
        variant=model.variant,
        engine=None,
        purpose="text",
        state="ready",
        size_bytes=None,
        vram_bytes=None,
        context_length=model.context_length,
        parallel=None,
        running=None,
        waiting=None,
        in_use=model.in_use,
        seconds_left=model.seconds_left,
        pinned=False,
        pid=model.pid,
        is_served=False,
    )
