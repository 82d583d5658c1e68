"""Hostile and broken GGUF files through the command line: exit 5, a sentence, soon, in little memory."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gguf_bytes import minimal, tiny
from tests.registry.formats.hostile import CORPUS, Case
from tests.slmctl.cli.program import REPOSITORY, Program

DEADLINE_SECONDS = 10.0
"""Ten times the second that a refusal may take."""

GROWTH_BYTES = 64 << 20
"""What a hostile file may take more than a harmless one that is refused."""


def refuse(slmctl: Program, path: Path) -> int:
    """Create a model from a file that must be refused; gives the peak of the memory it took, in bytes."""
    report = path.with_name("peak")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.slmctl.cli.measured", str(report), "create", "x", "--from", str(path)],
        cwd=REPOSITORY,
        env=slmctl.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert time.monotonic() - start < DEADLINE_SECONDS
    assert (done.returncode, done.stdout) == (5, b""), done.stderr
    sentence, hint = done.stderr.decode().splitlines()
    assert sentence.startswith("slmctl: ")
    assert sentence.isprintable()
    assert hint.strip()
    return int(report.read_text())


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The memory that the refusal of a harmless file takes."""
    folder = tmp_path_factory.mktemp("harmless")
    path = folder / "short.gguf"
    path.write_bytes(tiny().build()[:-1])
    return refuse(Program(folder / "home", folder), path)


def test_cuts_at_every_field_and_at_random_places(slmctl: Program, tmp_path: Path, harmless: int) -> None:
    builder = tiny()
    whole = builder.build()
    chance = random.Random(1)
    cuts = {cut for cut in builder.boundaries if cut < len(whole)}
    cuts |= {chance.randrange(len(whole)) for _ in range(100)}
    path = tmp_path / "cut.gguf"
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        assert refuse(slmctl, path) - harmless < GROWTH_BYTES, cut
    assert not slmctl.store.exists()


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_hostile_headers(slmctl: Program, tmp_path: Path, harmless: int, case: Case) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(case.make())
    if case.size is not None:  # holes as far as the header pretends
        with path.open("r+b") as stream:
            stream.truncate(case.size)
    assert refuse(slmctl, path) - harmless < GROWTH_BYTES
    assert not slmctl.store.exists()


def test_a_sparse_file_of_a_terabyte_is_not_copied(slmctl: Program, tmp_path: Path) -> None:
    """A valid header with a terabyte of nothing behind it: there is no room, and that is known at once."""
    path = tmp_path / "huge.gguf"
    path.write_bytes(minimal().build())
    with path.open("r+b") as stream:
        stream.truncate(1 << 40)
    start = time.monotonic()
    outcome = slmctl("create", "x", "--from", str(path))
    assert time.monotonic() - start < DEADLINE_SECONDS
    assert outcome.code == 1
    assert "no space left" in outcome.err
    assert list((slmctl.store / "ingest").iterdir()) == []
    assert list((slmctl.store / "blobs" / "sha256").iterdir()) == []
