"""GET /openapi.json: what is served, as an OpenAPI 3.1 document, made of the tables of endpoints.

https://spec.openapis.org/oas/v3.1.0. Nothing in it is written twice: paths, scopes and schemas are those by
which requests are read and routed, and the statuses of errors those of `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.responses import Response

from slmctl import __version__
from slmctl.server.call import Call, Endpoint
from slmctl.server.problems import Family
from slmctl.server.streams import answer

JsonObject = dict[str, object]

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")

_TEXT: JsonObject = {"type": "string"}
_ERRORS: Mapping[Family, tuple[str, JsonObject]] = {
    "ollama": (
        "OllamaError",
        {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    ),
    "openai": (
        "OpenAIError",
        {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {
                        "message": _TEXT,
                        "type": _TEXT,
                        "param": {"type": ["string", "null"]},
                        "code": _TEXT,
                    },
                }
            },
        },
    ),
    "anthropic": (
        "AnthropicError",
        {
            "type": "object",
            "required": ["type", "error"],
            "properties": {
                "type": {"const": "error"},
                "error": {
                    "type": "object",
                    "required": ["type", "message"],
                    "properties": {"type": _TEXT, "message": _TEXT},
                },
                "request_id": _TEXT,
            },
        },
    ),
}

MEANINGS = {
    400: "The request is wrong, or asks for what cannot be done here.",
    401: "No key, or none that is valid.",
    403: "The key may not do this, or the Host or the Origin is not allowed.",
    404: "There is no such model, file or path.",
    405: "The path is known and the method is not.",
    408: "The body of the request did not come.",
    409: "The name belongs to another source.",
    413: "The request is larger than is let in.",
    415: "The body is in a form that is not read.",
    421: "The Host is not one of this server's.",
    500: "The engine could not start, the store cannot be read, or an error of ours.",
    502: "The engine died, or a source that had to be asked did not answer.",
    503: "A queue is full, a model's engine died too often, or the server is about to end: see Retry-After.",
    504: "The time that a request may take is over.",
    507: "There is not enough memory for the model, or no room on the disk.",
}


def endpoints(tables: Iterable[Iterable[Endpoint]]) -> tuple[Endpoint, ...]:
    """The endpoint that tells of `tables`, and of itself."""
    served = [endpoint for table in tables for endpoint in table if is_public(endpoint)]
    told: dict[tuple[bool, str], JsonObject] = {}

    async def tell(call: Call) -> Response:
        needs_key, root_path = not call.state.keys.is_open, call.state.serve.root_path
        if (needs_key, root_path) not in told:
            told[needs_key, root_path] = document(served, needs_key=needs_key, root_path=root_path)
        return answer(call, told[needs_key, root_path])

    own = Endpoint(
        method="GET",
        path="/openapi.json",
        handler=tell,
        scope="read",
        family="plain",
        label="openapi",
        about="This document.",
        response_schema={"type": "object"},
    )
    served.append(own)
    return (own,)


def is_public(endpoint: Endpoint) -> bool:
    """Whether it is for everybody: what slmctl's own commands use may be another thing tomorrow."""
    return not endpoint.path.startswith("/slmctl/")


