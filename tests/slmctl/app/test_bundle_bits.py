"""One flipped bit anywhere in a bundle is found, by somebody who has the digest of its table of names."""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path

import pytest

from modelfiles.spec import ModelSpec
from registry.digest import Digest
from registry.errors import SlmctlError
from registry.names import parse
from registry.store.bundle import open_bundle
from registry.store.keeper import Keeper
from slmctl.app.checking import CheckRequest, check
from slmctl.app.create import CreateRequest, create
from slmctl.app.exporting import ExportRequest, export
from slmctl.config import Settings
from tests.bundles import small
from tools.random_model import write_random_model

NOW = "2026-11-22T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Keeper:
    """Two models of one file whose size fills no block."""
    settings = Settings.load({"SLMCTL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)})
    keeper = Keeper(settings.store)
    model = tmp_path / "model.gguf"
    write_random_model(model, metadata={"general.description": "x" * 33})
    for name, system in (("one", "Be brief."), ("two", "Be long.")):
        spec = ModelSpec(system=system)
        create(
            keeper, CreateRequest(name=parse(name), bases=[str(model)], folder=tmp_path, spec=spec), now=NOW
        )
    return keeper


def notices(store: Keeper, path: Path, digest: Digest) -> bool:
    try:
        return not check(store, CheckRequest(target=str(path), digest=digest)).is_well
    except SlmctlError:
        return True


def test_in_a_tar(store: Keeper, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar"
    exported = export(store, ExportRequest(names=[parse("one"), parse("two")], target=str(path)))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        index = tar.extractfile("index.json")
        assert index is not None
        digest = exported.digest
        assert digest == Digest.of(index.read())
    assert not notices(store, path, digest)
    chance = random.Random(0)
    places = [chance.randrange(len(whole)) for _ in range(20)]
    for member in members:  # header, content, and what fills the last block
        end = member.offset_data + member.size
        places += [chance.randrange(member.offset, member.offset_data) for _ in range(5)]
        places += [chance.randrange(member.offset_data, end), end - 1]
        places += [end] if end % 512 else []
    assert any(member.size % 512 for member in members)
    for place in (*places, len(whole) - 1):
        data = bytearray(whole)
        data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        assert notices(store, path, digest), place


def test_in_a_tar_everywhere_but_in_its_files(tmp_path: Path) -> None:
    """Headers, what fills blocks, and the end: all of their bits."""
    path = tmp_path / "bundle.tar"
    path.write_bytes(small(weights=b"weights").to_tar())
    with tarfile.open(path) as tar:
        files = [range(each.offset_data, each.offset_data + each.size) for each in tar.getmembers()]
    data = path.read_bytes()
    with path.open("r+b", buffering=0) as stream:
        for place in set(range(len(data))).difference(*files):
            for bit in range(8):
                os.pwrite(stream.fileno(), bytes([data[place] ^ 1 << bit]), place)
                with pytest.raises(SlmctlError):
                    open_bundle(path)
            os.pwrite(stream.fileno(), data[place : place + 1], place)


def test_in_a_folder(store: Keeper, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    export(store, ExportRequest(names=[parse("one"), parse("two")], target=f"{folder}/"))
    digest = Digest.of((folder / "index.json").read_bytes())
    assert not notices(store, folder, digest)
    chance = random.Random(0)
    for path in (each for each in folder.rglob("*") if each.is_file()):
        whole = path.read_bytes()
        for place in (0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(4))):
            data = bytearray(whole)
            data[place] ^= 1 << chance.randrange(8)
            path.chmod(0o644)
            path.write_bytes(data)
            assert notices(store, folder, digest), (path.name, place)
        path.write_bytes(whole)
