"""TEMPLATE: the author's own, in Go's language, decides what the model sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slmctl.app.formats import go_format, jinja_format
from slmctl.app.ships import FOLDER
from tests.gguf_copies import HELLO, tokens_of_format, write_copy
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


PLAIN = ("{% for m in messages %}{{ m.content }}{% endfor %}", "{{ .System }}{{ .Prompt }}")
PAIRS = {name: (jinja_format(name), go_format(name)) for name in ("chatml", "llama2", "mistral", "zephyr")}
PAIRS["plain"] = PLAIN


def answers(slmctl: Program, folder: Path, name: str, model: Path) -> Iterator[list[str]]:
    """What the model says through the two templates of a pair, Jinja's in its file."""
    jinja, go = PAIRS[name]
    texts = tokens_of_format(name) if model == HELLO and name != "plain" else {}
    write_copy(folder / "jinja.gguf", of=model, chat_template=jinja, texts=texts)
    assert slmctl("create", "jinja", "--from", str(folder / "jinja.gguf")).code == 0
    text = f'FROM jinja\nTEMPLATE """{go}"""\n'
    assert slmctl("create", "go", "-f", "-", stdin=text.encode()).code == 0
    how = ("--temperature", "0", "--seed", "7", "--max-tokens", "24")
    for system in ((), ("--system", "Tell it to a child.")):
        for question in ("What is GGUF?", "Once upon a time, there was a little girl"):
            outcomes = [slmctl("run", name, *how, *system, question) for name in ("jinja", "go")]
            assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * 2
            yield [outcome.out for outcome in outcomes]


@pytest.mark.parametrize("name", PAIRS)
def test_hello_through_a_pair_of_templates(slmctl: Program, tmp_path: Path, name: str) -> None:
    for through_jinja, through_go in answers(slmctl, tmp_path, name, HELLO):
        assert through_go == through_jinja


@pytest.mark.parametrize("name", PAIRS)
def test_the_stories_through_a_pair_of_templates(
    slmctl: Program, tmp_path: Path, stories: Path, name: str
) -> None:
    for through_jinja, through_go in answers(slmctl, tmp_path, name, stories / "stories260K-f32.gguf"):
        assert through_go == through_jinja
        assert through_go.strip()


def test_a_template_may_write_the_token_that_begins_a_text(slmctl: Program, tmp_path: Path) -> None:
    """The tokenizer writes it too; the model gets it once."""
    model = tmp_path / "bos.gguf"
    write_copy(model, chat_template=None, add_bos=True)
    told = []
    for template in ("<|endoftext|>{{ .Prompt }}", "{{ .Prompt }}"):
        text = f'FROM {model}\nTEMPLATE """{template}"""\n'
        assert slmctl("create", "go", "-f", "-", stdin=text.encode()).code == 0
        told.append(slmctl("run", "go", "--temperature", "0", "--max-tokens", "8", "hi", "--json").json)
    assert told[0]["response"] == told[1]["response"]
    assert told[0]["prompt_tokens"] == told[1]["prompt_tokens"]


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
