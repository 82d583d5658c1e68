"""slmctl modelfile, and what `create` and `show` make of Modelfiles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
GOOD = """# mine
FROM {base}

parameter temperature 0.25
PARAMETER stop "end "
PARAMETER stop other
SYSTEM \"\"\"
Be kind.
\"\"\"
MESSAGE user Hello there!
MESSAGE assistant Hi! How are you?
LICENSE MIT
"""
BAD = "FROM x\nPARAMETER tempersture 1\nSISTEM hello\nMESSAGE tool hi\n"


@pytest.fixture
def authored(slmctl: Program, tmp_path: Path) -> Program:
    """With the models `base` and `mine`, which has all that an author may say now."""
    path = tmp_path / "base.gguf"
    write_random_model(path, chat_template=TEMPLATE, metadata={"general.license": "apache-2.0"})
    assert slmctl("create", "base", "--from", str(path)).code == 0
    file = tmp_path / "Mine"
    file.write_text(GOOD.format(base="base"))
    assert slmctl("create", "mine", "-f", str(file)).code == 0
    return slmctl


def test_parse_prints_what_is_read(slmctl: Program, tmp_path: Path) -> None:
    file = tmp_path / "Modelfile"
    file.write_text(GOOD.format(base="x"))
    document = slmctl("modelfile", "parse", str(file), "--json").json
    assert [(each["keyword"], each["name"], each["line"]) for each in document["instructions"]] == [
        ("FROM", None, 2),
        ("PARAMETER", "temperature", 4),
        ("PARAMETER", "stop", 5),
        ("PARAMETER", "stop", 6),
        ("SYSTEM", None, 7),
        ("MESSAGE", "user", 10),
        ("MESSAGE", "assistant", 11),
        ("LICENSE", None, 12),
    ]
    assert document["instructions"][4]["value"] == "\nBe kind.\n"
    assert document["errors"] == []
    outcome = slmctl("modelfile", "parse", "-", stdin=file.read_bytes())
    assert outcome.out.splitlines()[:3] == [
        "2: FROM 'x'",
        "4: PARAMETER temperature '0.25'",
        "5: PARAMETER stop 'end '",
    ]


def test_parse_tells_all_errors_of_syntax_and_lint_those_of_meaning_too(slmctl: Program) -> None:
    parsed = slmctl("modelfile", "parse", "-", "--json", stdin=BAD.encode())
    assert parsed.code == 2
    assert [error["line"] for error in parsed.json["errors"]] == [3, 4]
    linted = slmctl("modelfile", "lint", "-", "--json", stdin=BAD.encode())
    assert linted.code == 2
    assert [error["line"] for error in linted.json["errors"]] == [2, 3, 4]
    shown = slmctl("modelfile", "lint", "-", stdin=BAD.encode())
    assert (shown.code, shown.out) == (2, "")
    assert "<stdin>:2:11: error: There is no parameter 'tempersture'. [unknown-parameter]" in shown.err
    assert "Did you mean temperature?" in shown.err
    assert "~^" in shown.err


def test_lint_warns_and_is_content(slmctl: Program) -> None:
    outcome = slmctl("modelfile", "lint", "-", stdin=b"FROM x\nPARAMETER mirostat 1\n")
    assert outcome.code == 0
    assert "<stdin>:2:11: warning: The parameter mirostat no longer has an effect" in outcome.err
    assert outcome.err.endswith("\n<stdin>: 1 warning.\n")
    outcome = slmctl("modelfile", "lint", "-", stdin=b"FROM x\n")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "<stdin>: nothing is wrong.\n")


def test_findings_stand_in_the_order_of_the_file_and_are_counted(slmctl: Program) -> None:
    text = b"FROM x # y\nSISTEM a\nSYSTEM 'a'\nMESSAGE tool a\n"
    outcome = slmctl("modelfile", "lint", "-", stdin=text)
    assert outcome.code == 2
    heads = [line for line in outcome.err.splitlines() if line.startswith("<stdin>")]
    assert [head.partition(": ")[2].partition(":")[0] for head in heads[:-1]] == [
        "warning",
        "error",
        "warning",
        "error",
    ]
    assert heads[-1] == "<stdin>: 2 errors and 2 warnings."
    many = slmctl("modelfile", "parse", "-", stdin=b"FROM x\n" + b"1\n" * 500)
    assert many.err.endswith("<stdin>: 100 or more errors.\n")


def test_parse_has_what_is_odd_and_exits_0(slmctl: Program) -> None:
    text = b"FROM x # y\nPARAMETER  temperature 1\nPARAMETER system a\n" + b"SYSTEM 'a'\n" * 500
    outcome = slmctl("modelfile", "parse", "-", "--json", stdin=text)
    assert outcome.code == 0
    assert [warning["rule"] for warning in outcome.json["warnings"][:4]] == [
        "inline-comment",
        "two-blanks",
        "parameter-instruction",
        "other-quotes",
    ]
    assert len(outcome.json["warnings"]) == 100
    assert outcome.json["instructions"][1] == {
        "keyword": "PARAMETER",
        "name": "",
        "value": "temperature 1",
        "line": 2,
    }
    listed = slmctl(
        "modelfile", "parse", "-", stdin=b"FROM x\nPARAMETER  temperature 1\nSYSTEM " + b"y" * 1000
    )
    assert "2: PARAMETER '' 'temperature 1'" in listed.out
    assert listed.out.endswith("yyy'... (1000 characters)\n")


def test_fmt_writes_the_plainest_form_and_check_only_looks(slmctl: Program, tmp_path: Path) -> None:
    file = tmp_path / "Modelfile"
    file.write_text(GOOD.format(base="x"))
    file.chmod(0o640)
    assert slmctl("modelfile", "fmt", "--check", str(file)).code == 1
    assert file.read_text() == GOOD.format(base="x")
    assert slmctl("modelfile", "fmt", str(file)).code == 0
    formatted = file.read_text()
    assert formatted.startswith('# mine\nFROM x\n\nPARAMETER temperature 0.25\nPARAMETER stop "end "\n')
    assert file.stat().st_mode & 0o777 == 0o640
    assert slmctl("modelfile", "fmt", "--check", str(file)).code == 0
    assert slmctl("modelfile", "fmt", "-", stdin=GOOD.format(base="x").encode()).out == formatted
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_fmt_leaves_bytes_that_are_no_text_alone(slmctl: Program, tmp_path: Path) -> None:
    file = tmp_path / "Modelfile"
    file.write_bytes(b"from x\nSYSTEM caf\xe9\n")
    outcome = slmctl("modelfile", "fmt", str(file))
    assert outcome.code == 2
    assert "has bytes that are no text" in outcome.err
    assert file.read_bytes() == b"from x\nSYSTEM caf\xe9\n"
    file.write_bytes("from x\nSYSTEM café\n".encode("utf-16"))
    assert slmctl("modelfile", "fmt", str(file)).code == 0
    assert file.read_bytes() == "FROM x\nSYSTEM café\n".encode()


def test_what_is_no_modelfile_is_said_in_a_sentence(slmctl: Program, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF\x03\0\0\0" + bytes(1000))
    outcome = slmctl("modelfile", "lint", str(model))
    assert outcome.code == 2
    assert "error: This is a GGUF file, not a Modelfile. [not-text]" in outcome.err
    assert outcome.err.endswith("model.gguf: 1 error.\n")
    folder = slmctl("modelfile", "parse", str(tmp_path))
    assert "is a folder" in folder.err
    assert "Name the Modelfile in it." in folder.err


def test_fmt_leaves_a_file_with_errors_alone(slmctl: Program, tmp_path: Path) -> None:
    file = tmp_path / "Modelfile"
    file.write_text(BAD)
    assert slmctl("modelfile", "fmt", str(file)).code == 2
    assert file.read_text() == BAD
    assert slmctl("modelfile", "fmt", str(tmp_path / "missing")).code == 3
    assert slmctl("modelfile", "parse", str(tmp_path)).code == 1


def test_show_modelfile_makes_the_same_model(authored: Program, tmp_path: Path) -> None:
    text = authored("show", "mine", "--modelfile").out
    digest = authored("show", "mine", "--json").json["digest"]
    assert text.startswith(f"FROM mine:latest@{digest}\n")
    (tmp_path / "Again").write_text(text)
    assert authored("create", "again", "-f", str(tmp_path / "Again")).code == 0
    assert authored("show", "again", "--json").json["digest"] == digest


def test_show_has_a_view_of_each_part(authored: Program) -> None:
    assert authored("show", "mine", "--parameters").out == "stop end \nstop other\ntemperature 0.25\n"
    assert authored("show", "mine", "--system").out == "\nBe kind.\n\n"
    assert authored("show", "mine", "--license").out == "apache-2.0\n\nMIT\n"
    assert "MIT" in authored("show", "mine").out


def test_messages_open_the_conversation(authored: Program) -> None:
    without = authored("run", "base", "--system", "\nBe kind.\n", "--max-tokens", "2", "hi", "--json").json
    with_them = authored("run", "mine", "--max-tokens", "2", "hi", "--json").json
    assert with_them["prompt_tokens"] > without["prompt_tokens"] + 8
    spec = authored("show", "mine", "--json").json["variants"][0]["spec"]
    assert spec["messages"] == [
        {"role": "user", "content": "Hello there!"},
        {"role": "assistant", "content": "Hi! How are you?"},
    ]
    assert json.dumps(spec["licenses"]) == '["MIT"]'
