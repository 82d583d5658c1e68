"""The measurement of pulls, on small models: it runs, and measures what it says. No test asserts a speed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pull import CURL, OPENSSL, PULL, SKOPEO, run
from tests.registries.programs import need


def test_everything_is_measured_as_often_as_is_said(tmp_path: Path) -> None:
    need("docker-registry", "skopeo", "curl", "openssl")
    text, numbers = run(tmp_path, 2, 1 << 20, 3)
    models = numbers["models"]
    assert isinstance(models, dict)
    assert list(models) == ["0.00 GB in one blob", "0.00 GB in 3 blobs"]
    for sides in models.values():
        assert {PULL, CURL, OPENSSL, SKOPEO} <= {side["side"] for side in sides}
        assert all(len(side["seconds"]) == 2 for side in sides)
    assert text.count("slmctl : the floor") == 2
    for number in range(2):  # what was pulled last is there, and whole
        store = tmp_path / f"model-{number}" / "slmctl" / "place" / "store"
        assert len(list((store / "blobs" / "sha256").iterdir())) == (3, 5)[number]
