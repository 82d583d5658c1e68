"""Plans of what somebody made to do harm: headers, config files and descriptions of machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

VPS = "vps-2cpu-4gb"


def test_the_layers_of_a_header_are_not_counted_one_by_one(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    write_random_model(path, metadata={"llama.block_count": 2**31 - 1})
    done = slmctl("plan", str(path), "--for", VPS)
    assert done.code == 5
    assert "many.gguf has more layers, or tokens, than any model." in done.err


@pytest.mark.parametrize("command", [["plan", "qwen3:0.6b"], ["hardware"]])
def test_a_machine_of_somebody_else_s_says_nothing_to_the_terminal(
    slmctl: Program, tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "theirs.json"
    assert slmctl("hardware", "--for", VPS, "--save", str(path)).code == 0
    machine = json.loads(path.read_text())
    machine["name"] = machine["cpu"]["model"] = "\x1b]0;owned\x07"
    machine["memory"]["limits"] = [{"limit": 3 << 30, "usage": 0, "source": "\x1b[2J"}]
    path.write_text(json.dumps(machine))
    done = slmctl(*command, "--for", str(path))
    assert done.code == 0, done.err
    assert "\x1b" not in done.out + done.err
    assert "\x07" not in done.out + done.err


@pytest.mark.parametrize("what", ["profile", "config", "config of a folder", "weights of a folder"])
def test_nobody_waits_for_a_pipe_that_nobody_writes(slmctl: Program, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pipe = folder / ("model.safetensors" if what.startswith("weights") else "config.json")
    os.mkfifo(pipe)
    if what.startswith("weights"):
        (folder / "config.json").write_text("{}")
    given = {"profile": ["qwen3:0.6b", "--for", str(pipe)], "config": ["--config", str(pipe)]}
    done = slmctl("plan", *given.get(what, ["--config", str(folder)]))
    assert done.code == 2
    assert "cannot be read (it is no regular file)." in done.err
