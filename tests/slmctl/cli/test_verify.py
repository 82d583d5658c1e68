"""`slmctl verify`, `verify --repair` and `gc` as a user sees them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from registry.manifest import Descriptor
from registry.store.store import Replace, Store
from tests.slmctl.cli.program import Program


@pytest.fixture
def tiny(slmctl: Program, tiny_model: Path, tmp_path: Path) -> Program:
    """A model `tiny` made of `mine.gguf`."""
    shutil.copy(tiny_model, tmp_path / "mine.gguf")
    assert slmctl("create", "tiny", "--from", str(tmp_path / "mine.gguf")).code == 0
    return slmctl


def blobs(program: Program) -> dict[str, Path]:
    """The blobs of `tiny` by what they are."""
    variant = program("show", "tiny", "--json").json["variants"][0]
    found = {file["role"]: file["digest"] for file in variant["files"]}
    manifest = json.loads(path_of(program, variant["digest"]).read_bytes())
    return {
        "weights": path_of(program, found["weights"]),
        "spec": path_of(program, found["config"]),
        "manifest": path_of(program, variant["digest"]),
        "config": path_of(program, manifest["config"]["digest"]),
    }


def path_of(program: Program, digest: str) -> Path:
    return program.store / "blobs" / "sha256" / digest.removeprefix("sha256:")


def spoil(path: Path, position: int = 20) -> None:
    """Turn two bits."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    data[position + 1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def kinds(program: Program, *arguments: str) -> list[str]:
    return [finding["kind"] for finding in program("verify", *arguments, "--json").json["findings"]]


def test_a_whole_store(tiny: Program) -> None:
    outcome = tiny("verify")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("1 model, 4 files, ")
    assert outcome.out.endswith("nothing is damaged or missing\n")
    document = tiny("verify", "tiny", "--json").json
    assert (document["well"], document["names"], document["blobs"]) == (True, 1, 4)


def test_an_empty_home(slmctl: Program) -> None:
    assert slmctl("verify").code == 0
    assert slmctl("gc").out == "nothing to free\n"
    assert not slmctl.store.exists()


def test_damage_is_told_and_moved_and_run_says_what_to_do(tiny: Program) -> None:
    weights = blobs(tiny)["weights"]
    spoil(weights)
    outcome = tiny("verify", "--progress", "json")
    assert outcome.code == 5
    assert "damaged" in outcome.out
    assert "tiny" in outcome.out
    assert "--repair" in outcome.err
    assert '"event": "verify"' in outcome.err
    assert not weights.exists()
    document = tiny("verify", "--json")
    assert document.code == 5
    assert document.json["findings"][0]["kind"] == "missing"
    assert document.json["findings"][0]["needed_by"] == [{"name": "tiny:latest", "variant": "gguf-f32"}]
    run = tiny("run", "tiny", "x")
    assert run.code == 3
    assert run.hint
    assert tiny("list", "--json").json["models"][0]["name"] == "tiny:latest"


