"""Lock files: the same text for the same models, and nothing that is overlooked."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import jsonschema
import pytest

from registry.errors import MalformedFile
from slmctl.app import lockfile
from tests.slmctl.cli.program import SCHEMAS, Program
from tools.random_model import write_random_model


@pytest.fixture
def store(slmctl: Program, tiny_model: Path, tmp_path: Path) -> Program:
    write_random_model(tmp_path / "q8.gguf", tensor_type="Q8_0")
    text = f"FROM {tiny_model}\nFROM {tmp_path}/q8.gguf\n"
    assert slmctl("create", "both", "-f", "-", stdin=text.encode()).code == 0
    assert slmctl("create", "localhost:5000/t/m:v1", "--from", str(tiny_model)).code == 0
    return slmctl


NAMES = ("both", "localhost:5000/t/m:v1")


def test_a_lock_pins_indexes_and_manifests(store: Program, tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    done = store("lock", *NAMES, "-o", str(path), "--json")
    document = tomllib.loads(path.read_text())
    assert document == done.json, "the file is the document of lock-1.json, as TOML"
    schema = json.loads((SCHEMAS / "lock-1.json").read_text())
    jsonschema.Draft202012Validator(schema["oneOf"][0] | {"$defs": schema["$defs"]}).validate(document)
    assert [model["name"] for model in document["models"]] == ["both:latest", "localhost:5000/t/m:v1"]
    for model in document["models"]:
        shown = store("show", model["name"], "--json").json
        assert (model["digest"], model["size"]) == (shown["digest"], shown["size"])
        pinned = {variant["id"]: (variant["digest"], variant["size"]) for variant in model["variants"]}
        assert pinned == {each["id"]: (each["digest"], each["size"]) for each in shown["variants"]}
    assert str(tmp_path) not in path.read_text()


def test_the_same_models_give_the_same_text(store: Program, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        assert store("lock", *NAMES, "-o", str(tmp_path / "a")).code == 0
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert store("lock", *reversed(NAMES), "BOTH:latest", "-o", str(tmp_path / "b")).code == 0
    assert store("lock", *NAMES).out == (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert store("lock", *NAMES, "-o", str(tmp_path / "a")).code == 0, "a lock is written again"
    text = (tmp_path / "a").read_bytes()
    assert lockfile.parse(text).to_text().encode() == text


def test_check_tells_what_moved_and_what_is_gone(store: Program, tiny_model: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "models.lock")
    assert store("lock", *NAMES, "-o", path).code == 0
    assert store("lock", "--check", path).code == 0
    assert store("lock", "--check", "-", stdin=Path(path).read_bytes()).code == 0
    assert store("rm", NAMES[1]).code == 0
    missing = store("lock", "--check", path)
    assert (missing.code, "here missing" in missing.err) == (3, True)
    assert store("create", "both", "-f", "-", stdin=f"FROM {tiny_model}\nSYSTEM new\n".encode()).code == 0
    other = store("lock", "--check", path)
    assert other.code == 5
    assert "both:latest: pinned" in other.err
    done = store("lock", "--check", path, "--json")
    assert (done.code, [each["state"] for each in done.json["checked"]]) == (5, ["other", "missing"])


def test_what_is_wrongly_used(store: Program, tmp_path: Path) -> None:
    for words, code in (
        (["lock"], 2),
        (["lock", "both", "--check", "x"], 2),
        (["lock", "--check", "x", "-o", "y"], 2),
        (["lock", "none"], 3),
        (["lock", "--check", str(tmp_path / "none")], 3),
        (["lock", "--check", str(tmp_path)], 1),
        (["lock", "both", "-o", str(tmp_path)], 1),
        (["lock", "both", "-o", str(tmp_path / "none" / "x")], 1),
        (["lock", "./x"], 2),
    ):
        outcome = store(*words)
        assert outcome.code == code, (words, outcome.err)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "q8.gguf"}


DIGEST = f'"sha256:{"0" * 64}"'
MODEL = f'[[models]]\nname = "a:latest"\ndigest = {DIGEST}\nsize = 1\n'
VARIANT = f'[[models.variants]]\nid = "gguf-f16"\ndigest = {DIGEST}\nsize = 1\n'
HEAD = 'schema = "slmctl.lock/1"\n'


def test_the_smallest_lock_is_read() -> None:
    assert lockfile.parse(HEAD.encode()).models == ()
    [model] = lockfile.parse(f"{HEAD}{MODEL}{VARIANT}".encode()).models
    assert (model.name, model.size, model.sources, model.variants[0].id) == ("a:latest", 1, (), "gguf-f16")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no = toml =",
        'schema = "slmctl.lock/2"\n',
        'schema = ["slmctl.lock/1"]\n',
        f"{HEAD}extra = 1\n",
        f"{HEAD}models = 1\n",
        f"{HEAD}models = [1]\n",
        f"{HEAD}{MODEL}surprise = 1\n",
        f"{HEAD}{MODEL}{MODEL}",
        f"{HEAD}{MODEL}{MODEL.replace('a:latest', 'A:latest')}",
        HEAD + MODEL.replace("a:latest", "a"),
        HEAD + MODEL.replace("a:latest", "../a"),
        HEAD + MODEL.replace("a:latest", "/etc/passwd"),
        HEAD + MODEL.replace("a:latest", f"a@sha256:{'0' * 64}"),
        HEAD + MODEL.replace("sha256:", "sha512:"),
        HEAD + MODEL.replace("size = 1", "size = -1"),
        HEAD + MODEL.replace("size = 1", "size = true"),
        HEAD + MODEL.replace("size = 1", "size = 1.0"),
        HEAD + MODEL.replace("size = 1", "size = 99999999999999999999"),
        HEAD + MODEL.replace("size = 1\n", ""),
        f'{HEAD}{MODEL}source = "/home/me/x"\n',
        f'{HEAD}{MODEL}source = "create"\n',
        f'{HEAD}{MODEL}sources = "hf://a/b"\n',
        f"{HEAD}{MODEL}sources = []\n",
        f'{HEAD}{MODEL}sources = ["hf://a/b"]\n',
        f'{HEAD}{MODEL}sources = ["hf://a/b", "/home/me/x"]\n',
        f'{HEAD}{MODEL}sources = ["hf://a/b", 1]\n',
        f'{HEAD}{MODEL}source = "hf://a/b"\nsources = ["hf://a/b", "hf://a/c"]\n',
        f"{HEAD}{MODEL}source = 1\n",
        f"{HEAD}{MODEL}{VARIANT.replace('id', 'name')}",
        f"{HEAD}{MODEL}variants = 1\n",
        HEAD + "x = " + "[" * 5000,
        HEAD + "#" * (9 << 20),
    ],
)
def test_a_lock_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MalformedFile):
        lockfile.parse(text.encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(MalformedFile):
        lockfile.parse(b"\xff\xfe")
