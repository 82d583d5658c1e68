"""Where no formula covers a model's graph, the engine here is asked: about all whose header is at hand."""

from __future__ import annotations

from pathlib import Path

from tests.slmctl.cli.program import Program
from tools.random_model import Shape, write_random_model, write_random_shards

UNCOVERED = Shape()
"""Its feed-forward part is no wider than twice the rest."""


def method(program: Program, *arguments: str) -> str:
    done = program("plan", *arguments, "--json")
    assert done.code == 0, done.err
    return str(done.json["memory"]["method"])


def test_of_a_file_the_engine_says_what_it_says_of_the_stored_model(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    write_random_model(path, shape=UNCOVERED)
    assert slmctl("create", "wide", "--from", str(path)).code == 0
    of_file, stored = (slmctl("plan", name, "--json").json["memory"] for name in (str(path), "wide"))
    assert (of_file["method"], of_file["margin"]) == ("oracle", 1.02)
    assert of_file["parts"] == stored["parts"]


def test_of_a_file_s_plan_for_another_machine_the_engine_here_knows_nothing(
    slmctl: Program, tmp_path: Path
) -> None:
    path = tmp_path / "wide.gguf"
    write_random_model(path, shape=UNCOVERED)
    assert method(slmctl, str(path), "--for", "vps-2cpu-4gb") == "parameters"


def test_of_a_file_in_parts_the_formula_s_guess_stays(slmctl: Program, tmp_path: Path) -> None:
    first, *_ = write_random_shards(tmp_path, shape=UNCOVERED, count=2)
    assert method(slmctl, str(first)) == "parameters"


def test_of_what_the_engine_refuses_the_formula_s_guess_stays(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    write_random_model(path, shape=UNCOVERED)
    path.write_bytes(path.read_bytes().replace(b"llama", b"llamb"))
    assert method(slmctl, str(path)) == "parameters"
