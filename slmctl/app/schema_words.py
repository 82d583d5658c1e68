"""The words of JSON Schema by what follows them (draft 2020-12, and what earlier drafts called otherwise)."""

from __future__ import annotations

ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
"""A schema."""

LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
"""Schemas in a list."""

MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Schemas by names."""

LEAST = ("minItems", "minLength", "minProperties", "minContains")
MOST = ("maxItems", "maxLength", "maxProperties", "maxContains")
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")

MOST_COUNT = 1000
"""How far a grammar has to count."""


def schemas_in(part: object) -> list[object]:
    """The schemas that stand directly in `part`."""
    if not isinstance(part, dict):
        return []
    found = [part[name] for name in ONE if name in part]
    for name in LISTS:
        found += part.get(name, [])
    for name in MAPS:
        found += part.get(name, {}).values()
    return found


def all_schemas_in(schema: object) -> list[object]:
    """`schema` and all that stand in it, at any depth."""
    found: list[object] = []
    todo: list[object] = [schema]
    while todo:
        part = todo.pop()
        found.append(part)
        todo += schemas_in(part)
    return found
