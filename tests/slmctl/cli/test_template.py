"""TEMPLATE: the author's own, in Go's language, decides what the model sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmctl.app.shipped import FOLDER
from tests.slmctl.cli.program import Program

CHATML = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


@pytest.fixture
def through(slmctl: Program, tmp_path: Path) -> Program:
    """With hello, and `go`: the same with its chat format said as a Go template."""
    file = tmp_path / "Modelfile"
    file.write_text(f'FROM {FOLDER}/hello/hello.gguf\nPARAMETER temperature 0\nTEMPLATE """{CHATML}"""\n')
    assert slmctl("create", "go", "-f", str(file)).code == 0
    return slmctl


def test_hello_answers_the_same_through_a_go_template_and_through_jinja(through: Program) -> None:
    for question in ("What is GGUF?", "what is a tokenizer", "Who won the football world cup in 1998?"):
        for system in ((), ("--system", "Answer briefly.")):
            own = through("run", "hello", *system, question)
            go = through("run", "go", *system, question)
            assert (go.code, go.out, go.err) == (0, own.out, "")


def test_it_is_kept_and_shown(through: Program, tmp_path: Path) -> None:
    assert through("show", "go", "--template").out == f"{CHATML}\n"
    assert "{%" in through("show", "hello", "--template").out  # without TEMPLATE, the model's own
    digest = through("show", "go", "--json").json["digest"]
    (tmp_path / "Again").write_text(through("show", "go", "--modelfile").out)
    assert through("create", "again", "-f", str(tmp_path / "Again")).code == 0
    assert through("show", "again", "--json").json["digest"] == digest


def test_a_template_that_is_none_is_told_with_its_place(slmctl: Program) -> None:
    outcome = slmctl("modelfile", "lint", "-", stdin=b"FROM x\nTEMPLATE {{ .Prompt\n")
    assert outcome.code == 2
    assert "<stdin>:2:10: error: The template's line 1" in outcome.err
    assert slmctl("create", "x", "-f", "-", stdin=b"FROM x\nTEMPLATE {{ nofunc }}\n").code == 2


def test_a_template_that_fails_is_a_sentence(through: Program) -> None:
    endless = '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}'
    text = f"FROM go\nTEMPLATE {endless}\n"
    assert through("create", "endless", "-f", "-", stdin=text.encode()).code == 0
    outcome = through("run", "endless", "hi")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("slmctl: The template")
