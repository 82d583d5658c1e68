"""A grammar in GBNF from a schema, for engines and tokenizers whose own way from schemas fails.

Of the schema it knows types, values, properties, items and alternatives; what it does not know (patterns,
limits of numbers, long counts) it leaves wider. The validation of the answer has it all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from slmctl.app.asks import Schema
from slmctl.app.schema_ends import target

MOST_COUNT = 64
"""How far items and characters are counted."""

_SHARED = r"""
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ( string ": " value ( ", " string ": " value )* )? "}"
array ::= "[" ( value ( ", " value )* )? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} )
unsigned ::= "0" | [1-9] [0-9]{0,15}
integer ::= "-"? unsigned
number ::= integer ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,3} )?
"""
_NAMES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": '( "true" | "false" )',
    "null": '"null"',
    "object": "object",
    "array": "array",
}


def grammar_of(schema: Schema) -> str:
    """Of a normalised schema (`schema_limits`)."""
    maker = _Maker(schema)
    root = maker.rule(schema)
    maker.write_all()
    return f"root ::= {root}\n{maker.rules}{_SHARED}"


class _Maker:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._names: dict[int, str] = {}
        self._rules: list[str] = []
        self._todo: list[tuple[str, Mapping[str, object]]] = []

    def write_all(self) -> None:
        """Write the rules that were named, and those that they name."""
        while self._todo:
            name, part = self._todo.pop()
            self._rules.append(f"{name} ::= {self._body(part)}")

    @property
    def rules(self) -> str:
        return "".join(f"{rule}\n" for rule in self._rules)

    def rule(self, part: object) -> str:
        """The name of the rule of `part`, which is written once, and later."""
        if not isinstance(part, Mapping):
            return "value"
        if (name := self._names.get(id(part))) is None:
            name = self._names[id(part)] = f"r{len(self._names)}"
            self._todo.append((name, part))
        return name

    def _body(self, part: Mapping[str, object]) -> str:
        if "const" in part:
            return _literal(part["const"])
        values = part.get("enum")
        if isinstance(values, list):
            return " | ".join(_literal(value) for value in values)
        if "$ref" in part:
            return self.rule(target(self._schema, str(part["$ref"])))
        for name in ("anyOf", "oneOf"):
            choices = part.get(name)
            if isinstance(choices, list):
                return " | ".join(self.rule(each) for each in choices if each is not False)
        together = part.get("allOf")
        if isinstance(together, list):
            return self.rule(together[0])
        types = part.get("type", _type_by_words(part))
        if types is None:
            return "value"
        kinds = types if isinstance(types, list) else [types]
        return " | ".join(self._of_type(str(each), part) for each in kinds)

    def _of_type(self, kind: str, part: Mapping[str, object]) -> str:
        if kind == "object" and part.get("properties"):
            return self._object(part)
        if kind == "array":
            return self._array(part)
        least, most = _counts(part, "minLength", "maxLength")
        if kind == "string" and (least or most is not None):
            return rf'"\"" {_repeated("char", least, most)} "\""'
        return _whole_number(part) if kind == "integer" else _NAMES[kind]

    def _object(self, part: Mapping[str, object]) -> str:
        """The properties that have names, in their order: those that must be, and then those that may be."""
        properties, required = part["properties"], part.get("required", [])
        assert isinstance(properties, Mapping)
        assert isinstance(required, list)
        pairs = {
            name: f"{_literal(name)} {_text(': ')} {self.rule(each)}" for name, each in properties.items()
        }
        for name in required:
            pairs.setdefault(name, f"{_literal(name)} {_text(': ')} value")
        first = [pair for name, pair in pairs.items() if name in required]
        later = [pair for name, pair in pairs.items() if name not in required]
        if first:
            inside = f" {_text(', ')} ".join(first) + "".join(f" ( {_text(', ')} {pair} )?" for pair in later)
        else:
            inside = self._some(later)
        return f'"{{" {inside} "}}"'

    def _some(self, pairs: Sequence[str]) -> str:
        """Any of `pairs` in their order, with commas between: a rule for what may follow each."""
        starts = []
        following = ""
        for pair in reversed(pairs):
            starts.append(f"{pair} {following}".rstrip())
            name = f"m{len(self._rules)}"
            self._rules.append(f"{name} ::= ( {_text(', ')} {pair} )? {following}".rstrip())
            following = name
        return f"( {' | '.join(reversed(starts))} )?"

    def _array(self, part: Mapping[str, object]) -> str:
        prefix, items = part.get("prefixItems", []), part.get("items", True)
        assert isinstance(prefix, list)
        least, most = _counts(part, "minItems", "maxItems")
        if prefix:
            fixed = f" {_text(', ')} ".join(self.rule(each) for each in prefix)
            more = "" if items is False else f" ( {_text(', ')} {self.rule(items)} )*"
            return f'"[" {fixed}{more} "]"'
        if most == 0 or items is False:
            return '"[]"'
        item = self.rule(items)
        rest = _repeated(f"( {_text(', ')} {item} )", max(0, least - 1), None if most is None else most - 1)
        inside = f"{item} {rest}"
        return f'"[" {inside} "]"' if least else f'"[" ( {inside} )? "]"'


def _whole_number(part: Mapping[str, object]) -> str:
    """Each number where there are few, else any, or any without a sign."""
    least, most = part.get("minimum"), part.get("maximum")
    if isinstance(least, int) and isinstance(most, int) and 0 <= most - least < MOST_COUNT:
        return " | ".join(_text(str(number)) for number in range(least, most + 1))
    return "unsigned" if isinstance(least, int | float) and least >= 0 else "integer"


def _type_by_words(part: Mapping[str, object]) -> str | None:
    if "properties" in part or "required" in part:
        return "object"
    return "array" if "items" in part or "prefixItems" in part else None


def _counts(part: Mapping[str, object], low: str, high: str) -> tuple[int, int | None]:
    least, most = part.get(low, 0), part.get(high)
    assert isinstance(least, int)
    assert isinstance(most, int | None)
    return min(least, MOST_COUNT), most if most is not None and most <= MOST_COUNT else None


def _repeated(what: str, least: int, most: int | None) -> str:
    if most is None:
        return f"{what}{{{least},}}" if least else f"{what}*"
    return f"{what}{{{least},{most}}}"


def _literal(value: object) -> str:
    """The JSON text of `value` as a text in GBNF."""
    return _text(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
