"""Bundles, read and written by other people's tools."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from oras.layout.layout import NewLayout

from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

NAMES = ["both:latest", "localhost:5000/t/m:v1", "ns/model:1.0"]


@pytest.fixture
def store(slmctl: Program, tiny_model: Path, tmp_path: Path) -> Program:
    """A model of two builds, one of one, and a second name."""
    write_random_model(tmp_path / "q8.gguf", tensor_type="Q8_0")
    text = f"FROM {tiny_model}\nFROM {tmp_path}/q8.gguf\nSYSTEM hello\n"
    assert slmctl("create", "both", "-f", "-", stdin=text.encode()).code == 0
    assert slmctl("create", "localhost:5000/t/m:v1", "--from", str(tiny_model)).code == 0
    assert slmctl("cp", "both", "ns/model:1.0").code == 0
    return slmctl


def export(store: Program, target: Path) -> str:
    done = store("export", *NAMES, "-o", f"{target}/" if target.suffix != ".tar" else str(target))
    assert done.code == 0, done.err
    return str(target)


def digest(program: Program, name: str) -> str:
    return str(program("show", name, "--json").json["digest"])


def skopeo(*arguments: str) -> bytes:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    done = subprocess.run(["skopeo", *arguments], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["oci-archive", "oci"])
def test_skopeo_copies_everything_out_of_a_bundle(
    store: Program, tmp_path: Path, kind: str, name: str
) -> None:
    path = export(store, tmp_path / ("bundle.tar" if kind == "oci-archive" else "bundle"))
    raw = skopeo("inspect", "--raw", f"{kind}:{path}:{name}")
    assert f"sha256:{sha256(raw).hexdigest()}" == digest(store, name)
    skopeo("copy", "--all", f"{kind}:{path}:{name}", f"oci:{tmp_path}/copy:x:v1")
    blobs = list((tmp_path / "copy" / "blobs" / "sha256").iterdir())
    assert len(blobs) >= 4
    for blob in blobs:
        assert sha256(blob.read_bytes()).hexdigest() == blob.name


@pytest.mark.parametrize("name", NAMES)
def test_oras_resolves_the_same_digests(store: Program, tmp_path: Path, name: str) -> None:
    blobs = NewLayout(export(store, tmp_path / "bundle")).get_ordered_blobs(name)
    assert blobs[-1] == digest(store, name)
    with tarfile.open(export(store, tmp_path / "bundle.tar")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert NewLayout(str(tmp_path / "unpacked")).get_ordered_blobs(name) == blobs


def test_an_unpacked_tar_is_the_folder(store: Program, tmp_path: Path) -> None:
    """GNU tar reads it too, and has nothing to complain of."""
    folder, path = export(store, tmp_path / "bundle"), export(store, tmp_path / "bundle.tar")
    (tmp_path / "unpacked").mkdir()
    command = ["tar", "--extract", "--file", path, "--directory", str(tmp_path / "unpacked")]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    unpacked = {path.relative_to(tmp_path / "unpacked"): path for path in (tmp_path / "unpacked").rglob("*")}
    same = {path.relative_to(folder): path for path in Path(folder).rglob("*")}
    assert unpacked.keys() == same.keys()
    assert all(
        path.is_dir() or path.read_bytes() == same[name].read_bytes() for name, path in unpacked.items()
    )


@pytest.mark.parametrize("kind", ["oci-archive", "oci"])
def test_slmctl_imports_what_skopeo_wrote(store: Program, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "theirs"
    skopeo("copy", "--all", f"oci:{store.store}:both:latest", f"{kind}:{path}:theirs:v2")
    done = store("import", str(path), "--json")
    assert [model["name"] for model in done.json["models"]] == ["theirs:v2"], done.err
    assert digest(store, "theirs:v2") == digest(store, "both")
    assert store("import", str(path), "--as", "mine").code == 0
    answer = store("run", str(path), "--variant", "q8", "--max-tokens", "2", "x", "--json")
    assert answer.json["variant"] == "gguf-q8_0"
    if kind == "oci-archive":
        assert store("import", "-", "--as", "piped", stdin=path.read_bytes()).code == 0


@pytest.mark.parametrize("format_", ["ustar", "gnu", "pax", "posix"])
def test_slmctl_imports_what_gnu_tar_packed(store: Program, tmp_path: Path, format_: str) -> None:
    folder = export(store, tmp_path / "bundle")
    command = ["tar", f"--format={format_}", "-C", folder, "-c", "-f", str(tmp_path / "theirs"), "."]
    subprocess.run(command, check=True)
    (tmp_path / "home").rename(tmp_path / "old")
    done = store("import", str(tmp_path / "theirs"), "--json")
    assert len(done.json["models"]) == 3, done.err
    assert store("run", "both", "--max-tokens", "2", "x", "--verify").code == 0
