"""Many processes on one store: nobody loses a name, nobody's blobs go, nothing is left over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from registry.manifest import Descriptor
from registry.names import parse
from registry.store.store import Store
from slmctl.app.finding import find_package
from slmctl.app.models import remove_models

SECONDS = 60


@pytest.mark.slow
def test_two_processes_create_and_remove_for_a_minute(tmp_path: Path, tiny_model: Path) -> None:
    store = Store(tmp_path / "store")
    program = Path(__file__).with_name("churn.py")
    children = [
        subprocess.Popen(
            [sys.executable, str(program), str(store.root), str(tiny_model), mine, str(SECONDS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for mine in ("one", "two")
    ]
    kept: dict[str, str] = {}
    for child in children:
        out, err = child.communicate(timeout=SECONDS * 3)
        assert child.returncode == 0, err.decode()
        report = json.loads(out)
        assert report["steps"] > SECONDS
        kept |= report["kept"]

    names = store.names()
    assert {name: str(entry.descriptor.digest) for name, entry in names.entries.items()} == kept
    for name in kept:
        for variant in find_package(store, parse(name)).variants:
            for file in variant.files:
                descriptor = Descriptor(media_type="", digest=file.digest, size=file.size)
                with store.open_blob(descriptor) as stream:
                    store.verify_open_blob(descriptor, stream)
    assert list(store.layout.ingest.iterdir()) == []
    assert list(store.layout.leases.iterdir()) == []
    remove_models(store, list(kept))
    assert list(store.layout.blobs.iterdir()) == []
