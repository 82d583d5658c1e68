"""A model for `slmctl run`: in the server of this store where one listens, else in a worker of our own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registry.errors import NotFound
from registry.store.reader import StoreReader
from slmctl.app.announced import find_server
from slmctl.app.events import OnEvent, ignore
from slmctl.app.load import Loaded, LoadedModel, LoadRequest, load
from slmctl.app.planning.wishes import NO_WISHES
from slmctl.config import Settings

if TYPE_CHECKING:
    from slmctl.app.remote_model import RemoteModel


@contextmanager
def reach(
    store: StoreReader, settings: Settings, request: LoadRequest, on_event: OnEvent = ignore
) -> Iterator[LoadedModel | RemoteModel]:
    """Have a model loaded, wherever that is. Raises as `load`."""
    remote = _in_server(settings, request) if _may_be_served(store, request) else None
    if remote is not None:
        yield remote
        return
    with load(store, settings, request, on_event) as model:
        yield model


def _may_be_served(store: StoreReader, request: LoadRequest) -> bool:
    """Whether nothing was asked for that the server decides by itself: it has plans and builds of its own
    choice, hashes nothing, and knows no bundles."""
    wishes = dataclasses.replace(request.wishes, planned=None)
    return store.origin is None and not request.verify and request.variant is None and wishes == NO_WISHES


def _in_server(settings: Settings, request: LoadRequest) -> RemoteModel | None:
    """None where no server listens, or it does not have this model: its further stores may be others."""
    if find_server(settings.runtime_folders, settings.store) is None:
        return None
    from slmctl.app.remote_model import RemoteModel  # few runs have a server
    from slmctl.app.server_client import ServerClient, ServerGone

    client = ServerClient.find(settings)
    if client is None:
        return None
    package, started = request.package, time.monotonic()
    try:
        model = client.load(package.name, request.parameters, request.keep_seconds or None)
    except (NotFound, ServerGone):
        return None
    if model.digest != package.digest:
        return None
    about = Loaded(
        name=model.name,
        digest=model.digest,
        variant=model.variant,
        engine=model.engine,
        context_length=model.context_length,
        load_seconds=time.monotonic() - started,
    )
    keep = request.keep_seconds
    return RemoteModel(client, about, model, package.choose(model.variant).spec, keep_seconds=keep)
