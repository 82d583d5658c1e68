"""Hostile and broken GGUF files through the command line: exit 5, a sentence, soon, in little memory."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gguf_bytes import tiny
from tests.registry.formats import hostile
from tests.slmctl.cli.program import REPOSITORY, Program

DEADLINE_SECONDS = 10.0  # ten times the second that it may take
GROWTH_BYTES = 64 << 20
"""What reading one file may add to the memory of a slmctl that has read a good one."""


def refused(slmctl: Program, path: Path) -> None:
    outcome = slmctl("create", "x", "--from", str(path))
    assert outcome.code == 5, (path.name, outcome)
    assert outcome.out == ""
    sentence, hint = outcome.err.splitlines()
    assert sentence.startswith("slmctl: ")
    assert sentence.isprintable()
    assert hint.strip()


def test_cuts_at_every_field_and_at_random_places(slmctl: Program, tmp_path: Path) -> None:
    builder = tiny()
    whole = builder.build()
    chance = random.Random(1)
    cuts = {cut for cut in builder.boundaries if cut < len(whole)}
    cuts |= {chance.randrange(len(whole)) for _ in range(100)}
    for cut in sorted(cuts):
        path = tmp_path / f"cut-{cut}.gguf"
        path.write_bytes(whole[:cut])
        refused(slmctl, path)
        path.unlink()
    assert not slmctl.store.exists()


@pytest.mark.parametrize("case", list(hostile.CASES))
def test_hostile_headers(slmctl: Program, tmp_path: Path, case: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(hostile.CASES[case]())
    refused(slmctl, path)
