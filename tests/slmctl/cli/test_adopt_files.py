"""slmctl adopt: the cache of the real huggingface_hub client, and LM Studio's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slmctl.app.ships import FOLDER
from tests.fakes.hub import COMMIT, hub
from tests.parts import write_projector
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.test_adopt import ask, own_bytes, rewrite, snapshot
from tools.random_model import write_random_model

HELLO = (FOLDER / "hello" / "hello.gguf").read_bytes()


def download(cache: Path, repositories: dict[str, dict[str, bytes]]) -> None:
    """Download everything with huggingface_hub, as a user's program does, into a cache of its own."""
    pytest.importorskip("huggingface_hub")
    with hub(repositories) as endpoint:
        calls = "\n".join(
            f"hf_hub_download({name!r}, {file!r})" for name, files in repositories.items() for file in files
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": endpoint,
            "HF_HUB_CACHE": str(cache),
            "HF_HOME": str(cache.parent / "hf-home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        program = f"from huggingface_hub import hf_hub_download\n{calls}\n"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def files(tmp_path: Path, tiny_model: Path, tiny_shards: list[Path]) -> dict[str, dict[str, bytes]]:
    quantized = tmp_path / "q8.gguf"
    write_random_model(quantized, tensor_type="Q8_0")
    projector = write_projector(tmp_path / "mmproj-F16.gguf").read_bytes()
    return {
        "org/hello-GGUF": {
            "hello-Q4_K_M.gguf": HELLO,
            "hello-F32.gguf": tiny_model.read_bytes(),
            "README.md": b"# hello",
        },
        "org/seeing": {"seeing-q8_0.gguf": quantized.read_bytes(), "mmproj-F16.gguf": projector},
        "org/parts": {shard.name: shard.read_bytes() for shard in tiny_shards},
        "org/tensors": {"model.safetensors": b"\0" * 64, "config.json": b"{}"},
        "mlx/model": {
            "model.safetensors": b"\0" * 32,
            "config.json": b'{"quantization": {"group_size": 64, "bits": 4}}',
        },
        "org/broken": {"broken-Q8_0.gguf": b"GGUF" + b"\xff" * 100},
    }


@pytest.fixture
def cache(tmp_path: Path, files: dict[str, dict[str, bytes]]) -> Path:
    folder = tmp_path / "hub"
    download(folder, files)
    return folder


def adopt(slmctl: Program, root: Path, *more: str) -> dict[str, dict[str, Any]]:
    done = slmctl("adopt", str(root), "--json", *more)
    assert done.code == 0, done.err
    return {model["name"]: model for model in done.json["models"]}


def blob_of(cache: Path, repository: str, name: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    return (folder / "snapshots" / COMMIT / name).resolve(strict=True)


def test_the_cache_of_the_real_client(slmctl: Program, cache: Path) -> None:
    before = snapshot(cache)
    models = adopt(slmctl, cache)
    assert {name: model["taken"] for name, model in models.items()} == {
        "hf.co/org/hello-GGUF:Q4_K_M": "linked",
        "hf.co/org/hello-GGUF:F32": "linked",
        "hf.co/org/seeing:Q8_0": "linked",
        "hf.co/org/parts:F32": "linked",
        "hf.co/org/tensors": None,
        "hf.co/mlx/model": None,
        "hf.co/org/broken:broken-Q8_0": None,
    }
    assert all(model["runs"] for model in models.values() if model["taken"])
    assert "safetensors" in models["hf.co/org/tensors"]["problem"]
    assert "MLX" in models["hf.co/mlx/model"]["problem"]
    assert "broken-Q8_0.gguf" in models["hf.co/org/broken:broken-Q8_0"]["problem"]
    assert snapshot(cache) == before
    assert own_bytes(slmctl) < 100_000
    name = "hf.co/org/hello-GGUF:Q4_K_M"
    assert ask(slmctl, name).code == 0
    assert ask(slmctl, "hf.co/org/parts:F32").code == 0
    roles = {
        file["role"]
        for file in slmctl("show", "hf.co/org/seeing:q8_0", "--json").json["variants"][0]["files"]
    }
    assert "projector" in roles
    blob = blob_of(cache, "org/hello-GGUF", "hello-Q4_K_M.gguf")
    assert (slmctl.store / "blobs" / "sha256" / blob.name).samefile(blob)
    again = adopt(slmctl, cache)
    assert {name for name, model in again.items() if model["present"]} == {
        name for name, model in models.items() if model["taken"]
    }
    os.utime(blob, ns=(1, 1))
    assert ask(slmctl, name).code == 0
    rewrite(blob)
    done = ask(slmctl, name)
    assert done.code == 5
    assert f"{blob}, adopted from huggingface_hub, was changed since" in done.err
    shutil.rmtree(cache)
    assert ask(slmctl, "hf.co/org/parts:F32").code == 0


def test_the_cache_that_the_environment_names(slmctl: Program, cache: Path) -> None:
    for variables in (
        {"HF_HUB_CACHE": str(cache)},
        {"HF_HOME": str(cache.parent)},
        {"XDG_CACHE_HOME": str(cache.parent / "xdg")},
    ):
        (cache.parent / "xdg" / "huggingface").mkdir(parents=True, exist_ok=True)
        link = cache.parent / "xdg" / "huggingface" / "hub"
        if not link.exists():
            link.symlink_to(cache)
        done = slmctl("adopt", "--dry-run", "--json", environment=variables)
        assert [place["tool"] for place in done.json["places"]] == ["huggingface"], variables
        assert len(done.json["models"]) == 7
    assert not slmctl.home.exists()


def test_a_cache_with_gaps(slmctl: Program, cache: Path) -> None:
    blob_of(cache, "org/hello-GGUF", "hello-F32.gguf").unlink()
    parts = cache / "models--org--parts" / "snapshots" / COMMIT
    sorted(parts.iterdir())[1].unlink()
    seeing = cache / "models--org--seeing"
    shutil.rmtree(seeing / "snapshots")
    (seeing / "blobs" / "0123.incomplete").write_bytes(b"")
    escape = cache / "models--org--escape" / "snapshots" / COMMIT
    escape.mkdir(parents=True)
    (escape / "out-Q8_0.gguf").symlink_to(FOLDER / "hello" / "hello.gguf")
    (escape / "loop-Q8_0.gguf").symlink_to("loop-Q8_0.gguf")
    (escape / "self").symlink_to(escape)
    os.mkfifo(escape / "pipe-Q8_0.gguf")
    models = adopt(slmctl, cache)
    problems = {name: model["problem"] for name, model in models.items()}
    assert problems["hf.co/org/hello-GGUF:Q4_K_M"] is None
    assert "missing from the cache" in problems["hf.co/org/hello-GGUF:hello-F32.gguf"]
    assert any("Part 2 of its 3 files" in (problem or "") for problem in problems.values())
    assert problems["hf.co/org/seeing"] == "Its download was not completed."
    assert "leads out of the cache" in problems["hf.co/org/escape:out-Q8_0.gguf"]
    assert "cannot be looked at" in problems["hf.co/org/escape:loop-Q8_0.gguf"]
    assert "not a regular file" in problems["hf.co/org/escape:pipe-Q8_0.gguf"]


def test_a_small_file_that_only_git_names_is_held_against_its_name(
    slmctl: Program, tmp_path: Path, cache: Path
) -> None:
    """A GGUF file that is not in LFS: its blob is called by the sha1 that git gives it."""
    folder = cache / "models--org--small"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "blobs").mkdir()
    hub_file = {"org/plain": {"plain-Q8_0.dat": HELLO}}
    download(cache, hub_file)
    blob = blob_of(cache, "org/plain", "plain-Q8_0.dat")
    assert len(blob.name) == 40
    shutil.copy(blob, folder / "blobs" / blob.name)
    (folder / "snapshots" / COMMIT / "small-Q8_0.gguf").symlink_to(f"../../blobs/{blob.name}")
    assert adopt(slmctl, cache)["hf.co/org/small:Q8_0"]["taken"] == "linked"
    assert slmctl("rm", "hf.co/org/small:Q8_0").code == 0
    rewrite(folder / "blobs" / blob.name)
    assert "is damaged" in adopt(slmctl, cache)["hf.co/org/small:Q8_0"]["problem"]


# LM Studio


@pytest.fixture
def lmstudio(tmp_path: Path, files: dict[str, dict[str, bytes]]) -> Path:
    root = tmp_path / ".lmstudio" / "models"
    for repository, contents in files.items():
        for name, data in contents.items():
            path = root / repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (root / "org" / "half").mkdir()
    (root / "org" / "half" / "downloading_half-Q8_0.gguf.part").write_bytes(b"GG")
    (root / "org" / "self").symlink_to(root / "org")
    (root / "readme.txt").write_bytes(b"")
    return root


def test_lm_studios_files_are_borrowed_and_hashed_once(slmctl: Program, lmstudio: Path) -> None:
    before = snapshot(lmstudio)
    done = slmctl("adopt", "--json", "--progress", "json")  # it is in the home folder
    assert '"event": "hash"' in done.err
    models = {model["name"]: model for model in done.json["models"]}
    taken = {name for name, model in models.items() if model["taken"] == "borrowed"}
    assert taken == {
        "hf.co/org/hello-GGUF:Q4_K_M",
        "hf.co/org/hello-GGUF:F32",
        "hf.co/org/seeing:Q8_0",
        "hf.co/org/parts:F32",
    }
    assert "not completed" in models["hf.co/org/half:downloading_half-Q8_0.gguf.part"]["problem"]
    assert ask(slmctl, "hf.co/org/hello-GGUF:Q4_K_M").code == 0
    assert snapshot(lmstudio) == before
    assert own_bytes(slmctl) < 100_000
    again = slmctl("adopt", "--json", "--progress", "json")
    assert '"event": "hash"' not in again.err
    assert {model["name"] for model in again.json["models"] if model["present"]} == taken


def test_a_file_that_lm_studios_user_writes_to(slmctl: Program, lmstudio: Path) -> None:
    """It is another model then: the old name is refused until it is adopted again."""
    adopt(slmctl, lmstudio)
    path = lmstudio / "org" / "hello-GGUF" / "hello-F32.gguf"
    rewrite(path)
    name = "hf.co/org/hello-GGUF:F32"
    assert ask(slmctl, name).code == 5
    model = adopt(slmctl, lmstudio)[name]
    assert (model["taken"], model["present"]) == ("borrowed", False)
    assert ask(slmctl, name).code == 0


def test_verify_reads_a_touched_file_once_and_leaves_its_note(slmctl: Program, lmstudio: Path) -> None:
    adopt(slmctl, lmstudio)
    for path in lmstudio.rglob("*.gguf"):
        os.utime(path, ns=(1, 1))
    before = snapshot(slmctl.store / "borrowed")
    assert slmctl("verify").code == 0
    assert snapshot(slmctl.store / "borrowed") == before


def test_a_dry_run_does_not_hash(slmctl: Program, lmstudio: Path) -> None:
    done = slmctl("adopt", str(lmstudio.parent), "--dry-run", "--json", "--progress", "json")
    assert '"event": "hash"' not in done.err
    model = next(model for model in done.json["models"] if model["taken"])
    assert model["digest"] is None
    assert not slmctl.home.exists()


def test_one_name_goes_to_one_place(slmctl: Program, cache: Path, lmstudio: Path) -> None:
    done = slmctl("adopt", str(cache), str(lmstudio), "--json")
    models = [model for model in done.json["models"] if model["name"] == "hf.co/org/hello-GGUF:F32"]
    assert [model["taken"] for model in models] == ["linked", None]
    assert models[1]["problem"] == f"The name is taken by the model from huggingface://{cache}."


def test_nothing_to_adopt(slmctl: Program, tmp_path: Path) -> None:
    done = slmctl("adopt")
    assert (done.code, done.out) == (0, "")
    assert "No other tool has models here." in done.err or "There is no model in" in done.err
    assert slmctl("adopt", str(tmp_path / "nowhere")).code == 3
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert slmctl("adopt", str(file)).code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert slmctl("adopt", str(empty)).code == 2
    assert slmctl("adopt", "").code == 2  # and not the folder that one is in


def test_a_named_folder_without_models_is_said(slmctl: Program, lmstudio: Path) -> None:
    """Also where another one has some; those of the usual places say nothing then."""
    done = slmctl("adopt", str(lmstudio), str(lmstudio / "mlx"), "--dry-run")
    assert (done.code, "hf.co/org/hello-GGUF:F32" in done.out) == (0, True)
    assert f"There is no model (PUBLISHER/MODEL/FILE.gguf) in {lmstudio / 'mlx'}." in done.err


def test_two_builds_of_one_quantization_are_called_by_their_files(slmctl: Program, lmstudio: Path) -> None:
    folder = lmstudio / "org" / "twins"
    folder.mkdir()
    for name in ("a-Q8_0.gguf", "b-Q8_0.gguf"):
        (folder / name).write_bytes(HELLO)
    names = {name for name, model in adopt(slmctl, lmstudio).items() if model["taken"]}
    assert {"hf.co/org/twins:a-Q8_0", "hf.co/org/twins:b-Q8_0"} < names


def test_two_files_with_the_same_bytes_are_one_blob(slmctl: Program, lmstudio: Path) -> None:
    """While one of them is as it was, both names run."""
    copy = lmstudio / "org" / "copy" / "copy-Q4_K_M.gguf"
    copy.parent.mkdir()
    copy.write_bytes(HELLO)
    adopt(slmctl, lmstudio)
    (lmstudio / "org" / "hello-GGUF" / "hello-Q4_K_M.gguf").unlink()
    assert ask(slmctl, "hf.co/org/copy:Q4_K_M").code == 0
    copy.unlink()
    assert ask(slmctl, "hf.co/org/copy:Q4_K_M").code == 3
