"""Pulling what was pulled before: the same builds, the same digest, and never another place's model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hub import FakeHub, serve_hub
from tests.fakes.registry import fake_registry
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

SMALL, LARGE = "org/model", "hf.co/org/model"
USUAL, OTHER = "unsloth/Qwen3-0.6B-GGUF", "Qwen/Qwen3-0.6B-GGUF"
"""What the library has for qwen3:0.6b: Q4_K_M and Q8_0."""


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("builds")
    for kind in ("F32", "F16"):
        write_random_model(folder / kind, seed=1, tensor_type=kind)
    return {kind: (folder / kind).read_bytes() for kind in ("F32", "F16")}


@pytest.fixture
def hub(slmctl: Program, builds: dict[str, bytes]) -> Iterator[FakeHub]:
    files = {f"m-{kind}.gguf": data for kind, data in builds.items()}
    repositories = {
        SMALL: files,
        USUAL: {"Qwen3-0.6B-Q4_K_M.gguf": builds["F16"]},
        OTHER: {"Qwen3-0.6B-Q8_0.gguf": builds["F32"]},
    }
    slmctl.go_online()
    with serve_hub(repositories) as served:
        slmctl.environment["HF_ENDPOINT"] = served.endpoint
        yield served


def ids(slmctl: Program, name: str) -> list[str]:
    return [each["id"] for each in slmctl("show", name, "--json").json["variants"]]


def test_several_builds_are_one_digest_in_any_order_and_a_lock_brings_them_all(
    slmctl: Program, hub: FakeHub, tmp_path: Path
) -> None:
    def pulled(*options: str) -> tuple[str, bool]:
        row = slmctl("pull", LARGE, *options, "--json").json["models"][0]
        return row["digest"], row["changed"]

    digest, _ = pulled("--variant", "F16", "--variant", "F32")
    assert pulled("--variant", "F32", "--variant", "F16") == (digest, False)
    assert pulled() == (digest, False)
    for options in ([], ["--force"]):
        assert slmctl("pull", "--all", *options, "--json").json["models"][0]["digest"] == digest
    row = slmctl("pull", LARGE, "--dry-run", "--json").json["models"][0]
    assert (sorted(row["variants"]), row["missing"]) == (["gguf-f16", "gguf-f32"], 0)
    lock = tmp_path / "models.lock"
    assert slmctl("lock", LARGE, "-o", str(lock)).code == 0
    assert slmctl("rm", LARGE).code == 0
    done = slmctl("pull", "--lock", str(lock), "--json").json
    assert [each["digest"] for each in done["models"]] == [digest]


def test_a_name_that_says_a_build_takes_no_other(slmctl: Program, hub: FakeHub) -> None:
    done = slmctl("pull", f"{LARGE}:F16", "--variant", "F32")
    assert (done.code, "says already which build" in done.err) == (2, True)
    assert not slmctl("list", "--json").json["models"]


def test_a_renamed_repository_is_pulled_again_and_who_takes_its_name_is_not(
    slmctl: Program, hub: FakeHub, builds: dict[str, bytes]
) -> None:
    hub.repositories["new/name"] = hub.repositories.pop(SMALL)
    hub.moved = {SMALL: "new/name"}
    assert slmctl("pull", f"{LARGE}:F16").code == 0
    again = slmctl("pull", f"{LARGE}:F16", "--json").json["models"][0]
    assert (again["changed"], again["source"]) == (False, f"hf://new/name@{hub.commit}:F16")
    hub.moved = {}
    hub.repositories[SMALL] = {"m-F16.gguf": builds["F32"]}
    refused = slmctl("pull", f"{LARGE}:F16")
    assert (refused.code, "was renamed to hf://new/name" in refused.err) == (1, True)
    assert slmctl("list", "--json").json["models"][0]["digest"] == again["digest"]


def test_builds_of_a_model_of_the_library_stay_chosen(slmctl: Program, hub: FakeHub) -> None:
    """They lie in several repositories, and are one model under one name."""
    assert slmctl("pull", "qwen3:0.6b").code == 0
    usual = ids(slmctl, "qwen3:0.6b")
    assert slmctl("pull", "qwen3:0.6b", "--variant", "q8_0").code == 0
    other = ids(slmctl, "qwen3:0.6b")
    assert (len(usual), len(other), usual + other[1:]) == (1, 2, other)
    assert slmctl("pull", "qwen3:0.6b", "--variant", "q8_0", "--force").code == 0
    assert ids(slmctl, "qwen3:0.6b") == other[1:]
    assert slmctl("pull", "qwen3:0.6b").code == 0
    assert ids(slmctl, "qwen3:0.6b") == other[1:]
    assert slmctl("pull", "qwen3:0.6b", "--variant", "q8_0", "--variant", "q4_k_m").code == 0
    both = ids(slmctl, "qwen3:0.6b")
    assert both == other
    for again in (["pull", "qwen3:0.6b"], ["pull", "--all"]):
        assert slmctl(*again, "--json").json["models"][0]["changed"] is False
        assert ids(slmctl, "qwen3:0.6b") == both


def test_what_the_library_adds_stays_under_another_name(
    slmctl: Program, hub: FakeHub, tmp_path: Path
) -> None:
    assert slmctl("pull", "qwen3:0.6b", "--as", "mine").code == 0
    assert "PARAMETER" in slmctl("show", "mine", "--modelfile").out
    again = slmctl("pull", "--all", "--json").json["models"][0]
    assert (again["name"], again["changed"]) == ("mine:latest", False)
    lock = tmp_path / "models.lock"
    assert slmctl("lock", "mine", "-o", str(lock)).code == 0
    assert slmctl("rm", "mine").code == 0
    done = slmctl("pull", "--lock", str(lock), "--json").json
    assert [each["digest"] for each in done["models"]] == [again["digest"]]


def test_a_bare_name_is_looked_for_in_one_place_after_the_other(
    slmctl: Program, hub: FakeHub, tiny_model: Path
) -> None:
    author = Program(slmctl.home.parent / "author", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    author.go_online()
    assert author("create", "m", "--from", str(tiny_model)).code == 0
    with fake_registry() as empty, fake_registry() as full:
        assert author("push", "m", f"http://{full.server.place}/b/mine:latest").code == 0
        places = f"http://{empty.server.place}/a,http://{full.server.place}/b"
        slmctl.environment["SLMCTL_NAMES_SEARCH"] = places
        done = slmctl("pull", "mine")
        assert done.code == 0, done.err
        assert [request.path for request in empty.requests] == ["/v2/a/mine/manifests/latest"]
        model = slmctl("list", "--json").json["models"][0]
        assert model["source"].startswith(f"http://{full.server.place}/b/mine")
        assert slmctl("tags", "other").code == 3
        missing = slmctl("pull", "other")
        assert (missing.code, empty.server.place in missing.err) == (3, True)
        assert any(request.path == "/v2/b/other/manifests/latest" for request in full.requests)