def test_repair_from_the_users_file(tiny: Program, tmp_path: Path) -> None:
    weights = blobs(tiny)["weights"]
    spoil(weights)
    outcome = tiny("verify", "--repair", "--json")
    assert outcome.code == 0
    (finding,) = outcome.json["findings"]
    assert (finding["kind"], finding["repaired"]) == ("damaged", str(tmp_path / "mine.gguf"))
    assert weights.read_bytes() == (tmp_path / "mine.gguf").read_bytes()
    assert tiny("run", "tiny", "--verify", "--max-tokens", "2", "x").code == 0
    assert kinds(tiny) == []
    assert len(list((tiny.store / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("what", ["changed", "gone", "shorter", "a folder", "a fifo"])
def test_the_users_file_is_not_believed(tiny: Program, tmp_path: Path, what: str) -> None:
    weights, mine = blobs(tiny)["weights"], tmp_path / "mine.gguf"
    weights.unlink()
    status = mine.stat()
    if what == "changed":
        spoil(mine, 1000)
        os.utime(mine, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had happened
    elif what == "shorter":
        os.truncate(mine, 1000)
    else:
        mine.unlink()
        if what == "a folder":
            mine.mkdir()
        elif what == "a fifo":
            os.mkfifo(mine)
    outcome = tiny("verify", "--repair")
    assert outcome.code == 5
    assert "missing" in outcome.out
    assert not weights.exists()
    assert not any((tiny.store / "ingest").iterdir())


def test_hints_go_with_their_blobs_and_are_private(tiny: Program) -> None:
    (hint,) = (tiny.store / "cache" / "origins").iterdir()
    assert hint.stat().st_mode & 0o077 == 0
    assert tiny("rm", "tiny").code == 0
    assert list((tiny.store / "cache" / "origins").iterdir()) == []


@pytest.mark.parametrize("part", ["config", "spec", "manifest"])
def test_repair_of_small_files(tiny: Program, part: str) -> None:
    """What follows from the manifest is made again; of a manifest, one flipped bit can be turned back."""
    path = blobs(tiny)[part]
    whole = path.read_bytes()
    spoil(path)
    outcome = tiny("verify", "--repair")
    if part == "manifest":
        assert outcome.code == 5
        path.write_bytes(whole[:70] + bytes([whole[70] ^ 4]) + whole[71:])
        outcome = tiny("verify", "--repair")
    assert outcome.code == 0, outcome.err
    assert path.read_bytes() == whole
    assert kinds(tiny) == []


def test_repair_of_what_comes_with_slmctl(slmctl: Program) -> None:
    assert slmctl("show", "hello").code == 0
    for path in (slmctl.store / "blobs" / "sha256").iterdir():
        spoil(path)
    assert slmctl("verify", "--repair").code == 0
    assert slmctl("run", "hello", "--verify", "--max-tokens", "2", "x").code == 0


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, "torn"])
def test_repair_of_the_table_of_names(tiny: Program, damage: bytes | str) -> None:
    for name in ("b", "c", "d"):
        assert tiny("cp", "tiny", name).code == 0
    index = tiny.store / "index.json"
    raw = index.read_bytes()
    index.write_bytes(raw[:-3] if isinstance(damage, str) else damage)
    assert tiny("verify").code == 5
    refused = tiny("gc")
    assert refused.code == 5
    assert "Nothing was freed" in refused.err
    assert tiny("verify", "--repair").code == 0
    names = {model["name"] for model in tiny("list", "--json").json["models"]}
    assert names >= {"tiny:latest", "b:latest", "c:latest"}
    if damage == "torn":
        assert "d:latest" in names, "its line is whole"
    assert tiny("verify").code == 0
    assert (tiny.store / "index.json.damaged").exists()


def test_repair_of_both_tables(tiny: Program) -> None:
    assert tiny("cp", "tiny", "b").code == 0
    for name in ("index.json", "index.json.1"):
        path = tiny.store / name
        path.write_bytes(path.read_bytes()[:-3])
    assert tiny("list").code == 1
    assert tiny("verify", "--repair").code == 0
    assert {model["name"] for model in tiny("list", "--json").json["models"]} == {"tiny:latest", "b:latest"}


def test_a_removed_name_does_not_come_back(tiny: Program) -> None:
    assert tiny("cp", "tiny", "b").code == 0
    assert tiny("create", "other", "--from", "tiny", "--force").code == 0
    other = tiny("show", "hello").code
    assert other == 0
    assert tiny("rm", "hello").code == 0
    (tiny.store / "index.json").write_bytes(b"")
    assert tiny("verify", "--repair").code == 0
    names = {model["name"] for model in tiny("list", "--json").json["models"]}
    assert "hello:latest" not in names


# Bundles and digests


def test_a_bundle_where_it_lies(tiny: Program, tmp_path: Path) -> None:
    digest = tiny("show", "tiny", "--json").json["digest"]
    for bundle in (tmp_path / "b.tar", tmp_path / "b"):
        assert tiny("export", "tiny", "-o", f"{bundle}{'' if bundle.suffix else '/'}").code == 0
        assert tiny("verify", str(bundle)).code == 0
        assert tiny("verify", str(bundle), "--digest", digest).code == 0
        wrong = tiny("verify", str(bundle), "--digest", "0" * 64, "--json")
        assert (wrong.code, wrong.json["error"]["code"]) == (5, "digest_mismatch")
        if bundle.is_dir():
            spoil(
                next(path for path in (bundle / "blobs" / "sha256").iterdir() if path.stat().st_size > 9999),
                5000,
            )
        else:
            spoil(bundle, bundle.stat().st_size // 2)
        assert tiny("verify", str(bundle)).code == 5
        assert tiny("verify", str(bundle), "--digest", digest).code == 5
        refused = tiny("verify", str(bundle), "--repair")
        assert refused.code == 2
    assert not (tmp_path / "b" / "quarantine").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nosuch",), 3),
        (("./nosuch.tar",), 3),
        (("tiny", "--digest", "sha256:1"), 2),
        (("tiny", "--digest", "0" * 64), 5),
        (("/etc/passwd",), 5),
    ],
)
def test_what_is_not_there(tiny: Program, arguments: tuple[str, ...], code: int) -> None:
    outcome = tiny("verify", *arguments)
    assert outcome.code in ({code, 2} if arguments[0] == "/etc/passwd" else {code})
    assert outcome.hint


def test_a_digest_without_its_algorithm(tiny: Program) -> None:
    digest = tiny("show", "tiny", "--json").json["digest"]
    assert tiny("verify", "tiny", "--digest", digest.removeprefix("sha256:")).code == 0


# Garbage


def test_gc_says_what_it_frees(tiny: Program) -> None:
    blob = tiny.store / "blobs" / "sha256" / ("0" * 64)
    blob.write_bytes(b"x" * 2000)
    dry = tiny("gc", "--dry-run")
    assert dry.out == "would free 2.0 kB:\n  1 file that no model needs, 2.0 kB\n"
    assert blob.exists()
    document = tiny("prune", "--json").json
    assert (document["freed"], [each["kind"] for each in document["garbage"]]) == (2000, ["blob"])
    assert not blob.exists()
    assert tiny("gc").out == "nothing to free\n"
    assert kinds(tiny) == []


def test_df(tiny: Program) -> None:
    assert tiny("cp", "tiny", "two").code == 0
    assert tiny("show", "hello").code == 0
    document = tiny("df", "--json").json
    costs = {row["name"]: (row["alone"], row["shared"]) for row in document["models"]}
    assert costs["tiny:latest"] == costs["two:latest"]
    assert costs["tiny:latest"][0] == 0
    assert costs["hello:latest"][1] == 0
    totals = document["totals"]
    assert totals["models"] == costs["hello:latest"][0] + costs["two:latest"][1]
    assert totals["shared"] == costs["two:latest"][1]
    assert totals["total"] == sum(path.stat().st_size for path in tiny.store.rglob("*") if path.is_file())
    assert [row["name"] for row in tiny("df", "hello", "--json").json["models"]] == ["hello:latest"]
    assert tiny("df", "nosuch").code == 3
    outcome = tiny("df")
    assert outcome.out.startswith("NAME ")
    freed = tiny("rm", "hello", "--json").json["freed"]
    assert freed == costs["hello:latest"][0]


def test_facts_that_contradict_the_header_are_named(tiny: Program) -> None:
    """Another tool's manifest, say; the bytes are as they should be."""
    store = Store(tiny.store)
    entry = store.names().entries["tiny:latest"]
    raw = store.read_blob(entry.descriptor)
    lie = raw.replace(b'\\"layers\\":', b'\\"layers\\":9')
    assert lie != raw
    with store.session("test") as session:
        descriptor = Descriptor(
            media_type=entry.descriptor.media_type, digest=session.put(lie), size=len(lie)
        )
        store.link(
            "lie:latest", descriptor, source=None, linked=entry.linked or "", replace_rule=Replace.NOTHING
        )
    outcome = tiny("verify", "--json")
    assert outcome.code == 0
    (finding,) = outcome.json["findings"]
    assert (finding["kind"], finding["needed_by"][0]["name"]) == ("contradiction", "lie:latest")
    assert "the header counts" in outcome.err
