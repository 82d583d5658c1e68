"""Templates from the grammar of text/template, most of them right, some of them wrong on purpose.

The types of values are followed loosely, so that most templates run to their end. What is out of the subset
(complex numbers), or differs between Go's versions (assigning in a range), is left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from tests.modelfiles.template.vocabulary import (
    ANY_VERB,
    CALLS,
    COMMENTS,
    FIELDS,
    KINDS,
    LITERALS,
    PARTS,
    SPOILERS,
    STAGES,
    TEXTS,
    VERBS,
    WRONG,
)

_PLACE = re.compile(r"<(?:([.a-z]+)|([0-9])-([0-9]))(\+?)>")
_OUTSIDE = re.compile(r"[0-9._]i|range\s+\$\w*\s*(,\s*\$\w*\s*)?=|%[^a-zA-Z]*p")


def templates(seed: int) -> Iterator[tuple[str, bool]]:
    """Without end, the same for the same seed; and whether it reads messages and tools.

    Those are never printed as a whole: Go would print addresses. So a template without them may print all.
    """
    source = random.Random(seed)
    while True:
        records = source.random() < 0.3
        template = _Writer(source, records).template()
        if not records and source.random() < 0.15:
            template = _spoil(template, source)
        if not _OUTSIDE.search(template):
            yield template, records


def _spoil(template: str, source: random.Random) -> str:
    """A character or a few that go, come, or change their place."""
    for _ in range(source.randint(1, 2)):
        at = source.randint(0, len(template))
        match source.randrange(3):
            case 0:
                template = template[:at] + template[at + source.randint(1, 3) :]
            case 1:
                added = source.choice(SPOILERS)
                template = template[:at] + added + template[at:]
            case _:
                other = source.randint(0, len(template))
                low, high = sorted((at, other))
                template = template[:low] + template[high : high + 2] + template[low:]
    return template


class _Writer:
    """One template. `dot` is what `.` is; variables are known with their kinds."""

    def __init__(self, source: random.Random, records: bool) -> None:
        self._random = source
        self._records = records
        self._variables: list[tuple[str, str]] = []
        self._blocks = 0
        self._ranges = 0
        self._named = 0
        self._is_main = True

    def template(self) -> str:
        names = [f"t{index}" for index in range(self._random.choice((0, 0, 1, 2)))]
        definitions = []
        for name in names:
            self._is_main = False
            definitions.append(
                self._action(f'define "{name}"') + self._body("unknown", 1) + self._action("end")
            )
            self._variables.clear()
            self._named += 1  # a template may call those before it
        self._is_main = True
        body = self._body("root", 3)
        return "".join(definitions) + body if self._chance(0.5) else body + "".join(definitions)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _action(self, inside: str) -> str:
        left = self._random.choice(("{{", "{{", "{{ ", "{{- ", "{{-\n"))
        right = self._random.choice(("}}", "}}", " }}", " -}}", "\t-}}"))
        return left + inside + right

    def _text(self) -> str:
        text = "".join(self._random.choice(TEXTS) for _ in range(self._random.randint(0, 4)))
        # one before an action makes {{{, which is an error
        return text.rstrip("{") if self._chance(0.98) else text

    # blocks

    def _body(self, dot: str, depth: int) -> str:
        mark = len(self._variables)
        parts = [self._text()]
        for _ in range(self._random.randint(1, 4)):
            parts.append(self._node(dot, depth))
            parts.append(self._text())
        del self._variables[mark:]
        return "".join(parts)

    def _node(self, dot: str, depth: int) -> str:
        choice = self._random.random()
        if depth > 0 and choice < 0.12:
            return self._if(dot, depth)
        if depth > 0 and choice < 0.24:
            return self._range(dot, depth)
        if depth > 0 and choice < 0.31:
            return self._with(dot, depth)
        if choice < 0.38:
            return self._set(dot)
        if choice < 0.42:
            return self._random.choice(COMMENTS)
        if choice < 0.46 and self._named:
            name = f"t{self._random.randrange(self._named)}"
            return self._action(f'template "{name}" {self._expression(dot)}'.rstrip())
        if choice < 0.48 and depth > 0 and self._is_main:
            return self._block(dot, depth)
        if choice < 0.51 and self._ranges:
            return self._action(self._random.choice(("break", "continue")))
        return self._action(self._pipeline(dot))

    def _if(self, dot: str, depth: int) -> str:
        mark = len(self._variables)
        text = self._action("if " + self._condition(dot)) + self._body(dot, depth - 1)
        while self._chance(0.3):
            text += self._action("else if " + self._condition(dot)) + self._body(dot, depth - 1)
        if self._chance(0.5):
            text += self._action("else") + self._body(dot, depth - 1)
        del self._variables[mark:]
        return text + self._action("end")

    def _range(self, dot: str, depth: int) -> str:
        mark = len(self._variables)
        over, element, key = self._iterable(dot)
        names = [self._new_name() for _ in range(self._random.randint(0, 2))]
        self._variables += zip(names, [element] if len(names) == 1 else [key, element], strict=False)
        head = ", ".join(names) + " := " if names else ""
        self._ranges += 1
        text = self._action(f"range {head}{over}") + self._body(element, depth - 1)
        self._ranges -= 1
        if self._chance(0.4):
            text += self._action("else") + self._body(dot, depth - 1)
        del self._variables[mark:]
        return text + self._action("end")

    def _iterable(self, dot: str) -> tuple[str, str, str]:
        """What range goes through, and the kinds of its elements and keys."""
        root = "$" if self._is_main else ""
        if self._records and self._is_main and self._chance(0.4):
            return "$.messages", "message", "int"
        if self._records and self._is_main and self._chance(0.3):
            return "$.tools", "tool", "int"
        if dot == "message" and self._chance(0.7):
            return ".ToolCalls", "call", "int"
        if dot == "tool" and self._chance(0.7):
            return ".Function.Parameters.Properties", "property", "string"
        if dot == "call" and self._chance(0.7):
            return ".Function.Arguments", "unknown", "string"
        if self._chance(0.5):
            known = {"words": "string", "ints": "int", "map": "unknown", "list": "unknown"}
            name = self._random.choice(list(known))
            return f"{root}.{name}", known[name], "string" if name == "map" else "int"
        return self._value("list" if self._chance(0.8) else self._any(), dot), "unknown", "int"

    def _with(self, dot: str, depth: int) -> str:
        mark = len(self._variables)
        kind = self._any()
        value = self._value(kind, dot)
        head = ""
        if self._chance(0.3):
            name = self._new_name()
            self._variables.append((name, kind))
            head = f"{name} := "
        text = self._action(f"with {head}{value}") + self._body(kind, depth - 1)
        if self._chance(0.4):
            text += self._action("else") + self._body(dot, depth - 1)
        del self._variables[mark:]
        return text + self._action("end")

    def _block(self, dot: str, depth: int) -> str:
        outer, self._variables = self._variables, []
        ranges, self._ranges, self._is_main = self._ranges, 0, False
        self._blocks += 1
        body = self._body("unknown", depth - 1)
        self._variables, self._ranges, self._is_main = outer, ranges, True
        return self._action(f'block "b{self._blocks}" {self._expression(dot)}') + body + self._action("end")

    def _set(self, dot: str) -> str:
        kind = self._any()
        value = self._value(kind, dot)
        same = [name for name, known in self._variables if known == kind]
        if same and self._chance(0.5):
            return self._action(f"{self._random.choice(same)} = {value}")
        name = self._new_name()
        self._variables.append((name, kind))
        return self._action(f"{name} := {value}")

    def _new_name(self) -> str:
        return self._random.choice(("$x", "$y", "$z", "$i", "$é", "$long_name"))

    # expressions

    def _any(self) -> str:
        return self._random.choice(KINDS)

    def _pipeline(self, dot: str) -> str:
        text = self._expression(dot)
        while self._chance(0.15):
            text += self._random.choice((" | ", "|")) + self._random.choice(STAGES)
        return text

    def _expression(self, dot: str) -> str:
        return self._value(self._any(), dot)

    def _condition(self, dot: str) -> str:
        return self._value("bool" if self._chance(0.6) else self._any(), dot)

    def _value(self, kind: str, dot: str, depth: int = 2) -> str:
        """An expression of the kind, most of the time."""
        if self._chance(0.02):
            kind = self._any()
        choice = self._random.random()
        if depth > 0 and choice < 0.45:
            return self._call(kind, dot, depth)
        known = [name for name, other in self._variables if other == kind]
        if known and choice < 0.6:
            return self._random.choice(known)
        if dot == kind and choice < 0.7:
            return "."
        if dot in PARTS and choice < 0.9:
            return "." + self._random.choice(PARTS[dot])
        if choice < 0.85 and kind in FIELDS:
            return self._field(self._random.choice(FIELDS[kind]), dot)
        return self._literal(kind)

    def _field(self, path: str, dot: str) -> str:
        if dot == "root" and self._chance(0.7):
            return "." + path
        return f"$.{path}" if self._chance(0.9) else f"($).{path}"

    def _argument(self, kind: str, dot: str, depth: int) -> str:
        value = self._value(kind, dot, depth - 1)
        return f"({value})" if " " in value and value[0] not in "\"`'" else value

    def _call(self, kind: str, dot: str, depth: int) -> str:
        form = self._random.choice(CALLS[kind if kind in CALLS else "nil"])
        if form == "printf":
            return self._printf(dot, depth)

        def fill(match: re.Match[str]) -> str:
            name, low, high, several = match.groups()
            if low:
                return str(self._random.randint(int(low), int(high)))
            if name.startswith("."):
                return self._field(name[1:], dot)
            count = self._random.randint(1, 3) if several else 1
            wanted = [self._any() if name == "any" else name for _ in range(count)]
            return " ".join(self._argument(one, dot, depth) for one in wanted)

        return _PLACE.sub(fill, form)

    def _printf(self, dot: str, depth: int) -> str:
        verbs, arguments = [], []
        for _ in range(self._random.randint(1, 3)):
            kind = self._any()
            letters = VERBS.get(kind, "v") if self._chance(0.8) else ANY_VERB
            flags = "".join(self._random.choice("+-# 0") for _ in range(self._random.choice((0, 0, 0, 1, 2))))
            width = self._random.choice(("", "", "", "5", "12", "*", "[1]", "0"))
            precision = self._random.choice(("", "", "", ".2", ".0", ".", ".10", ".*"))
            if width == "*":
                arguments.append(self._random.choice(("7", "-7", '"w"')))
            if precision == ".*":
                arguments.append(self._random.choice(("3", "-1")))
            verbs.append(f"%{flags}{width}{precision}{self._random.choice(letters)}")
            if self._chance(0.95):
                arguments.append(self._argument(kind, dot, depth))
        joined = self._random.choice((" ", "", "|", "%%")).join(verbs)
        return f'printf "{joined}" {" ".join(arguments)}'.rstrip()

    def _literal(self, kind: str) -> str:
        if self._chance(0.05):
            return self._random.choice(WRONG)
        whole = "$.map" if self._records else "$"
        return self._random.choice(LITERALS.get(kind, ['"z"', "$.nope", whole]))
