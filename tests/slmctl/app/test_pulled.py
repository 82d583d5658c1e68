"""What a pull says in the end."""

from __future__ import annotations

from pathlib import Path

from registry.digest import Digest
from registry.manifest import Descriptor
from registry.store.index import Entry
from registry.store.store import Store
from slmctl.app.pulled import Pulled, as_it_is


def test_a_model_that_somebody_removes_at_once_was_pulled_all_the_same(tmp_path: Path) -> None:
    digest = Digest.parse(f"sha256:{'a' * 64}")
    outcome = Pulled(
        name="m:latest",
        source="oci://registry.example/m:latest",
        digest=None,
        variants=("q4",),
        others=(),
        size=7,
        missing=7,
        free=1,
        changed=True,
    )
    root = Descriptor(media_type="application/vnd.oci.image.manifest.v1+json", digest=digest, size=1)
    entry = Entry(name=outcome.name, descriptor=root, source=outcome.source, linked="2026-01-01T00:00:00Z")
    told = as_it_is(Store(tmp_path), outcome, entry)
    assert (told.digest, told.variants, told.size) == (digest, ("q4",), 7)