def document(served: Iterable[Endpoint], *, needs_key: bool, root_path: str = "") -> JsonObject:
    """The document. Where no key is defined none is asked for."""
    paths: dict[str, JsonObject] = {}
    schemas: JsonObject = dict(_ERRORS.values())
    for endpoint in served:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        operations = paths.setdefault(path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas, needs_key=needs_key)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "slmctl",
            "version": __version__,
            "summary": "Small language models behind Ollama's, OpenAI's and Anthropic's APIs.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: JsonObject, *, needs_key: bool) -> JsonObject:
    name = _name(endpoint)
    operation: JsonObject = {
        "operationId": name,
        "summary": endpoint.about,
        "tags": [endpoint.family],
        "responses": _responses(endpoint, name, schemas),
    }
    if endpoint.scope is not None:
        operation["x-slmctl-scope"] = endpoint.scope
    operation["security"] = [{"bearer": []}, {"x-api-key": []}] if endpoint.scope and needs_key else []
    if names := _PARAMETER.findall(endpoint.path):
        operation["parameters"] = [
            {"name": each, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for each in names
        ]
    if not endpoint.reads_body:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    elif endpoint.request_schema is not None:
        schema = _hoisted(endpoint.request_schema, f"{name}_request", schemas)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _name(endpoint: Endpoint) -> str:
    words = re.findall(r"[A-Za-z0-9]+", _PARAMETER.sub(r"by_\1", endpoint.path))
    return "_".join([endpoint.method.lower(), *words])


def _responses(endpoint: Endpoint, name: str, schemas: JsonObject) -> JsonObject:
    told: JsonObject = {}
    for status in endpoint.successes:
        told[str(status)] = _success(endpoint, name, schemas)
    error: JsonObject = {"text/plain": {"schema": _TEXT}}
    if endpoint.family in _ERRORS:
        reference = f"#/components/schemas/{_ERRORS[endpoint.family][0]}"
        error = {"application/json": {"schema": {"$ref": reference}}}
    for status in statuses_of(endpoint):
        response: JsonObject = {"description": MEANINGS[status]}
        if endpoint.method != "HEAD":
            response["content"] = error
        if status == 503:
            seconds = {"schema": {"type": "integer", "minimum": 0}}
            response["headers"] = {"Retry-After": {"description": "In seconds.", **seconds}}
        told[str(status)] = response
    return told


def _success(endpoint: Endpoint, name: str, schemas: JsonObject) -> JsonObject:
    response: JsonObject = {"description": "Done." if endpoint.response_schema is None else endpoint.about}
    content: JsonObject = {}
    if endpoint.response_schema is not None:
        schema = _hoisted(endpoint.response_schema, f"{name}_response", schemas)
        content["application/json"] = {"schema": schema}
    if endpoint.media_type is not None:
        content[endpoint.media_type] = {"schema": _TEXT}
    if endpoint.streams is not None:
        content[_STREAMS[endpoint.streams]] = {}  # OpenAPI 3.1 has no words for what stands in an event
    return response | {"content": content} if content and endpoint.method != "HEAD" else response


_STREAMS = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}


def statuses_of(endpoint: Endpoint) -> list[int]:
    """The errors that can come of an endpoint."""
    found = {400, 403, 408, 413, 500, 503, 504}
    if endpoint.scope is not None:
        found.add(401)
    if endpoint.reads_body and endpoint.request_schema is not None:
        found.add(415)
    if endpoint.scope in ("infer", "manage"):
        found |= {404, 502, 507}
    if endpoint.scope == "read" and (endpoint.request_schema or "{" in endpoint.path):
        found |= {404}
    if endpoint.scope == "manage":
        found |= {409}
    return sorted(found - set(endpoint.successes))


def _hoisted(schema: Mapping[str, object], name: str, schemas: JsonObject) -> JsonObject:
    """A reference to `schema`, which is put among the `schemas` with all that it defines for itself."""
    own = {key: value for key, value in schema.items() if key != "$defs"}
    definitions = schema.get("$defs")
    for key, value in definitions.items() if isinstance(definitions, Mapping) else ():
        schemas[f"{name}_{key}"] = _moved(value, name)
    schemas[name] = _moved(own, name)
    return {"$ref": f"#/components/schemas/{name}"}


def _moved(value: object, name: str) -> object:
    """`value` with its references to definitions of its own document turned to where those are now."""
    if isinstance(value, Mapping):
        return {key: _moved(child, name) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(child, name) for child in value]
    if isinstance(value, str) and value.startswith("#/$defs/"):
        return f"#/components/schemas/{name}_{value.removeprefix('#/$defs/')}"
    return value
