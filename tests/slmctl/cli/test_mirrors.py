"""Mirrors, as a user names them in the settings, with real registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

NAME = "nowhere.example/team/tiny:v1"


@pytest.fixture
def pushed(slmctl: Program, plain_registry: Registry, tiny_model: Path, tmp_path: Path) -> Program:
    """Two models, one in each of two mirrors, and nothing at home."""
    slmctl.go_online()
    write_random_model(tmp_path / "other.gguf", tensor_type="Q8_0")
    for number, path in enumerate([tiny_model, tmp_path / "other.gguf"]):
        assert slmctl("create", f"m{number}", "--from", str(path)).code == 0
        assert slmctl("push", f"m{number}", f"{plain_registry.host}/mirror{number}/team/tiny:v1").code == 0
    return slmctl


def digest(program: Program, name: str) -> str:
    return str(program("show", name, "--json").json["digest"])


def test_a_mirror_is_asked_before_the_registry(pushed: Program, plain_registry: Registry) -> None:
    """The registry itself cannot be reached; the name, and the place it came from, are the registry's."""
    mirrors = {
        "SLMCTL_MIRRORS": f"nowhere.example={plain_registry.host}/mirror9,{plain_registry.host}/mirror1"
    }
    done = pushed("pull", NAME, "--json", environment=mirrors)
    assert done.code == 0, done.err
    assert "disagree" not in done.err
    assert digest(pushed, NAME) == digest(pushed, "m1")
    assert pushed("show", NAME, "--json").json["source"].startswith(f"oci://{NAME}@sha256:")


def test_mirrors_that_disagree_are_told(pushed: Program, plain_registry: Registry) -> None:
    both = f"nowhere.example={plain_registry.host}/mirror0,{plain_registry.host}/mirror1"
    done = pushed("pull", NAME, environment={"SLMCTL_MIRRORS": both})
    assert done.code == 0, done.err
    assert f"The mirrors of oci://{NAME} disagree" in done.err
    assert digest(pushed, NAME) == digest(pushed, "m0")
    other = digest(pushed, "m1")
    done = pushed("pull", f"{NAME}@{other}", "--as", "pinned", environment={"SLMCTL_MIRRORS": both})
    assert done.code == 0, done.err
    assert "disagree" not in done.err
    assert digest(pushed, "pinned") == other


def test_a_missing_tag_says_how_to_see_those_that_are_there(
    pushed: Program, plain_registry: Registry
) -> None:
    done = pushed("pull", f"{plain_registry.host}/mirror0/team/tiny:v9")
    assert done.code == 3
    assert f"'slmctl tags {plain_registry.host}/mirror0/team/tiny' lists its tags." in done.hint
