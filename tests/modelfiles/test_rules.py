"""docs/modelfile.md names every rule that there is, and none that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import modelfiles
from modelfiles.builtin import PARSERS, RENDERERS
from modelfiles.spec import PARAMETERS
from modelfiles.syntax import KEYWORDS

SOURCES = Path(modelfiles.__file__).parent
PAGE = (SOURCES.parent / "docs" / "modelfile.md").read_text("utf-8")
_MAKERS = {"problem": 0, "_warn": 1}
"""The functions that take a rule's name, and which argument that is; others take `rule=`."""


def _rules_in_the_code() -> Iterator[str]:
    for source in SOURCES.glob("*.py"):
        for call in (
            node for node in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(node, ast.Call)
        ):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            given = [keyword.value for keyword in call.keywords if keyword.arg == "rule"]
            if name in _MAKERS and len(call.args) > _MAKERS[name]:
                given.append(call.args[_MAKERS[name]])
            for value in given:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value
                elif isinstance(value, ast.JoinedStr):  # f"unknown-{what}"
                    yield from ("unknown-renderer", "unknown-parser")


def test_the_page_names_every_rule() -> None:
    rows = (line.split("|")[1] for line in PAGE.splitlines() if re.match(r"\| `[a-z-]+`", line))
    documented = {rule for row in rows for rule in re.findall(r"`([a-z-]+)`", row)}
    assert documented == set(_rules_in_the_code())


def test_the_page_names_every_instruction_parameter_and_format() -> None:
    for name in (*KEYWORDS, *PARAMETERS, *RENDERERS, *PARSERS):
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", PAGE), name
