"""Where other tools' stores are looked for, and what is in odd ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.errors import NotFound, UsageError
from slmctl.app.foreign import huggingface, lmstudio, ollama
from slmctl.app.foreign.found import Place, Tool
from slmctl.app.foreign.places import place_at, usual_places
from tests.fakes.ollama_store import OllamaStore

NOWHERE = Path("/nonexistent/ollama")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def found(home: Path, **variables: str) -> list[tuple[str, str]]:
    places = usual_places({"HOME": str(home), **variables}, NOWHERE)
    return [(place.tool.value, str(place.root)) for place in places]


def make(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_nothing_is_there(home: Path) -> None:
    assert found(home) == []


def test_ollamas_places_and_the_system_wide_one(home: Path) -> None:
    own = make(home / ".ollama" / "models")
    other = make(home / "other")
    system = make(home / "system")
    places = usual_places({"HOME": str(home), "OLLAMA_MODELS": f'"{other}" '}, system)
    assert [place.root for place in places] == [other, own, system]
    assert usual_places({"HOME": str(home), "OLLAMA_MODELS": str(own)}, NOWHERE) == [
        Place(tool=Tool.OLLAMA, root=own)
    ]


def test_a_place_that_a_variable_names_and_that_is_not_there_is_said(home: Path) -> None:
    place = usual_places({"HOME": str(home), "OLLAMA_MODELS": str(home / "gone")}, NOWHERE)[0]
    assert place.problem == "No such file or directory."


def test_the_cache_of_hugging_face(home: Path) -> None:
    usual = make(home / ".cache" / "huggingface" / "hub")
    assert found(home) == [("huggingface", str(usual))]
    for variable, path in (
        ("HF_HUB_CACHE", home / "a"),
        ("HUGGINGFACE_HUB_CACHE", home / "b"),
        ("HF_HOME", home / "c" / "hub"),
        ("XDG_CACHE_HOME", home / "d" / "huggingface" / "hub"),
    ):
        make(path)
        root = {"HF_HOME": home / "c", "XDG_CACHE_HOME": home / "d"}.get(variable, path)
        assert found(home, **{variable: str(root)}) == [("huggingface", str(path))]


def test_lm_studios_folders(home: Path) -> None:
    new = make(home / ".lmstudio" / "models")
    old = make(home / ".cache" / "lm-studio" / "models")
    assert found(home) == [("lmstudio", str(old)), ("lmstudio", str(new))]
    chosen = make(home / "disk" / "weights")
    elsewhere = make(home / "elsewhere" / "models")
    (new.parent / "settings.json").write_text(json.dumps({"downloadsFolder": str(chosen)}))
    (home / ".lmstudio-home-pointer").write_text(f"{elsewhere.parent}\n")
    assert [root for _, root in found(home)] == [str(elsewhere), str(old), str(chosen), str(new)]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"downloadsFolder": 1}', b"[" * 100_000, b"\xff"])
def test_settings_that_cannot_be_read_are_passed_over(home: Path, text: bytes) -> None:
    make(home / ".lmstudio" / "models")
    (home / ".lmstudio" / "settings.json").write_bytes(text)
    os.mkfifo(home / ".lmstudio-home-pointer")
    assert len(found(home)) == 1


def test_one_store_by_two_paths_is_one_place(home: Path) -> None:
    real = make(home / "real")
    make(home / ".ollama")
    (home / ".ollama" / "models").symlink_to(real)
    assert found(home, OLLAMA_MODELS=str(real)) == [("ollama", str(real))]


def test_a_folder_says_what_it_is(home: Path) -> None:
    OllamaStore(home / "o" / "models")
    make(home / "hf" / "hub" / "models--a--b")
    make(home / ".lmstudio" / "models" / "a" / "b")
    assert place_at(home / "o").tool is Tool.OLLAMA
    assert place_at(home / "o" / "models").root == home / "o" / "models"
    assert place_at(home / "hf").root == home / "hf" / "hub"
    assert place_at(home / ".lmstudio").root == home / ".lmstudio" / "models"
    with pytest.raises(NotFound):
        place_at(home / "x")
    with pytest.raises(UsageError):
        place_at(make(home / "empty"))


# What is in them


def test_a_hundred_thousand_entries_are_walked_through(tmp_path: Path) -> None:
    store = OllamaStore(tmp_path)
    folder = make(tmp_path / "manifests" / "registry.ollama.ai" / "library" / "many")
    for number in range(100_000):
        os.symlink("nowhere", folder / f".{number}")  # noqa: PTH211 - pathlib takes its time
    store.add("real:latest", [("model", b"x")])
    models = list(ollama.models_in(Place(tool=Tool.OLLAMA, root=tmp_path)))
    assert [model.name for model in models] == ["real:latest"]


def test_folders_that_lead_into_themselves(tmp_path: Path) -> None:
    repository = make(tmp_path / "a" / "b")
    for name in ("x", "y", "z"):
        (repository / name).symlink_to(repository)
        (tmp_path / "a" / name).symlink_to(tmp_path)
        (tmp_path / name).symlink_to(tmp_path)
    (repository / "bad.gguf").write_bytes(b"")
    names = {model.name for model in lmstudio.models_in(Place(tool=Tool.LMSTUDIO, root=tmp_path))}
    assert "hf.co/a/b:bad" in names


def test_a_deep_folder_ends(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    make(snapshot / "/".join("d" * 50))
    assert list(huggingface.models_in(Place(tool=Tool.HUGGINGFACE, root=tmp_path))) == []


@pytest.mark.parametrize("name", ["a--b", "a", "a--b--c", "-x--y", "a b--c", "\udcff--x"])
def test_repositories_with_odd_names(tmp_path: Path, name: str) -> None:
    snapshot = make(tmp_path / f"models--{name}" / "snapshots" / ("0" * 40))
    (snapshot / "x-Q8_0.gguf").write_bytes(b"GGUF")
    for model in huggingface.models_in(Place(tool=Tool.HUGGINGFACE, root=tmp_path)):
        assert model.problem is not None
        assert model.name.isprintable()


def test_manifests_that_are_something_else(tmp_path: Path) -> None:
    store = OllamaStore(tmp_path)
    folder = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "odd"
    make(folder / "folder")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "empty").write_bytes(b"")
    (folder / "huge").write_bytes(b" " * (9 << 20))
    (folder / "index").write_text('{"schemaVersion": 2, "manifests": []}')
    (folder / "oci").write_text(
        json.dumps({"schemaVersion": 2, "config": {"digest": f"sha256:{0:064}", "size": 1}, "layers": []})
    )
    store.add("wrong-size:latest", [("model", b"x" * 100)])
    store.path_of(b"x" * 100).write_bytes(b"x")
    store.add("wrong-bytes:latest", [("model", b"y" * 100)])
    store.path_of(b"y" * 100).write_bytes(b"z" * 100)
    store.add("a-folder:latest", [("model", b"d" * 100)])
    store.path_of(b"d" * 100).unlink()
    store.path_of(b"d" * 100).mkdir()
    problems = {
        model.name: model.problem or "" for model in ollama.models_in(Place(tool=Tool.OLLAMA, root=tmp_path))
    }
    assert set(problems) == {f"odd:{name}" for name in ("pipe", "loop", "empty", "huge", "index", "oci")} | {
        "wrong-size:latest",
        "wrong-bytes:latest",
        "a-folder:latest",
    }
    assert all(problems.values())
    assert "another digest" in problems["wrong-bytes:latest"]
    assert "1 bytes instead of 100" in problems["wrong-size:latest"]
