"""slmctl and the Hugging Face Hub, as a user has them: what comes, what is refused, and who is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from slmctl.app.ships import FOLDER
from tests.fakes.hub import FakeHub, pointer, serve_hub
from tests.slmctl.cli.program import Program

HELLO = (FOLDER / "hello" / "hello.gguf").read_bytes()
CARD = b"---\nlicense: mit\n---\n# It\n"
SHAPE = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
NAME = "hf.co/org/model"


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    folder = {
        "config.json": json.dumps({**SHAPE, "auto_map": {"AutoModel": "evil.Evil"}}).encode(),
        "model.safetensors": save({"model.embed_tokens.weight": np.zeros((4, 8), dtype=np.float16)}),
        "tokenizer.json": b"{}",
        "evil.py": b"import os",
    }
    repositories = {
        "org/model": {
            "m-Q4_K_M.gguf": HELLO,
            "m-Q8_0.gguf": HELLO + bytes(64),
            "README.md": CARD,
            "LICENSE": b"free",
        },
        "org/folder": folder,
        "org/pickle": {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."},
        "org/gated": {"m-Q8_0.gguf": HELLO},
        "org/private": {"m-Q8_0.gguf": HELLO},
    }
    with serve_hub(repositories) as served:
        served.gated, served.private = {"org/gated"}, {"org/private"}
        served.tokens, served.accepted = {"hf_good"}, {"hf_accepted"}
        yield served


@pytest.fixture
def online(slmctl: Program, fake: FakeHub) -> Program:
    slmctl.go_online()
    slmctl.environment["HF_ENDPOINT"] = fake.endpoint
    return slmctl


def in_store(slmctl: Program) -> set[bytes]:
    return {path.read_bytes() for path in (slmctl.store / "blobs" / "sha256").glob("*")}


def names(slmctl: Program) -> list[str]:
    return [model["name"] for model in slmctl("list", "--json").json["models"]]


def test_a_model_is_pulled_and_runs(online: Program, fake: FakeHub) -> None:
    pulled = online("pull", NAME)
    assert pulled.code == 0, pulled.err
    (model,) = online("list", "--json").json["models"]
    assert (model["name"], model["variant"]) == (f"{NAME}:latest", "gguf-q8_0")  # it loses least, and fits
    assert model["source"] == f"hf://org/model@{fake.commit}"
    answer = online("run", NAME, "Hello!")
    assert (answer.code, answer.out.strip() != "") == (0, True)
    asked = {request.path for request in fake.cdn.requests}
    assert asked == {"/org/model/m-Q4_K_M.gguf", "/org/model/m-Q8_0.gguf"}  # of the first the header alone
    assert len([request for request in fake.cdn.requests if "Q4_K_M" in request.path]) == 1


def test_all_variants_are_one_model_and_what_is_here_is_not_fetched(online: Program, fake: FakeHub) -> None:
    assert online("pull", f"{NAME}:q8_0").code == 0
    fake.cdn.requests.clear()
    assert online("pull", NAME, "--all-variants").code == 0
    document = online("show", NAME, "--json").json
    assert [variant["id"] for variant in document["variants"]] == ["gguf-q4_k_m", "gguf-q8_0"]
    again = [request.headers["range"] for request in fake.cdn.requests if "Q8_0" in request.path]
    assert again == ["bytes=0-1048575"]  # its header, and no more


def test_a_folder_is_taken_without_its_code(online: Program, fake: FakeHub) -> None:
    pulled = online("pull", "hf.co/org/folder")
    assert pulled.code == 0, pulled.err
    assert "which is never downloaded" in pulled.err
    assert not any("evil.py" in request.target for request in fake.requests)
    assert online("run", "hf.co/org/folder", "x").code == 4


@pytest.mark.parametrize(
    ("name", "token", "code", "sentence"),
    [
        ("hf.co/org/nothing", None, 3, "has no public repository hf.co/org/nothing"),
        ("hf.co/org/private", None, 3, "has no public repository hf.co/org/private"),
        ("hf.co/org/nothing", "hf_good", 3, "that the token in HF_TOKEN may see"),
        ("hf.co/org/gated", None, 7, "is gated"),
        ("hf.co/org/gated", "hf_good", 7, "has not been let in"),
        ("hf.co/org/model", "hf_wrong", 7, "does not know the token in HF_TOKEN"),
        ("hf.co/org/model:Q6_K", None, 3, "has no build 'Q6_K'"),
        ("hf.co/org/model@v9", None, 3, "does not have the revision 'v9'"),
        ("hf.co/org/pickle", None, 4, "only pickled weights"),
    ],
)
def test_what_cannot_be_had_says_what_to_do(
    online: Program, fake: FakeHub, name: str, token: str | None, code: int, sentence: str
) -> None:
    if token is not None:
        online.environment["HF_TOKEN"] = token
    refused = online("pull", name)
    assert (refused.code, sentence in refused.err) == (code, True), refused.err
    assert refused.hint
    assert token is None or token not in refused.err
    assert names(online) == []
    assert fake.cdn.requests == []


@pytest.mark.parametrize(("name", "token"), [("org/private", "hf_good"), ("org/gated", "hf_accepted")])
def test_a_token_opens_and_goes_nowhere_else(online: Program, fake: FakeHub, name: str, token: str) -> None:
    cache = Path(online.environment["HOME"]) / ".cache" / "huggingface"
    cache.mkdir(parents=True)
    (cache / "token").write_text(token)
    assert online("pull", f"hf.co/{name}").code == 0
    assert any(request.headers.get("authorization") == f"Bearer {token}" for request in fake.requests)
    assert not any(token.encode() in request.raw_head for request in fake.cdn.requests)
    kept = b"".join(path.read_bytes() for path in online.home.rglob("*") if path.is_file())
    assert token.encode() not in kept


@pytest.mark.parametrize("how", [("--offline",), ()])
def test_offline_nobody_is_asked_and_what_is_here_runs(
    online: Program, fake: FakeHub, how: tuple[str, ...]
) -> None:
    assert online("pull", NAME).code == 0
    fake.requests.clear()
    if not how:
        online.environment["HF_HUB_OFFLINE"] = "1"
    refused = online("pull", "hf.co/org/folder", *how)
    assert (refused.code, "was not asked because" in refused.err) == (6, True), refused.err
    assert online("run", NAME, "Hello!").code == 0
    assert fake.requests == []


def test_what_lies_is_never_visible(online: Program, fake: FakeHub) -> None:
    for served in (pointer(HELLO), HELLO[:-1] + b"x", HELLO + b"x", HELLO[:-1]):
        fake.served["m-Q4_K_M.gguf"] = served
        refused = online("pull", NAME, "--variant", "Q4_K_M")
        assert refused.code == 5, refused.err
        assert names(online) == []
        assert served not in in_store(online)
        assert HELLO not in in_store(online)
    fake.served = {"LICENSE": b"paid"}
    assert online("pull", NAME, "--variant", "Q4_K_M").code == 5
    fake.served = {}
    assert online("pull", NAME, "--variant", "Q4_K_M").code == 0


def test_names_that_lead_elsewhere_are_passed_over(online: Program, fake: FakeHub) -> None:
    for path in ("../../../../evil.gguf", "/evil.gguf", "a\\..\\evil.gguf"):
        fake.listed.append(
            {"rfilename": path, "size": 4, "blobId": "0" * 40, "lfs": {"sha256": "0" * 64, "size": 4}}
        )
    assert online("pull", NAME, "--all-variants").code == 0
    assert not any("evil" in request.target for request in [*fake.requests, *fake.cdn.requests])
    assert list(online.home.parent.rglob("*evil*")) == []


def test_a_damaged_small_file_is_repaired_by_its_git_name(online: Program, fake: FakeHub) -> None:
    assert online("pull", NAME).code == 0
    damaged = next(
        path for path in (online.store / "blobs" / "sha256").glob("*") if path.read_bytes() == b"free"
    )
    damaged.chmod(0o644)
    damaged.write_bytes(b"paid")
    repaired = online("verify", "--repair")
    assert repaired.code == 0, repaired.err
    assert damaged.read_bytes() == b"free"


def test_a_readme_moves_nothing_and_weights_do(online: Program, fake: FakeHub) -> None:
    def state() -> str:
        return str(online("list", "--outdated", "--json").json["models"][0]["state"])

    assert online("pull", NAME, "--variant", "Q4_K_M").code == 0
    fake.commit = "f" * 40
    fake.repositories["org/model"]["README.md"] = b"# other"
    assert state() == "current"
    fake.repositories["org/model"]["m-Q4_K_M.gguf"] = HELLO + bytes(128)
    assert state() == "moved"
