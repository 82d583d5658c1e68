"""Completion in real shells: what stands in the line after a tab was pressed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from slmctl.cli.main import COMMANDS
from slmctl.cli.shells import SCRIPTS
from tests.slmctl.cli.program import SCRIPT, Program

_CONTROLS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_=>()]B?)|[\x07]")

START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
LOAD = {
    "bash": 'PS1="$ "; eval "$(slmctl completion bash)"',
    "zsh": 'PS1="$ "; eval "$(slmctl completion zsh)"',
    "fish": "slmctl completion fish | source",
}
# writes the words of its command line where they can be read: what a shell would have run
SHOW = """#!/bin/sh
case "$*" in completion*) exec {script} "$@";; esac
printf '%s\\n' "$@" >"$SHOWN.new"; mv "$SHOWN.new" "$SHOWN"; echo THAT WAS IT
"""


class Shell:
    """An interactive shell at a terminal, with slmctl's completion."""

    def __init__(self, name: str, slmctl: Program, folder: Path) -> None:
        self.name = name
        self._shown = folder / "shown"
        (folder / "bin").mkdir()
        stand_in = folder / "bin" / "slmctl"
        stand_in.write_text(SHOW.format(script=SCRIPT))
        stand_in.chmod(0o755)
        environment = {
            **slmctl.environment,
            "PATH": f"{stand_in.parent}:{slmctl.environment['PATH']}",
            "TERM": "dumb" if name == "fish" else "xterm",
            "INPUTRC": "/dev/null",
            "SHOWN": str(self._shown),
        }
        program = shutil.which(name)
        assert program is not None
        self.child: pexpect.spawn[str] = pexpect.spawn(
            program, START[name], env=environment, cwd=str(folder), encoding="utf-8", timeout=60
        )
        self.child.setwinsize(40, 200)
        self.child.send(f"{LOAD[name]}; echo READ''Y\r")
        self.child.expect_exact("READY")

    def run(self, keys: str) -> list[str]:
        """The words of the command that `keys` and Enter run."""
        self._shown.unlink(missing_ok=True)
        self.child.send(f"{keys}\r")
        self.child.expect_exact("THAT WAS IT")
        return self._shown.read_text().splitlines()

    def offers(self, keys: str, until: str) -> str:
        """What is shown after `keys` until there is `until`."""
        self.child.send(keys)
        self.child.expect_exact(until)
        assert self.child.before is not None
        self.child.sendcontrol("c")
        return _CONTROLS.sub("", self.child.before)


@pytest.fixture
def store(slmctl: Program, tiny_model: Path) -> Program:
    """With hello:latest, hello:q8, ns/other:v1 and tiny:latest."""
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    for name in ("hello", "hello:q8", "ns/other:v1"):
        assert slmctl("cp", "tiny", name).code == 0
    return slmctl


@pytest.fixture(params=list(SCRIPTS))
def shell(request: pytest.FixtureRequest, store: Program, tmp_path: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    (tmp_path / "work").mkdir()
    shell = Shell(request.param, store, tmp_path / "work")
    yield shell
    shell.child.close(force=True)


def test_a_tab_completes_the_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "work" / "other file.gguf").touch()
    (tmp_path / "work" / "Modelfile").touch()
    cases = {
        "slmctl versi\t": ["version"],
        "slmctl sho\tti\t": ["show", "tiny"],
        "slmctl run hello:la\t": ["run", "hello:latest"],
        "slmctl run hello:l\thi": ["run", "hello:latest", "hi"],
        'slmctl run "hello:la\t': ["run", "hello:latest"],
        "slmctl logs ns/o\t": ["logs", "ns/other:v1"],
        "slmctl rm tiny ns\t": ["rm", "tiny", "ns/other:v1"],
        "slmctl run tiny --progress j\t": ["run", "tiny", "--progress", "json"],
        "slmctl run tiny --progress=j\t": ["run", "tiny", "--progress=json"],
        "slmctl run tiny --vari\tgg\t": ["run", "tiny", "--variant", "gguf-f32"],
        "slmctl cp ti\tmine": ["cp", "tiny", "mine"],
        "slmctl create x --from oth\t": ["create", "x", "--from", "other file.gguf"],
        "slmctl create x --from ti\t": ["create", "x", "--from", "tiny"],
        "slmctl create x -f Mod\t": ["create", "x", "-f", "Modelfile"],
        "slmctl config li\t": ["config", "list"],
        "X=1 slmctl run ti\t": ["run", "tiny"],
        "true; slmctl run ti\t": ["run", "tiny"],
        "bin/slmctl run ti\t": ["run", "tiny"],
        "slmctl run nosuch\t": ["run", "nosuch"],
    }
    for keys, words in cases.items():
        assert shell.run(keys) == words, keys


