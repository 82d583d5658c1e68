"""Fill in docs/api.md what the server's own tables say: endpoints, errors, fields.

The page is written by hand but for what stands between `<!-- NAME -->` and `<!-- end -->`.

python -m tools.api_docs [--check]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slmctl.server.anthropic import fields as anthropic
from slmctl.server.app import TABLES
from slmctl.server.call import Endpoint
from slmctl.server.openai import chat_request, responses_request
from slmctl.server.openai import fields as openai
from slmctl.server.openapi import MEANINGS, is_public, statuses_of

TARGET = Path(__file__).parents[1] / "docs" / "api.md"
SERVED = [endpoint for table in TABLES for endpoint in table if is_public(endpoint)]

_BLOCK = re.compile(r"<!-- ([^>]+) -->\n.*?<!-- end -->", re.DOTALL)

Schema = Mapping[str, Any]


def filled(page: str) -> str:
    """`page` with what is generated in it made anew."""
    return _BLOCK.sub(lambda found: f"<!-- {found[1]} -->\n{block(found[1])}\n<!-- end -->", page)


def block(name: str) -> str:
    """The text of one generated part: "endpoints", "errors", "fields METHOD PATH" or "refused API"."""
    what, _, rest = name.partition(" ")
    return "\n".join(_BLOCKS[what](rest))


def _endpoints(_: str) -> Iterator[str]:
    yield "| | scope | errors as | streams | |"
    yield "|---|---|---|---|---|"
    for each in SERVED:
        streams = {"sse": "server-sent events", "ndjson": "NDJSON", None: ""}[each.streams]
        told = [f"{each.method} `{each.path}`", each.scope or "", each.family, streams, each.about]
        yield f"| {' | '.join(told)} |"


def _errors(_: str) -> Iterator[str]:
    yield "| status | |"
    yield "|---|---|"
    for status in sorted({status for each in SERVED for status in statuses_of(each)}):
        yield f"| {status} | {MEANINGS[status]} |"


def _fields(which: str) -> Iterator[str]:
    """The fields of a request, and of the objects in it."""
    schema = _endpoint(which).request_schema
    assert schema is not None
    parts: dict[str, Any] = dict(schema.get("$defs", {}))  # type: ignore[call-overload]
    yield "| field | |"
    yield "|---|---|"
    yield from _rows(schema, parts, "")
    for name, part in parts.items():
        if "properties" in part:
            yield f"| **{name}** | {' '.join(part.get('description', '').split())} |"
            yield from _rows(part, parts, f"{name}.")


def _endpoint(which: str) -> Endpoint:
    method, _, path = which.partition(" ")
    return next(each for each in SERVED if (each.method, each.path) == (method, path))


def _rows(schema: Schema, parts: Schema, before: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, value in schema["properties"].items():
        yield f"| `{before}{name}`{'' if name in required else '?'} | {_kind(value, parts)} |"


def _kind(schema: Schema, parts: Schema) -> str:
    """What a value may be, in words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"`{name}`" if "properties" in parts[name] else _kind(parts[name], parts)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            said = [_kind(each, parts) for each in schema[choice] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(said))
    if "const" in schema:
        return _written(schema["const"])
    if "enum" in schema:
        return " or ".join(_written(each) for each in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list{_limits(schema, 'Items')} of {_kind(schema.get('items', {}), parts)}"
        case "string":
            return f"text{_limits(schema, 'Length')}"
        case "integer" | "number" as kind:
            return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(schema)}"
        case "boolean":
            return "true or false"
        case "object":
            return "object"
        case "null":
            return "null"
        case _:
            return "anything"


def _written(value: object) -> str:
    return f'`"{value}"`' if isinstance(value, str) else str(value).lower()


def _limits(schema: Schema, what: str) -> str:
    low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
    unit = "" if what == "Items" else " characters"
    told = [
        "not empty" if low == 1 else f"at least {low:,}{unit}" if low else "",
        f"at most {high:,}{unit}" if high else "",
    ]
    return f" ({', '.join(filter(None, told))})" if any(told) else ""


def _bounds(schema: Schema) -> str:
    told = [
        f"{words} {schema[name]:,}"
        for name, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
        )
        if name in schema and abs(schema[name]) < 2**31 - 1
    ]
    return f", {', '.join(told)}" if told else ""


def _refused(api: str) -> Iterator[str]:
    """What is taken without effect, and what is refused with which sentence."""
    harmless, tables = _REFUSED[api]
    yield "| field | |"
    yield "|---|---|"
    yield from (f"| `{name}` | taken, and changes nothing |" for name in sorted(harmless))
    for table in tables:
        for name, sentence in sorted(table.items()):
            yield f"| `{name}` | 400: {sentence} |"


_REFUSED: Mapping[str, tuple[frozenset[str], tuple[Mapping[str, str], ...]]] = {
    "chat": (
        openai.HARMLESS,
        (chat_request.CANNOT, {name: why for name, (_, why) in chat_request.NEUTRAL.items()}),
    ),
    "responses": (
        responses_request.HARMLESS,
        (responses_request.CANNOT, {name: why for name, (_, why) in responses_request.NEUTRAL.items()}),
    ),
    "messages": (
        anthropic.HARMLESS,
        (
            anthropic.REFUSED,
            {f"messages[].content[].type: {kind}": why for kind, why in anthropic.REFUSED_BLOCKS.items()},
        ),
    ),
}

_BLOCKS: Mapping[str, Callable[[str], Iterator[str]]] = {
    "endpoints": _endpoints,
    "errors": _errors,
    "fields": _fields,
    "refused": _refused,
}


def main(arguments: list[str]) -> int:
    page = TARGET.read_text()
    made = filled(page)
    if arguments == ["--check"]:
        return 0 if page == made else 1
    TARGET.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
