"""The table of Ollama's endpoints."""

from __future__ import annotations

from typing import Literal

from slmctl.app.api_keys import Scope
from slmctl.server.call import Endpoint, Handler
from slmctl.server.ollama import (
    blobs,
    chat,
    create,
    embed,
    generate,
    listing,
    models,
    schemas,
    show,
    transfers,
)
from slmctl.server.ollama.schemas import Schema


def _get(path: str, handler: Handler, about: str, schema: Schema) -> Endpoint:
    return Endpoint(
        method="GET",
        path=path,
        handler=handler,
        scope="read",
        family="ollama",
        label=path,
        about=about,
        response_schema=schema,
    )


def _head(path: str, handler: Handler, about: str, *, scope: Scope | None = "read") -> Endpoint:
    return Endpoint(
        method="HEAD", path=path, handler=handler, scope=scope, family="ollama", label=path, about=about
    )


def _post(
    path: str,
    handler: Handler,
    scope: Scope,
    about: str,
    request: Schema,
    response: Schema | None,
    *,
    streams: Literal["ndjson"] | None = None,
    takes_long: bool = False,
) -> Endpoint:
    return Endpoint(
        method="POST",
        path=path,
        handler=handler,
        scope=scope,
        family="ollama",
        label=path,
        about=about,
        request_schema=request,
        response_schema=response,
        streams=streams,
        takes_long=takes_long,
    )


_ROOT = "Whether anybody is there."
_BLOB = "/api/blobs/{digest}"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/",
        handler=listing.root,
        scope=None,
        family="ollama",
        label="/",
        about=_ROOT,
        media_type="text/plain",
    ),
    _head("/", listing.root, _ROOT, scope=None),
    _get("/api/version", listing.version, "Which Ollama this is like.", schemas.VERSION),
    _head("/api/version", listing.version, "Which Ollama this is like."),
    _get("/api/status", listing.status, "Whether models in a cloud are used.", schemas.STATUS),
    _get("/api/tags", listing.tags, "The models that are here.", schemas.TAGS),
    _head("/api/tags", listing.tags, "The models that are here."),
    _get("/api/ps", listing.ps, "The models that are loaded.", schemas.PS),
    _post("/api/show", show.show, "read", "What a model is.", schemas.SHOW, schemas.SHOWN),
    _post(
        "/api/generate",
        generate.generate,
        "infer",
        "Answer a prompt, or load or unload a model.",
        schemas.GENERATE,
        schemas.GENERATED,
        streams="ndjson",
    ),
    _post(
        "/api/chat",
        chat.chat,
        "infer",
        "Answer a conversation, or load or unload a model.",
        schemas.CHAT,
        schemas.CHATTED,
        streams="ndjson",
    ),
    _post("/api/embed", embed.embed, "infer", "Vectors of texts.", schemas.EMBED, schemas.EMBEDDED),
    _post(
        "/api/embeddings",
        embed.embeddings,
        "infer",
        "The vector of a text, for old clients.",
        schemas.EMBEDDINGS,
        schemas.EMBEDDING,
    ),
    _post(
        "/api/create",
        create.create,
        "manage",
        "Make a model of another, or of files that were uploaded.",
        schemas.CREATE,
        schemas.PROGRESS,
        streams="ndjson",
        takes_long=True,
    ),
    _post(
        "/api/pull",
        transfers.pull,
        "manage",
        "Fetch a model.",
        schemas.TRANSFER,
        schemas.PROGRESS,
        streams="ndjson",
        takes_long=True,
    ),
    _post(
        "/api/push",
        transfers.push,
        "manage",
        "Send a model to the registry that its name says.",
        schemas.TRANSFER,
        schemas.PROGRESS,
        streams="ndjson",
        takes_long=True,
    ),
    _post("/api/copy", models.copy, "manage", "Give a model a second name.", schemas.COPY, None),
    Endpoint(
        method="DELETE",
        path="/api/delete",
        handler=models.delete,
        scope="manage",
        family="ollama",
        label="/api/delete",
        about="Remove a model.",
        request_schema=schemas.DELETE,
    ),
    _head(_BLOB, blobs.has_blob, "Whether a file is here.", scope="manage"),
    Endpoint(
        method="POST",
        path=_BLOB,
        handler=blobs.take_blob,
        scope="manage",
        family="ollama",
        label=_BLOB,
        about="Take in a file, of which a model is to be made.",
        reads_body=False,
        successes=(200, 201),
        takes_long=True,
    ),
)
