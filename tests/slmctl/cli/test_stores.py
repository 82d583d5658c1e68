"""SLMCTL_STORES: further stores, read and never written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmctl.app.ships import FOLDER
from tests.slmctl.cli.program import Program


@pytest.fixture
def shared(slmctl: Program, tiny_model: Path, tmp_path: Path) -> Program:
    """A program with a home of its own whose store has `theirs`; it is `slmctl`'s further store."""
    other = Program(tmp_path / "shared", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    assert other("create", "theirs", "--from", str(tiny_model)).code == 0
    slmctl.environment["SLMCTL_STORES"] = str(other.store)
    return other


def snapshot(program: Program) -> dict[str, tuple[int, int]]:
    paths = [program.store, *program.store.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths}


def rows(program: Program) -> dict[str, str | None]:
    return {model["name"]: model.get("store") for model in program("list", "--json").json["models"]}


def test_models_of_a_further_store_are_used_where_they_lie(slmctl: Program, shared: Program) -> None:
    before = snapshot(shared)
    assert rows(slmctl) == {"theirs:latest": str(shared.store)}
    assert str(shared.store) in slmctl("list").out
    assert slmctl("show", "theirs").code == 0
    assert slmctl("run", "theirs", "--max-tokens", "2", "x").code == 0
    assert slmctl("run", "theirs", "--verify", "--max-tokens", "2", "x").code == 0
    assert slmctl("verify", "theirs").code == 0
    assert not (slmctl.store / "blobs").exists()
    assert snapshot(shared) == before


def test_notes_of_a_further_store_stay_as_they_are(slmctl: Program, tmp_path: Path) -> None:
    """Of files that it borrows, and that were touched: whoever looks after it writes its notes anew."""
    other = Program(tmp_path / "shared", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    models = tmp_path / "models"
    weights = models / "org" / "theirs" / "theirs-F16.gguf"
    weights.parent.mkdir(parents=True)
    shutil.copyfile(FOLDER / "hello" / "hello.gguf", weights)
    assert other("adopt", str(models)).code == 0
    slmctl.environment["SLMCTL_STORES"] = str(other.store)
    os.utime(weights, ns=(1, 1))
    before = snapshot(other)
    name = "hf.co/org/theirs:F16"
    assert slmctl("run", name, "--max-tokens", "2", "x").code == 0
    assert slmctl("verify", str(other.store)).code == 0
    assert snapshot(other) == before
    assert other("run", name, "--max-tokens", "2", "x").code == 0
    assert snapshot(other) != before


def test_the_own_name_counts_first(slmctl: Program, shared: Program, tmp_path: Path) -> None:
    assert slmctl("create", "Theirs", "--from", "theirs").code == 0
    assert rows(slmctl) == {"Theirs:latest": None}
    assert slmctl("rm", "theirs").code == 0
    assert rows(slmctl) == {"theirs:latest": str(shared.store)}


@pytest.mark.parametrize("way", ["cp", "create"])
def test_a_name_of_ones_own_needs_bytes_of_ones_own(slmctl: Program, shared: Program, way: str) -> None:
    command = ("cp", "theirs", "mine") if way == "cp" else ("create", "mine", "--from", "theirs")
    assert slmctl(*command).code == 0
    shutil.rmtree(shared.store)
    outcome = slmctl("run", "mine", "--verify", "--max-tokens", "2", "x")
    assert outcome.code == 0
    assert "left out" in outcome.err
    assert slmctl("verify", "mine").code == 0


def test_what_is_damaged_there_does_not_come_here(slmctl: Program, shared: Program) -> None:
    weights = max((shared.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    for command in (("cp", "theirs", "mine"), ("create", "mine", "--from", "theirs")):
        assert slmctl(*command).code == 5
        assert rows(slmctl) == {"theirs:latest": str(shared.store)}
        assert list((slmctl.store / "blobs" / "sha256").iterdir()) == []
    outcome = slmctl("verify", "theirs", "--json")
    assert (outcome.code, outcome.json["findings"][0]["quarantined"]) == (5, None)
    assert weights.exists()
    assert slmctl("verify", "theirs", "--repair").code == 2


def test_rm_says_that_it_is_not_here(slmctl: Program, shared: Program) -> None:
    before = snapshot(shared)
    outcome = slmctl("rm", "theirs")
    assert outcome.code == 1
    assert "further store" in outcome.err
    assert snapshot(shared) == before
    assert slmctl("rm", "nosuch").code == 3


@pytest.mark.parametrize("what", ["away", "a file", "damaged", "newer"])
def test_a_further_store_that_cannot_be_read_is_a_note(
    slmctl: Program, shared: Program, tiny_model: Path, what: str
) -> None:
    assert slmctl("create", "mine", "--from", str(tiny_model)).code == 0
    if what == "damaged":
        (shared.store / "index.json").write_bytes(b"{")
        (shared.store / "index.json.1").unlink(missing_ok=True)
    elif what == "newer":
        (shared.store / "slmctl.json").write_text('{"version": 99}')
    else:
        shutil.rmtree(shared.store)
        if what == "a file":
            shared.store.write_text("no store")
    outcome = slmctl("list")
    assert outcome.code == 0
    assert "mine" in outcome.out
    assert "left out" in outcome.err
    assert slmctl("run", "mine", "--max-tokens", "2", "x").code == 0
    assert slmctl("verify").code == 0


def test_lost_bytes_come_from_a_further_store(slmctl: Program, shared: Program) -> None:
    assert slmctl("cp", "theirs", "mine").code == 0
    for path in (slmctl.store / "blobs" / "sha256").iterdir():
        path.unlink()
    outcome = slmctl("verify", "--repair", "--json")
    assert outcome.code == 0
    assert {finding["repaired"] for finding in outcome.json["findings"]} == {f"the store {shared.store}"}
    assert slmctl("run", "mine", "--verify", "--max-tokens", "2", "x").code == 0


def test_bundles_are_made_of_models_there(slmctl: Program, shared: Program, tmp_path: Path) -> None:
    assert slmctl("export", "theirs", "-o", str(tmp_path / "b.tar")).code == 0
    assert slmctl("verify", str(tmp_path / "b.tar")).code == 0


def test_several_and_settings(slmctl: Program, shared: Program, tmp_path: Path) -> None:
    slmctl.environment["SLMCTL_STORES"] = f"{tmp_path / 'none'}::{shared.store}:{slmctl.store}"
    assert rows(slmctl) == {"theirs:latest": str(shared.store)}
    settings = {row["key"]: row["value"] for row in slmctl("config", "list", "--json").json["settings"]}
    assert settings["stores"] == f"{tmp_path / 'none'}:{shared.store}:{slmctl.store}"


@pytest.fixture
def read_only(shared: Program) -> Iterator[Program]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    path = str(shared.home)
    subprocess.run(["mount", "--bind", path, path], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
    yield shared
    subprocess.run(["umount", path], check=True)


@pytest.mark.root
def test_a_read_only_mount_without_locks(slmctl: Program, read_only: Program) -> None:
    assert slmctl("run", "theirs", "--verify", "--max-tokens", "2", "x").code == 0
    assert slmctl("verify", str(read_only.store)).code == 0
    assert slmctl("cp", "theirs", "mine").code == 0
    assert rows(slmctl)["mine:latest"] is None
    assert read_only("verify").code == 0
    assert read_only("gc", "--dry-run").code == 0
    assert read_only("gc").code == 1
