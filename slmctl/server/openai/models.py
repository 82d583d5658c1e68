"""GET /v1/models and /v1/models/{model}."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.responses import Response

from registry.errors import NotFound
from registry.names import parse_name, short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from slmctl.app.listing import names_of
from slmctl.server.call import Call, Endpoint
from slmctl.server.problems import ModelMissing
from slmctl.server.streams import answer


async def list_models(call: Call) -> Response:
    """All models of the store and the further stores, the newest first."""
    entries = await asyncio.to_thread(_entries, call.state.reader)
    newest_first = sorted(entries, key=lambda entry: (-_created(entry), entry.name))
    return answer(call, {"object": "list", "data": [_model(entry) for entry in newest_first]})


async def show_model(call: Call) -> Response:
    """One model. Its name may have slashes in it."""
    name = str(call.request.path_params["model"])
    ref = parse_name(name)
    try:
        entry = await asyncio.to_thread(call.state.reader.resolve, ref)
    except NotFound:
        raise ModelMissing(f"The model {name!r:.200} does not exist.") from None
    return answer(call, {**_model(entry), "id": name})


def _entries(reader: StoreReader) -> list[Entry]:
    return list(names_of(reader).entries.values())


def _model(entry: Entry) -> Mapping[str, object]:
    name = short_name(entry.name)
    owner, slash, _ = name.rpartition("/")
    return {
        "id": name,
        "object": "model",
        "created": _created(entry),
        "owned_by": owner if slash else "library",
    }


def _created(entry: Entry) -> int:
    """When the name was last given to what it names, in seconds since 1970; 0 where nobody noted it."""
    try:
        moment = datetime.fromisoformat(entry.linked or "")
    except ValueError:
        return 0
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


_MODEL_SCHEMA: Mapping[str, object] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer", "minimum": 0},
        "owned_by": {"type": "string"},
    },
}

ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/models",
        handler=list_models,
        scope="read",
        family="openai",
        label="list_models",
        about="The models that are here.",
        response_schema={
            "type": "object",
            "required": ["object", "data"],
            "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL_SCHEMA}},
        },
    ),
    Endpoint(
        method="GET",
        path="/v1/models/{model:path}",
        handler=show_model,
        scope="read",
        family="openai",
        label="show_model",
        about="One model that is here.",
        response_schema=_MODEL_SCHEMA,
    ),
)
