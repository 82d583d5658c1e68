"""Room for a pull is asked for before the first byte of a blob, and what is replaced counts too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.registries.programs import Registry, need
from tests.slmctl.cli.publishing import Author
from tests.slmctl.cli.test_places import mounting


@pytest.mark.root
def test_a_disk_that_is_too_small_is_told_of_before_a_byte_is_fetched(
    author: Author, plain_registry: Registry, place: str
) -> None:
    author.create("m", 1)
    path = f"{place.partition('/')[2]}"
    author.publish("m", f"{path}:v1")
    author.slmctl.go_online()
    weights = max(author.slmctl.store.glob("blobs/sha256/*"), key=lambda blob: blob.stat().st_size).name
    small = mounting(author.slmctl, 'mkdir -p "$1/../small"; mount -t tmpfs -o size=600k none "$1/../small"')
    small.environment = {**author.slmctl.environment, "SLMCTL_HOME": str(author.slmctl.home.parent / "small")}
    before = len(plain_registry.log.read_text())
    done = small("pull", f"{place}:v1")
    assert done.code == 1, done.err
    assert len(done.err.splitlines()) == 2, done.err
    assert "needs" in done.err
    asked = plain_registry.log.read_text()[before:]
    assert "manifests/v1" in asked
    assert weights not in asked


@pytest.mark.root
def test_df_and_pull_mean_the_same_by_free(author: Author, place: str, tmp_path: Path) -> None:
    """ext4 keeps some blocks for root, who may use them: most of them here."""
    need("mkfs.ext4")
    author.create("m", 1)
    author.publish("m", f"{place.partition('/')[2]}:v1")
    author.slmctl.go_online()
    image = tmp_path / "disk.img"
    with image.open("wb") as stream:
        stream.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "50", str(image)], check=True, capture_output=True)
    small = mounting(author.slmctl, f'mkdir -p "$1/../small"; mount -o loop {image} "$1/../small"')
    small.environment = {**author.slmctl.environment, "SLMCTL_HOME": str(author.slmctl.home.parent / "small")}
    pulled = small("pull", f"{place}:v1", "--dry-run", "--json").json["models"][0]
    disk = small("df", "--json").json["disk"]
    assert disk["free"] == pulled["free"] > disk["size"] // 2
