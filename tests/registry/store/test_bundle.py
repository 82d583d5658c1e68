"""`open_bundle`: what a store's readers ask, asked of a folder and of a tar."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import BadContent, NoSpace, NotFound, SizeMismatch
from registry.manifest import Descriptor, Manifest
from registry.names import parse
from registry.store import bundle as bundle_module
from registry.store.bundle import Bundle, open_bundle
from tests.bundles import WEIGHTS, small

SMALL = small()
Make = Callable[[], Path]


@pytest.fixture(params=["folder", "tar"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return SMALL.to_folder(tmp_path / "bundle")
    (tmp_path / "bundle.tar").write_bytes(SMALL.to_tar())
    return tmp_path / "bundle.tar"


@pytest.fixture
def bundle(path: Path, tmp_path: Path) -> Bundle:
    return open_bundle(path, [tmp_path / "scratch"])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def weights() -> Descriptor:
    return Descriptor(media_type="", digest=Digest.of(WEIGHTS), size=len(WEIGHTS))


def test_it_answers_as_a_store_does(bundle: Bundle, path: Path) -> None:
    entry = bundle.resolve(parse("small"))
    assert (entry.name, bundle.root) == ("small:latest", path)
    assert set(bundle.names().entries) == {"small:latest"}
    manifest = bundle.manifest(entry.descriptor)
    assert isinstance(manifest, Manifest)
    assert bundle.manifest_of(entry.descriptor.digest) == manifest
    for blob in manifest.blobs:
        assert bundle.has(blob.digest)
        assert bundle.read_blob(blob) == SMALL.blobs[blob.digest.hex]
        with bundle.open_blob(blob) as stream:
            assert sha256(stream.read()).hexdigest() == blob.digest.hex
            assert stream.read(1) == b""
    assert not bundle.has(Digest("0" * 64))
    with pytest.raises(NotFound):
        bundle.open_blob(Descriptor(media_type="", digest=Digest("0" * 64), size=1))
    with pytest.raises(NotFound):
        bundle.manifest_of(Digest("0" * 64))
    with pytest.raises(SizeMismatch):
        bundle.open_blob(replace(weights(), size=7))
    with pytest.raises(SizeMismatch):
        bundle.read_blob(weights(), limit=10)


def test_a_stream_seeks_within_its_blob(bundle: Bundle) -> None:
    with bundle.open_blob(weights()) as stream:
        assert stream.seek(0, os.SEEK_END) == len(WEIGHTS)
        assert stream.read() == b""
        stream.seek(-8, os.SEEK_END)
        assert stream.read(100) == b"weights "
        stream.seek(3)
        assert stream.tell() == 3
        assert stream.read(5) == WEIGHTS[3:8]


def test_a_file_has_a_descriptor_of_its_own_and_no_name(bundle: Bundle, tmp_path: Path) -> None:
    counted: list[int] = []
    with bundle.open_file(weights(), counted.append) as stream:
        fd = stream.fileno()
        assert os.pread(fd, 1 << 20, 0) == WEIGHTS
        assert os.fstat(fd).st_size == len(WEIGHTS)
        assert sum(counted) in {0, len(WEIGHTS)}
        assert not list((tmp_path / "scratch").glob("*")), "nobody has to remove it"


def test_a_copy_that_has_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.tar").write_bytes(SMALL.to_tar())
    bundle = open_bundle(tmp_path / "b.tar", [tmp_path / "scratch"])
    monkeypatch.setattr(bundle_module, "free_bytes", lambda _: 10)
    with pytest.raises(NoSpace, match="8000 bytes"):
        bundle.open_file(weights())


def test_a_copy_goes_where_it_can(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(SMALL.to_tar())
    bundle = open_bundle(tmp_path / "b.tar", [tmp_path / "b.tar" / "none", Path("/proc")])
    with bundle.open_file(weights()) as stream:
        assert stream.read() == WEIGHTS


def test_without_help_from_the_kernel_it_is_copied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.tar").write_bytes(SMALL.to_tar())
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    with open_bundle(tmp_path / "b.tar", [tmp_path / "scratch"]).open_file(weights()) as stream:
        assert stream.read() == WEIGHTS
    assert not list((tmp_path / "scratch").iterdir())


def test_nothing_stays_open(path: Path) -> None:
    gc.collect()  # what other tests left
    before = open_files()
    bundle = open_bundle(path)
    stream = bundle.open_blob(weights())
    del bundle
    gc.collect()
    assert stream.read() == WEIGHTS, "who reads keeps it open"
    stream.close()
    del stream
    gc.collect()
    assert open_files() == before
    for _ in range(3):
        with pytest.raises(BadContent):
            open_bundle(path.parent)
    assert open_files() == before


def test_a_flipped_bit_in_a_small_blob_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    manifest = str(SMALL.models[0]["digest"]).removeprefix("sha256:")
    flipped = SMALL.blobs[manifest].replace(b"model.gguf", b"modem.gguf")
    folder = replace(SMALL, blobs={**SMALL.blobs, manifest: flipped}).to_folder(tmp_path / "bundle")
    bundle = open_bundle(folder)
    with pytest.raises(BadContent):
        bundle.manifest(bundle.resolve(parse("small")).descriptor)


def test_a_tar_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = SMALL.to_tar()
    path = tmp_path / "b.tar"
    for end in [*range(0, len(data), 128), *range(len(data) - 1024, len(data))]:
        path.write_bytes(data[:end])
        with pytest.raises(BadContent):
            open_bundle(path)
