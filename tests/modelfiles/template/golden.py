"""The folders of tests/golden/templates: one chat format each.

    conversation.json       {"bos_token", "eos_token", "cases": {NAME: {"messages", "tools", "documents",
                            "add_generation_prompt", "variables", "syntaxes"}}}; all but "messages" may be absent
    expected-NAME.txt       the prompt of the case, byte for byte, written down from the maker's documentation
    SOURCE.md               where that is, and what is ours

The templates that make these texts are our own and lie in modelfiles/template/formats: NAME.jinja, and NAME.go.tmpl for
Ollama. Adding a case is adding its conversation and its text; adding a format is adding a folder and a template. A case that only some
engines can write the same way (JSON has no spaces in Go) names them in "syntaxes" ("jinja", "go").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmctl.app.formats import go_format, jinja_format

FORMATS = Path(__file__).parents[2] / "golden" / "templates"
_READERS = {"jinja": jinja_format, "go": go_format}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One conversation in one format; `given` and `variables` are keyword arguments of the renderers."""

    format: str
    name: str
    template: str
    messages: list[dict[str, Any]]
    given: Mapping[str, Any]
    variables: Mapping[str, Any]
    expected: str


def cases(syntax: str) -> Iterator[Case]:
    """Every case that has a template of the syntax."""
    for folder in sorted(FORMATS.iterdir()):
        template = _READERS[syntax](folder.name)
        document = json.loads((folder / "conversation.json").read_text("utf-8"))
        for name, case in document["cases"].items():
            if template is not None and syntax in case.get("syntaxes", _READERS):
                yield Case(
                    format=folder.name,
                    name=name,
                    template=template,
                    messages=case["messages"],
                    given={
                        "tools": case.get("tools", []),
                        "documents": case.get("documents", []),
                        "add_generation_prompt": case.get("add_generation_prompt", True),
                        "bos_token": document["bos_token"],
                        "eos_token": document["eos_token"],
                    },
                    variables=case.get("variables", {}),
                    expected=(folder / f"expected-{name}.txt").read_bytes().decode(),
                )


def tokens(name: str) -> tuple[str | None, str | None]:
    """The texts of the tokens that begin and end a text in that format, where it names them."""
    document = json.loads((FORMATS / name / "conversation.json").read_text("utf-8"))
    return document["bos_token"], document["eos_token"]
