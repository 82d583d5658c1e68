"""A store and a bundle as remotes."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, NotFound, UsageError
from registry.manifest import Descriptor, Manifest
from registry.names import parse
from registry.remotes.base import Artifact, Blob, Remote
from registry.remotes.local import LocalRemote, open_local
from registry.store.store import Store
from registry.transfer.download import Wanted, download
from tests.registry.store.models import add, add_several

WEIGHTS = bytes(range(256)) * 5000


def make(root: Path) -> Store:
    store = Store(root)
    add(store, "m:latest", WEIGHTS)
    return store


@pytest.fixture(params=["store", "folder", "tar"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same model in a store, in a bundle that is a folder, and in one that is a tar."""
    make(tmp_path / "there")
    if request.param == "store":
        return tmp_path / "there"
    for name in ("slmctl.json", "index.json.1", "ingest", "leases", "locks", "cache"):
        (tmp_path / "there" / name).rename(tmp_path / name.replace("/", "-"))
    if request.param == "folder":
        return tmp_path / "there"
    with tarfile.open(tmp_path / "there.tar", "w") as archive:
        for name in ("oci-layout", "index.json", "blobs"):
            archive.add(tmp_path / "there" / name, name)
    return tmp_path / "there.tar"


def test_a_model_is_pulled_from_it(place: Path, tmp_path: Path) -> None:
    remote: Remote = open_local(place)
    artifact = remote.resolve(parse(str(place)))
    assert isinstance(artifact, Artifact)
    document = artifact.document
    assert isinstance(document, Manifest)
    assert remote.manifest(artifact.root) == document
    blobs = [Blob(digest=each.digest, size=each.size) for each in document.blobs]
    here = Store(tmp_path / "here")
    with here.session("pull m") as session:
        download(session, [Wanted(blob=blob, sources=(remote,)) for blob in blobs])
        assert here.read_blob(document.layers[0]) == WEIGHTS


def test_models_are_found_by_name(place: Path) -> None:
    remote = open_local(place)
    assert remote.tags() == ["m:latest"]
    artifact = remote.resolve(parse("m"))
    assert artifact == remote.resolve(parse(f"m@{artifact.root.digest}"))
    with pytest.raises(NotFound, match="There is no model n") as caught:
        remote.resolve(parse("n"))
    assert caught.value.hint == "It has m:latest."
    with pytest.raises(NotFound):
        remote.resolve(parse(f"m@{Digest.of(b'x')}"))


def test_parts_of_a_blob(place: Path) -> None:
    remote = open_local(place)
    blob = Blob(digest=Digest.of(WEIGHTS), size=len(WEIGHTS))
    for start, stop in ((0, 1), (0, 0), (7, 700_000), (len(WEIGHTS) - 1, len(WEIGHTS))):
        with remote.open(blob, start, stop) as body:
            assert body.start == start
            assert b"".join(body) == WEIGHTS[start:stop]
    for start, stop in ((-1, 1), (2, 1), (0, len(WEIGHTS) + 1)):
        with pytest.raises(BadContent):
            remote.open(blob, start, stop)
    with pytest.raises(NotFound):
        remote.open(Blob(digest=Digest.of(b"x"), size=1), 0, 1)


def test_small_blobs_are_checked(tmp_path: Path) -> None:
    store = make(tmp_path)
    path = store.layout.blob(Digest.of(WEIGHTS))
    path.chmod(0o644)
    path.write_bytes(WEIGHTS[::-1])
    path.chmod(0o444)
    descriptor = Descriptor(media_type="", digest=Digest.of(WEIGHTS), size=len(WEIGHTS))
    with pytest.raises(DigestMismatch):
        LocalRemote(store).read_blob(descriptor)


def test_a_place_of_several_models_needs_a_name(tmp_path: Path) -> None:
    store = make(tmp_path)
    add_several(store, "n:latest", [b"1", b"2"])
    remote = LocalRemote(store)
    with pytest.raises(UsageError, match="There are 2 models"):
        remote.resolve(parse(str(tmp_path)))
    assert remote.resolve(parse("n")).document.raw