def test_what_there_is_is_shown(shell: Shell) -> None:
    """With two tabs; fish draws its table on better terminals only, but it can be asked."""
    keys = "complete --do-complete 'slmctl run '\r" if shell.name == "fish" else "slmctl run \t\t"
    shown = shell.offers(keys, "tiny")
    assert "hello" in shown
    assert "hello:q8" in shown
    assert "ns/other:v1" in shown
    assert "hello:latest" not in shown, "a tag that says nothing"


def ask(slmctl: Program, line: str, word: str | None = None) -> list[str]:
    """The values that a script gets."""
    more = () if word is None else (f"--word={word}",)
    outcome = slmctl("completion", "bash", "--complete", line, *more)
    assert (outcome.code, outcome.err) == (0, "")
    return [row.split("\t")[1] for row in outcome.out.splitlines()]


@pytest.mark.parametrize(
    ("line", "word", "values"),
    [
        ("slmctl ", "", list(COMMANDS)),
        ("slmctl r", None, ["run", "rm", "render"]),
        ("slmctl --v", None, ["--version"]),
        ("slmctl run h", None, ["hello", "hello:q8"]),
        ("slmctl run hello:", "", ["latest", "q8"]),
        ("slmctl run hello:la", "la", ["latest"]),
        ("slmctl run 'hello:la", "'hello:la", ["hello:latest"]),
        ("slmctl run x --progress=", "", ["auto", "json", "none"]),
        ("slmctl run x --progress=j", None, ["--progress=json"]),
        ("slmctl run --think", None, ["--think"]),
        ("slmctl run tiny ", None, []),
        ("slmctl pull qwen3:", "", ["0.6b", "1.7b", "4b", "8b"]),
        ("slmctl pull tiny t", None, []),
        ("slmctl tags phi4", None, ["phi4-mini:3.8b"]),
        ("slmctl push hello --format ", None, ["modelpack", "docker", "ollama", "image"]),
        ("slmctl push tiny localhost:5000/m:v1 --variant ", None, ["gguf-f32"]),
        ("slmctl library check phi4", None, ["phi4-mini", "phi4-mini:3.8b"]),
        ("slmctl rm hello tiny ", None, ["hello:q8", "ns/other:v1"]),
        ("slmctl show tiny --variant ", None, ["gguf-f32"]),
        ("slmctl show nosuch --variant ", None, []),
        ("sudo X=1 slmctl completion ", None, ["bash", "zsh", "fish"]),
        ("slmctl nosuch ", None, []),
        ("slmctl nosuch --", None, []),
        ("slmctl run x -o ", None, []),
        ("slmctl run \x01\udcff", None, []),
        ("", None, list(COMMANDS)),
        ("slmctl 'open", None, []),
    ],
)
def test_what_a_script_gets(store: Program, line: str, word: str | None, values: list[str]) -> None:
    assert ask(store, line, word) == values


def test_a_store_that_is_absent_or_broken_offers_nothing(slmctl: Program, tiny_model: Path) -> None:
    assert ask(slmctl, "slmctl run ") == []
    assert not slmctl.home.exists()
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    index = slmctl.store / "index.json"
    whole = index.read_bytes()
    index.write_bytes(whole[:-20])
    assert ask(slmctl, "slmctl run ") == []
    index.write_bytes(whole)
    for file, text in (("config.toml", "nonsense ="), ("store/slmctl.json", '{"version": 99}')):
        (slmctl.home / file).write_text(text)
        assert ask(slmctl, "slmctl run ") == []
        assert ask(slmctl, "slmctl r") == ["run", "rm", "render"]
        (slmctl.home / file).unlink()


def test_a_damaged_table_is_answered_without_its_note(store: Program) -> None:
    index = store.store / "index.json"
    index.write_bytes(index.read_bytes()[:-20])
    assert ask(store, "slmctl run t") == ["tiny"]


def test_a_name_that_is_none_does_not_get_into_a_command_line(slmctl: Program, tiny_model: Path) -> None:
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    index = slmctl.store / "index.json"
    document = json.loads(index.read_bytes())
    row = document["manifests"][0]
    for name in ("$(touch x)", "a b", "`x`", "-rf", "evil\nplain\tsecond", "/etc/passwd", "\x1b[31m"):
        document["manifests"].append({**row, "annotations": {"org.opencontainers.image.ref.name": name}})
    index.write_text(json.dumps(document))
    assert ask(slmctl, "slmctl rm ") == ["tiny"]


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_the_script_is_printed(slmctl: Program, name: str) -> None:
    outcome = slmctl("completion", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == SCRIPTS[name]
    assert slmctl("completion", name, "--json").json["script"] == SCRIPTS[name]
