"""Stores of many small models, for measurements: made by the store's own calls, in seconds."""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.index import Entry
from registry.store.store import Store
from slmctl.app.package import PackageFile
from slmctl.app.packaging import Build, write_model
from tests.crash.commands import gguf

NOW = "2026-11-22T00:00:00Z"
MEMORY = Path("/dev/shm")

WITH_TWO_BUILDS = 10
"""Of so many models one has two variants, and so an index."""


def name_of(number: int) -> str:
    return f"team{number % 40}/model{number:05}:latest"


def make_store(root: Path, count: int) -> None:
    """A store of `count` models; each has weights of its own (two kilobytes), a tenth has two variants.

    It is made in memory where there is room for that, and copied: its thirty thousand flushes would take
    minutes on a disk, and are not what is measured.
    """
    with tempfile.TemporaryDirectory(prefix="slm", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        made = Store(Path(folder) / "store")
        _fill(made, count)
        shutil.copytree(made.root, root)
    assert len(Store(root).names().entries) == count


def _fill(store: Store, count: int) -> None:
    builds_of = {half: _described(gguf(0, half=half)) for half in (False, True)}
    with store.session("benchmark") as session:
        entries = []
        for number in range(count):
            builds: list[Build] = []
            for half in (False, True) if number % WITH_TWO_BUILDS == 0 else (False,):
                data, facts = builds_of[half]
                weights = data[:-4] + struct.pack("<I", number)
                digest = session.put(weights)
                file = PackageFile(path="model.gguf", role="weights", digest=digest, size=len(weights))
                spec = ModelSpec(system=f"You are model {number % 100}.")
                builds.append(Build(files=(file,), facts=facts, licenses=("mit",), spec=spec))
            descriptor = write_model(session, builds)
            entries.append(Entry(name=name_of(number), descriptor=descriptor, source="create", linked=NOW))
        store.link_all(entries, lambda _old, _new: None)


def _described(data: bytes) -> tuple[bytes, ModelFacts]:
    return data, facts_from_gguf([read_header(io.BytesIO(data))])
