"""Hostile and broken folders of safetensors through the command line: exit 5, a sentence, nothing written."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtimes.convert.folders import llama
from tests.slmctl.cli.program import Program

SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


def rewrite_header(folder: Path, change: Callable[[dict[str, dict[str, list[int]]]], object]) -> None:
    """Change a shard's table and leave its data."""
    raw = (folder / SHARD).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    table = json.loads(raw[8 : 8 + length])
    change(table)
    header = json.dumps(table).encode()
    (folder / SHARD).write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])


def cut(folder: Path) -> None:
    raw = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(raw[: len(raw) // 2])


def overlap(folder: Path) -> None:
    def change(table: dict[str, dict[str, list[int]]]) -> None:
        first, second = [entry for name, entry in table.items() if name != "__metadata__"][:2]
        second["data_offsets"] = first["data_offsets"]
        second["shape"] = first["shape"]

    rewrite_header(folder, change)


def endless_header(folder: Path) -> None:
    raw = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(struct.pack("<Q", 2**63) + raw[8:])


def traversal(folder: Path) -> None:
    (folder.parent / "outside.safetensors").write_bytes((folder / SHARD).read_bytes())
    index = json.loads((folder / INDEX).read_text())
    moved = {
        name: file.replace(SHARD, "../outside.safetensors") for name, file in index["weight_map"].items()
    }
    (folder / INDEX).write_text(json.dumps({"weight_map": moved}))


def renamed_pickle(folder: Path) -> None:
    (folder / SHARD).write_bytes(pickle.dumps({"weights": [1.0]}, protocol=4))


def only_pickles(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": [1.0]}, protocol=4))


def link_out(folder: Path) -> None:
    (folder.parent / "outside.safetensors").write_bytes((folder / SHARD).read_bytes())
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to("../outside.safetensors")


def link_to_a_secret(folder: Path) -> None:
    (folder / "chat_template.jinja").symlink_to("/etc/passwd")


def missing_shard(folder: Path) -> None:
    (folder / SHARD).unlink()


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"hidden_size": ')


def wrong_numbers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": -64}))


CASES = [
    cut, overlap, endless_header, traversal, renamed_pickle, only_pickles, link_out, link_to_a_secret,
    missing_shard, no_json, wrong_numbers,
]  # fmt: skip


def written(store: Path) -> list[str]:
    """Files of the store that hold something of a model."""
    folders = ("blobs", "ingest")
    return [str(path) for name in folders for path in (store / name).rglob("*") if path.is_file()]


@pytest.mark.parametrize("spoil", CASES, ids=lambda spoil: spoil.__name__)
def test_nothing_is_made_of_it(spoil: Callable[[Path], None], slmctl: Program, tmp_path: Path) -> None:
    folder = llama(tmp_path / "model", shards=3)
    spoil(folder)
    for command in (
        ("convert", str(folder), "--to", "gguf", "-o", "x"),
        ("create", "x", "--from", str(folder), "-q", "q4_0"),
    ):
        done = slmctl(*command)
        assert (done.code, done.out) == (5, ""), (command, done.err)
        lines = [line for line in done.err.splitlines() if line]
        assert lines[-2].startswith("slmctl: ")
        assert lines[-1].strip()
        assert "Traceback" not in done.err
        assert written(slmctl.store) == []
    assert slmctl("list", "--json").json["models"] == []
