"""Chat formats in Jinja and in Go, byte for byte: every folder of tests/golden/templates."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelfiles.template.jinja import render
from slmctl.app.prompt import render_outside
from tests.modelfiles.template.golden import FORMATS, Case, cases

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CASES = list(cases("jinja"))
GO_CASES = list(cases("go"))
ONLY_IN_JINJA = {"deepseek-r1-earlier-thoughts"}
"""Go's templates cannot cut a thought out of a text."""


@pytest.mark.parametrize("case", CASES, ids=[f"{case.format}-{case.name}" for case in CASES])
def test_format(case: Case) -> None:
    text = render(case.template, case.messages, now=NOW, **case.given, **case.variables)
    assert text == case.expected


@pytest.mark.parametrize("case", GO_CASES, ids=[f"{case.format}-{case.name}" for case in GO_CASES])
def test_format_in_go(case: Case) -> None:
    assert in_go(case) == case.expected


def in_go(case: Case) -> str:
    return render_outside(
        case.template,
        case.messages,
        syntax="go",
        tools=case.given["tools"],
        now=NOW,
        variables={"think": next(iter(case.variables.values()), None)},
        environment=os.environ,
    )


def test_go_does_all_that_it_can() -> None:
    missing = {f"{case.format}-{case.name}" for case in CASES} - {
        f"{case.format}-{case.name}" for case in GO_CASES
    }
    assert missing == ONLY_IN_JINJA


def test_a_format_in_a_child_process() -> None:
    """Once for all: tests/slmctl/app/test_prompt.py has the rest."""
    case = next(case for case in CASES if (case.format, case.name) == ("qwen3", "tool-results"))
    text = render_outside(
        case.template,
        case.messages,
        now=NOW,
        environment=os.environ,
        variables=case.variables,
        **case.given,
    )
    assert text == case.expected


@pytest.mark.parametrize("folder", sorted(FORMATS.iterdir()), ids=lambda folder: folder.name)
def test_every_text_has_a_case_and_a_source(folder: Path) -> None:
    files = {path.name for path in folder.iterdir()}
    texts = {f"expected-{case.name}.txt" for case in CASES if case.format == folder.name}
    assert files == {"SOURCE.md", "conversation.json"} | texts
