"""Models in a bundle, used where it lies."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from pathlib import Path

import pytest

from tests.bundles import small
from tests.processes import until, wait_until_gone, worker_of
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model, write_random_shards

_LEFT = {"logs", "history.json", "history.lock"}
"""What a run leaves in slmctl's home: what the engine wrote, and what it taught."""


@pytest.fixture(params=["folder", "tar"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def export(program: Program, kind: str, tmp_path: Path, *names: str) -> str:
    """A bundle of models, which are then gone from the store."""
    target = str(tmp_path / "out.tar") if kind == "tar" else f"{tmp_path}/out/"
    assert program("export", *names, "-o", target).code == 0
    assert program("rm", *names).code == 0
    return target.rstrip("/")


@pytest.fixture
def one(slmctl: Program, tiny_model: Path, tmp_path: Path, kind: str) -> str:
    assert slmctl("create", "one", "-f", "-", stdin=f"FROM {tiny_model}\nSYSTEM terse".encode()).code == 0
    return export(slmctl, kind, tmp_path, "one")


def test_a_bundle_with_one_model_runs(slmctl: Program, one: str, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if not _LEFT & set(path.parts))
    answer = slmctl("run", one, "--max-tokens", "3", "--seed", "1", "hello", "--json").json
    assert (answer["model"], answer["generated_tokens"]) == ("one:latest", 3)
    for path in (f"file://{one}", f"{one}:one", f"{one}:one:latest", f"{one}:one@{answer['digest']}"):
        again = slmctl("run", path, "--max-tokens", "3", "--seed", "1", "hello", "--json").json
        assert again["response"] == answer["response"]
    assert slmctl("run", one, "--verify", "--max-tokens", "1", "hello").code == 0
    relative = slmctl("run", f"./{Path(one).name}", "--max-tokens", "1", "x", cwd=Path(one).parent)
    assert relative.code == 0, relative.err
    assert slmctl("list", "--json").json["models"] == []
    after = sorted(path for path in tmp_path.rglob("*") if not _LEFT & set(path.parts))
    assert after == before, "no copy is left, and nothing was imported"


def test_show_and_render_read_it(slmctl: Program, tmp_path: Path, kind: str) -> None:
    write_random_model(
        tmp_path / "chat.gguf", chat_template="{% for m in messages %}<{{ m.content }}>{% endfor %}"
    )
    assert slmctl("create", "chat", "--from", str(tmp_path / "chat.gguf")).code == 0
    shown = slmctl("show", "chat", "--json").json
    path = export(slmctl, kind, tmp_path, "chat")
    there = slmctl("show", path, "--json").json
    assert there["digest"] == shown["digest"]
    assert there["variants"] == shown["variants"]
    messages = json.dumps([{"role": "user", "content": "hi"}]).encode()
    assert slmctl("render", path, "--messages", "-", stdin=messages).out == "<hi>"
    assert "m.content" in slmctl("show", path, "--template").out


def test_several_models_are_named_behind_a_colon(
    slmctl: Program, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    names = ["a", "b:v1", "localhost:5000/t/m:v1"]
    for name in names:
        assert slmctl("create", name, "--from", str(tiny_model)).code == 0
    path = export(slmctl, kind, tmp_path, *names)
    refused = slmctl("run", path, "x")
    assert refused.code == 2
    assert "a, b:v1, localhost:5000/t/m:v1" in refused.err
    assert refused.hint == f"Name one behind a colon: {path}:a"
    for name in (*names, "A"):
        answer = slmctl("run", f"{path}:{name}", "--max-tokens", "1", "x", "--json").json
        assert answer["model"].casefold().startswith(name.casefold())
    missing = slmctl("run", f"{path}:c", "x")
    assert (missing.code, missing.hint) == (3, "It has a, b:v1, localhost:5000/t/m:v1.")
    assert slmctl("run", f"{path}:a@sha256:{'0' * 64}", "x").code == 3
    assert slmctl("run", f"{path}:../a", "x").code == 2
    assert slmctl("run", f"{path}x:a", "x").code == 3


def test_one_model_of_several_is_verified(slmctl: Program, tmp_path: Path, kind: str) -> None:
    names = ["a", "b"]
    for name in names:
        write_random_model(tmp_path / name, metadata={"general.name": name})
        assert slmctl("create", name, "--from", str(tmp_path / name)).code == 0
    weights = slmctl("show", "b", "--json").json["variants"][0]["files"][0]
    path = Path(export(slmctl, kind, tmp_path, *names))
    if kind == "tar":
        with tarfile.open(path) as archive:
            offset = archive.getmember(
                f"blobs/sha256/{weights['digest'].removeprefix('sha256:')}"
            ).offset_data
        place = path
    else:
        offset, place = 0, path / "blobs" / "sha256" / weights["digest"].removeprefix("sha256:")
        place.chmod(0o644)
    with place.open("r+b") as stream:
        stream.seek(offset + weights["size"] // 2)
        stream.write(b"damage")
    assert slmctl("verify", str(path)).code == 5
    assert slmctl("verify", f"{path}:b").code == 5
    whole = slmctl("verify", f"{path}:a", "--json")
    assert (whole.code, whole.json["names"]) == (0, 1)
    assert slmctl("verify", f"{path}:c").code == 3


def test_only_names_that_can_be_asked_for_are_proposed(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(small().renamed("a\x1b[2J", "b").to_tar())
    refused = slmctl("run", str(path), "x")
    assert (refused.code, refused.hint) == (2, f"Name one behind a colon: {path}:b")
    path.write_bytes(small().renamed("a\x1b[2J", "b\x1b[2J").to_tar())
    assert slmctl("run", str(path), "x").code == 5


def test_a_path_with_a_colon_is_a_path_first(slmctl: Program, one: str, tmp_path: Path) -> None:
    odd = tmp_path / "odd:one"
    Path(one).rename(odd)
    assert slmctl("run", str(odd), "--max-tokens", "1", "x").code == 0
    assert slmctl("run", f"{odd}:one", "--max-tokens", "1", "x").code == 0


def test_shards_and_a_store_that_cannot_be_written(slmctl: Program, tmp_path: Path, kind: str) -> None:
    parts = write_random_shards(tmp_path)
    assert slmctl("create", "parts", "--from", str(parts[0])).code == 0
    path = export(slmctl, kind, tmp_path, "parts")
    other = Program(tmp_path / "none" / "home", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    (tmp_path / "none").write_text("no folder")
    answer = other("run", path, "--max-tokens", "1", "x")
    assert answer.code == 0, answer.err


def test_a_killed_run_leaves_no_copy(slmctl: Program, one: str, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    process = slmctl.start("run", one, "tell me", "--max-tokens", "100000", "--ctx", "2000")
    worker = until(lambda: worker_of(process.pid))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert wait_until_gone(worker, 60)
    left = {path for path in set(tmp_path.rglob("*")) - before if not _LEFT & set(path.parts)}
    assert {path for path in left if path.is_file()} == set()
    assert (
        slmctl("run", one, "--max-tokens", "1", "x").code == 0
    )  # sweeps what the killed one had in the runtime folder


def test_a_kept_model_of_a_bundle_stands_for_no_other(
    slmctl: Program, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    """Nobody has hashed what lies in a bundle: it must not answer for a model of the same digest."""
    assert slmctl("create", "one", "--from", str(tiny_model)).code == 0
    target = str(tmp_path / "out.tar") if kind == "tar" else f"{tmp_path}/out/"
    assert slmctl("export", "one", "-o", target).code == 0
    try:
        assert slmctl("run", target, "--keep", "5m", "--max-tokens", "1", "x").code == 0
        assert len(slmctl("ps", "--json").json["models"]) == 1
        assert slmctl("run", target, "--keep", "5m", "--max-tokens", "1", "x").code == 0
        assert len(slmctl("ps", "--json").json["models"]) == 1, "the same bundle is used again"
        assert slmctl("run", "one", "--keep", "5m", "--max-tokens", "1", "x").code == 0
        assert len(slmctl("ps", "--json").json["models"]) == 2
    finally:
        slmctl("stop", "--all")


def test_what_is_no_bundle_is_said(slmctl: Program, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").mkdir()
    for path, code in (
        (str(tiny_model), 2),
        (str(tmp_path / "text"), 5),
        (str(tmp_path / "empty"), 5),
        (str(tmp_path / "none"), 3),
        (f"{tmp_path}/none:a", 3),
        ("~nobody-at-all/x", 1),
        ("./" + "a" * 300, 1),
        (os.devnull, 2),
    ):
        outcome = slmctl("run", path, "x")
        assert outcome.code == code, (path, outcome.err)
        assert outcome.hint
    assert f"slmctl create NAME --from {tiny_model}" in slmctl("run", str(tiny_model), "x").hint
