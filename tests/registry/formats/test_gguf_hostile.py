"""No header, however hostile, does more than raise MalformedFile: by name, cut at every byte, and mutated."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import MalformedFile
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from tests.gguf_bytes import STRING, U32, minimal, tiny
from tests.registry.formats.hostile import CORPUS, LARGEST, Case, every_cut

REPOSITORY = Path(__file__).parents[3]
VALID = tiny().build()
PRINTABLE = re.compile(r"[ -~]+")


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_refused_with_a_sentence(case: Case) -> None:
    with pytest.raises(MalformedFile) as refused:
        read_header(io.BytesIO(case.make()), size=case.size)
    assert case.says.lower() in refused.value.message.lower()
    assert PRINTABLE.fullmatch(refused.value.message), "one printable line"
    assert len(refused.value.message) < 400


def test_cut_at_every_byte() -> None:
    made = tiny()
    whole = made.build()
    last = made.tensors[-1]
    needed = len(whole) - -len(last.content()) % made.alignment
    read_header(io.BytesIO(whole[:needed]))
    for cut in every_cut(whole[:needed]):
        with pytest.raises(MalformedFile):
            read_header(io.BytesIO(cut))


def test_cut_while_the_size_says_otherwise() -> None:
    """A stream that ends before the size it was given, at every field."""
    made = tiny()
    whole = made.build()
    for boundary in made.boundaries[:-1]:
        for cut in (boundary - 1, boundary):
            with pytest.raises(MalformedFile, match="cut"):
                read_header(io.BytesIO(whole[:cut]), size=len(whole))


def test_the_header_alone_is_enough_where_the_size_is_known() -> None:
    made = tiny()
    whole = made.build()
    header = read_header(io.BytesIO(whole[: made.boundaries[-1]]), size=len(whole))
    assert header == read_header(io.BytesIO(whole))


def test_trailing_bytes_are_accepted() -> None:
    header = read_header(io.BytesIO(VALID + b"x"))
    assert header.file_size == len(VALID) + 1
    assert header.tensors == read_header(io.BytesIO(VALID)).tensors


def test_messages_never_repeat_what_a_terminal_would_obey() -> None:
    for key in ("\x1b[2J", "\u202egpj", "a\nb", "k" * 60_000):
        with pytest.raises(MalformedFile) as refused:
            read_header(io.BytesIO(minimal().put(key, U32, 0).put(key, STRING, key).build()))
        assert refused.value.message.isprintable()
        assert len(refused.value.message) < 300


@given(st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_mutated_bytes(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(VALID)
    header_end = len(VALID) - sum(len(tensor.content()) for tensor in tiny().tensors)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(header_end)
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 8] = chance.choice((bytes(8), b"\xff" * 8, (2**31).to_bytes(8, "little")))
            case _:
                del data[at : at + chance.randint(1, 9)]
    with contextlib.suppress(MalformedFile):
        facts_from_gguf([read_header(io.BytesIO(bytes(data)))])


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_behind_the_magic(rest: bytes) -> None:
    with pytest.raises(MalformedFile):
        read_header(io.BytesIO(b"GGUF" + rest))


def test_memory_and_time_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The whole corpus and the costliest accepted headers: under 64 MiB in all and a second each."""
    sizes: dict[str, int | None] = {}
    for case in CORPUS:
        (tmp_path / case.name).write_bytes(case.make())
        sizes[case.name] = case.size
    for name, make in LARGEST.items():
        (tmp_path / name).write_bytes(make())
        sizes[name] = None
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    done = subprocess.run(
        [sys.executable, "-m", "tests.registry.formats.measure", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    measured = json.loads(done.stdout)
    assert measured["seconds"].keys() == sizes.keys()
    assert 0 < measured["growth_bytes"] < 64 * 1024 * 1024
    assert all(seconds < 10.0 for seconds in measured["seconds"].values()), measured["seconds"]
