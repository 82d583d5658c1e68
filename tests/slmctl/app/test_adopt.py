"""Adopting models one by one: what happens to one says nothing about the others."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.store.ingest import hash_open_file
from registry.store.store import Store
from slmctl.app.adopt import adopt
from slmctl.app.foreign.found import Place, Tool


def test_a_disk_that_cannot_read_one_file(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "models"
    for name in ("bad", "good"):
        (root / "org" / name).mkdir(parents=True)
        shutil.copyfile(tiny_model, root / "org" / name / f"{name}-F32.gguf")
    bad = (root / "org" / "bad" / "bad-F32.gguf").stat()

    def failing(fd: int, progress: Callable[[int], None]) -> tuple[Digest, int]:
        if os.fstat(fd).st_ino == bad.st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return hash_open_file(fd, progress)

    monkeypatch.setattr("slmctl.app.adopting.hash_open_file", failing)
    place = Place(tool=Tool.LMSTUDIO, root=root)
    models = list(adopt(Store(tmp_path / "store"), [place], now="2026-01-01T00:00:00Z"))
    assert [(model.name, model.taken, model.problem) for model in models] == [
        ("hf.co/org/bad:F32", None, "It cannot be read (Input/output error)."),
        ("hf.co/org/good:F32", "borrowed", None),
    ]
