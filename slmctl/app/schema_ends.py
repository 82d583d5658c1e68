"""Where references lead in a schema, and whether a value that it describes can ever end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from registry.errors import UsageError
from slmctl.app.schema_words import schemas_in


def target(schema: Mapping[str, object], reference: str) -> object:
    """The part that `reference`, a JSON pointer behind "#", leads to. Raises UsageError when it does not."""
    found: object = schema
    if reference not in ("#", "#/"):
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and len(key) < 6 and int(key) < len(found):
                found = found[int(key)]
            else:
                found = None
                break
    if not isinstance(found, Mapping | bool) or (reference != "#" and not reference.startswith("#/")):
        raise UsageError(f"The schema refers to {reference[:80]!r}, which it does not have.")
    return found


def check_ends(schema: dict[str, object]) -> None:
    """Raise UsageError where no value could ever come to an end: what a part needs needs that part.

    The least fixed point over all parts: those that end in spite of nothing, then those that need only such.
    """
    waiting: dict[int, list[dict[str, object]]] = {}  # by what may let them end
    todo: list[dict[str, object]] = []
    unseen: list[object] = [schema]
    while unseen:
        part = unseen.pop()
        if not isinstance(part, dict):
            continue
        todo.append(part)
        inside = schemas_in(part)
        unseen += inside
        for each in (*inside, *([target(schema, str(part["$ref"]))] if "$ref" in part else ())):
            waiting.setdefault(id(each), []).append(part)
    ending: set[int] = set()
    while todo:
        part = todo.pop()
        if id(part) not in ending and _ends(part, schema, ending):
            ending.add(id(part))
            todo += waiting.get(id(part), [])
    if id(schema) not in ending:
        raise UsageError("The schema describes a value that never ends, or none at all.")


def _ends(part: dict[str, object], schema: dict[str, object], ending: set[int]) -> bool:
    def ends(each: object) -> bool:
        return each is True or id(each) in ending

    if "$ref" in part and not ends(target(schema, str(part["$ref"]))):
        return False
    for name in ("anyOf", "oneOf"):
        choices = part.get(name)
        if isinstance(choices, list) and not any(ends(each) for each in choices):
            return False
    together = part.get("allOf", [])
    assert isinstance(together, list)
    if not all(ends(each) for each in together):
        return False
    return "enum" in part or "const" in part or _inside_ends(part, ends)


def _inside_ends(part: dict[str, object], ends: Callable[[object], bool]) -> bool:
    if part.get("type") == "object":
        properties, required = part.get("properties", {}), part.get("required", [])
        assert isinstance(properties, dict)
        assert isinstance(required, list)
        return all(ends(properties.get(name, True)) for name in required)
    if part.get("type") == "array":
        least, prefix = part.get("minItems", 0), part.get("prefixItems", [])
        assert isinstance(least, int)
        assert isinstance(prefix, list)
        more = least <= len(prefix) or ends(part.get("items", True))
        return more and all(ends(each) for each in prefix[:least])
    return True
