"""Sharded sets: found by their names, whole only when names, numbers and tensors agree."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from registry.errors import MalformedFile
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.shards import ShardName, check_shards, find_shards
from tests.gguf_bytes import STRING, U16, U32, Builder


def _part(number: object, count: object = 3, tensors: object = 3, *, name: str | None = None) -> GgufHeader:
    made = Builder()
    if number == 0:
        made.put("general.architecture", STRING, "llama").put("llama.block_count", U32, 3)
    for key, value in (("split.no", number), ("split.count", count), ("split.tensors.count", tensors)):
        if isinstance(value, str):
            made.put(key, STRING, value)
        elif isinstance(value, int):
            made.put(key, U16, value)
    made.tensor(name or f"blk.{number}.attn_q.weight", (32, 4))
    return read_header(io.BytesIO(made.build()))


WHOLE = [_part(0), _part(1), _part(2)]


def test_a_whole_set() -> None:
    check_shards(WHOLE)
    facts = facts_from_gguf(WHOLE)
    assert (facts.layers, facts.parameters) == (3, 3 * 128)


def test_a_single_file() -> None:
    check_shards([_part(0, None, None)])
    check_shards([_part(0, 1, 1)])


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "no file"),
        ([_part(0)], "in 3 files, but 1"),
        (WHOLE[:2], "in 3 files, but 2"),
        ([*WHOLE, _part(2)], "in 3 files, but 4"),
        ([WHOLE[0], WHOLE[2], WHOLE[1]], "Part 2 of 3 says by its split.no, 2"),
        ([WHOLE[0], WHOLE[1], WHOLE[1]], "Part 3 of 3 says by its split.no, 1"),
        ([WHOLE[0], WHOLE[1], _part(2, 4)], "Part 3 of 3 says by its split.count that there are 4"),
        ([WHOLE[0], WHOLE[1], _part(2, None)], "split.count that there are None"),
        ([WHOLE[0], WHOLE[1], _part(2, 3, 4)], "Part 3 says that the parts hold 4 tensors, but they hold 3"),
        ([WHOLE[0], WHOLE[1], _part(2, name="blk.0.attn_q.weight")], "Two parts hold the tensor"),
        ([_part(0, "3")], "it takes a whole number"),
    ],
)
def test_not_whole(headers: list[GgufHeader], says: str) -> None:
    with pytest.raises(MalformedFile, match=says):
        check_shards(headers)


def test_found_from_any_member(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.touch()
    (tmp_path / "m-00001-of-00004.gguf").touch()
    for part in parts:
        assert find_shards(part) == parts
    single = tmp_path / "m.gguf"
    assert find_shards(single) == [single]


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00002.gguf").touch()
    with pytest.raises(MalformedFile, match="m-00002-of-00002"):
        find_shards(tmp_path / "m-00001-of-00002.gguf")


def test_only_siblings_are_looked_at(tmp_path: Path) -> None:
    """A prefix cannot lead out of the folder: a name has no folders in it."""
    assert ShardName.parse("../x-00001-of-00002.gguf") is None
    assert ShardName.parse("..\\x-00001-of-00002.gguf") is None
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "m-00002-of-00002.gguf").touch()
    (inner / "m-00001-of-00002.gguf").touch()
    with pytest.raises(MalformedFile, match="missing"):
        find_shards(inner / "m-00001-of-00002.gguf")


@pytest.mark.parametrize("name", ["m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-00001-of-99999.gguf"])
def test_impossible_numbers(name: str) -> None:
    with pytest.raises(MalformedFile, match="a set has 1 to 1000 parts"):
        ShardName.parse(name)


@pytest.mark.parametrize(
    "name",
    [
        "m.gguf",
        "m-1-of-3.gguf",
        "-00001-of-00002.gguf",
        "m-00001-of-00002.bin",
        "m-\N{ARABIC-INDIC DIGIT ONE}0000-of-00002.gguf",
    ],
)
def test_other_names(name: str) -> None:
    assert ShardName.parse(name) is None


def test_names_round_trip() -> None:
    name = ShardName.parse("Qwen-00002-of-00010.gguf")
    assert name == ShardName(prefix="Qwen", number=2, count=10)
    assert name is not None
    assert name.sibling(10) == "Qwen-00010-of-00010.gguf"
