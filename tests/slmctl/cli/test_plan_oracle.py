"""Where no formula covers a model's graph, the engine here is asked: about all whose header is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.hub import serve_hub
from tests.fakes.registry import fake_registry
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


@pytest.mark.parametrize("refused", [False, True])
def test_of_a_repository_s_build_the_header_that_came_is_shown_to_the_engine(
    slmctl: Program, tmp_path: Path, refused: bool
) -> None:
    path = tmp_path / "m-Q8_0.gguf"
    write_random_model(path, shape=UNCOVERED, tensor_type="Q8_0")
    if refused:
        path.write_bytes(path.read_bytes().replace(b"llama", b"llamb"))
    local = slmctl("plan", str(path), "--json").json["memory"]
    with serve_hub({"org/wide-GGUF": {path.name: path.read_bytes()}}) as hub:
        slmctl.go_online()
        slmctl.environment["HF_ENDPOINT"] = hub.endpoint
        assert method(slmctl, "hf.co/org/wide-GGUF", "--for", "vps-2cpu-4gb") == "parameters"
        there = list(hub.delivered)
        hub.delivered.clear()
        here = slmctl("plan", "hf.co/org/wide-GGUF", "--json").json["memory"]
        assert hub.delivered == there
    assert (here["method"], here["parts"]) == (local["method"], local["parts"])
    assert here["method"] == ("parameters" if refused else "oracle")


@pytest.mark.parametrize(
    ("dialect", "known"), [("modelpack", "parameters"), ("ollama", "oracle"), ("docker", "oracle")]
)
def test_of_an_artifact_the_header_that_came_is_shown_to_the_engine(
    slmctl: Program, tmp_path: Path, dialect: str, known: str
) -> None:
    """A manifest with the facts in it costs no header, and none is fetched for the engine's sake."""
    path = tmp_path / "m.gguf"
    write_random_model(path, shape=UNCOVERED)
    author = Program(tmp_path / "author", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    author.go_online()
    assert author("create", "m", "--from", str(path)).code == 0
    with fake_registry() as registry:
        place = f"{registry.server.place}/team/m:v1"
        pushed = author("push", "m", place, "--format", dialect)
        assert pushed.code == 0, pushed.err
        slmctl.go_online()
        asked = []
        for machine in (("--for", "vps-2cpu-4gb"), ()):
            registry.requests.clear()
            found = method(slmctl, place, *machine)
            asked.append([(each.path, each.headers.get("range")) for each in registry.requests])
            assert found == ("parameters" if machine else known)
        assert asked[0] == asked[1]
