"""The live store, read by other people's tools: what they find is what slmctl says."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from oras.layout.layout import NewLayout

from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

# as the store lists them: a plain name, a registry's, Hugging Face's, and a namespace
NAMES = ["tiny:latest", "localhost:5000/t/m:v1", "hf.co/org/repo:Q4_K_M", "ns/model:1.0"]


@pytest.fixture
def store(slmctl: Program, tiny_model: Path) -> Program:
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    for name in NAMES[1:]:
        assert slmctl("cp", "tiny", name).code == 0
    return slmctl


def digest(program: Program, name: str) -> str:
    return str(program("show", name, "--json").json["digest"])


def skopeo(*arguments: str) -> bytes:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    done = subprocess.run(["skopeo", *arguments], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_skopeo_inspects_the_live_store(store: Program, name: str) -> None:
    raw = skopeo("inspect", "--raw", f"oci:{store.store}:{name}")
    assert f"sha256:{sha256(raw).hexdigest()}" == digest(store, name)


def test_skopeo_copies_to_another_layout_and_keeps_the_digest(store: Program, tmp_path: Path) -> None:
    target = f"oci:{tmp_path / 'layout'}:copy:v1"
    skopeo("copy", "--all", f"oci:{store.store}:tiny:latest", target)
    assert f"sha256:{sha256(skopeo('inspect', '--raw', target)).hexdigest()}" == digest(store, "tiny")
    for blob in (tmp_path / "layout" / "blobs" / "sha256").iterdir():
        assert blob.read_bytes() == (store.store / "blobs" / "sha256" / blob.name).read_bytes()


def test_slmctl_reads_what_skopeo_wrote(store: Program, tmp_path: Path) -> None:
    """A layout that another tool made is a store: nothing of ours need lie beside it."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    skopeo("copy", "--all", f"oci:{store.store}:tiny:latest", f"oci:{home / 'store'}:other:v1")
    program = Program(home, Path(store.environment["XDG_RUNTIME_DIR"]))
    assert digest(program, "other:v1") == digest(store, "tiny")
    assert program("run", "other:v1", "--verify", "--max-tokens", "2", "x").code == 0


def test_skopeo_copies_all_variants_of_a_model(slmctl: Program, tiny_model: Path, tmp_path: Path) -> None:
    write_random_model(tmp_path / "q8.gguf", tensor_type="Q8_0")
    text = f"FROM {tiny_model}\nFROM {tmp_path}/q8.gguf\n"
    assert slmctl("create", "both", "-f", "-", stdin=text.encode()).code == 0
    home = tmp_path / "elsewhere"
    home.mkdir()
    skopeo("copy", "--all", f"oci:{slmctl.store}:both:latest", f"oci:{home / 'store'}:both:v1")
    program = Program(home, Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    assert digest(program, "both:v1") == digest(slmctl, "both")
    for variant in ("gguf-f32", "gguf-q8_0"):
        answer = program(
            "run", "both:v1", "--variant", variant, "--verify", "--max-tokens", "2", "x", "--json"
        )
        assert answer.json["variant"] == variant


def test_what_was_measured_disturbs_nobody(store: Program, tmp_path: Path) -> None:
    """A row without a name in the table of names, and a manifest that refers to the model's."""
    before = digest(store, "tiny")
    (tmp_path / "text.txt").write_text("some words of a text " * 40)
    done = store("perplexity", "tiny", "--text", str(tmp_path / "text.txt"), "--ctx", "32", "--json")
    assert (done.code, done.json["kept"], digest(store, "tiny")) == (0, True, before)
    assert (
        f"sha256:{sha256(skopeo('inspect', '--raw', f'oci:{store.store}:tiny:latest')).hexdigest()}" == before
    )
    skopeo("copy", "--all", f"oci:{store.store}:tiny:latest", f"oci:{tmp_path / 'layout'}:copy:v1")
    assert NewLayout(str(store.store)).get_ordered_blobs("tiny:latest")[-1] == before
    bundle = tmp_path / "tiny.tar"
    assert store("export", "tiny", "-o", str(bundle)).code == 0
    raw = skopeo("inspect", "--raw", f"oci-archive:{bundle}:tiny:latest")
    assert f"sha256:{sha256(raw).hexdigest()}" == before


@pytest.mark.parametrize("name", NAMES)
def test_oras_resolves_the_same_digests(store: Program, name: str) -> None:
    blobs = NewLayout(str(store.store)).get_ordered_blobs(name)
    files = store("show", name, "--json").json["variants"][0]["files"]
    assert blobs[-1] == digest(store, name)
    assert [file["digest"] for file in files] == blobs[: len(files)]
