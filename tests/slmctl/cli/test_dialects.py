"""Other tools' artifacts that lie in a store, as the commands have them."""

from __future__ import annotations

import pytest

from registry.store.store import Store
from slmctl.app.ships import FOLDER
from tests.fakes import docker_model, kitops, modctl
from tests.slmctl.cli.program import Program

HELLO = (FOLDER / "hello" / "hello.gguf").read_bytes()
QUESTION = "What is GGUF?"
TEMPLATE = (
    b"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    b"{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

RUNNING = {
    "docker": docker_model.gguf_model([HELLO], licenses=[b"A licence."], template=TEMPLATE),
    "modctl": modctl.model_pack({"hello.gguf": HELLO, "README.md": b"#"}),
    "podman": modctl.podman_artifact({"hello.gguf": HELLO}),
}


@pytest.mark.parametrize("kind", RUNNING)
def test_it_runs_where_it_lies(slmctl: Program, kind: str) -> None:
    artifact = RUNNING[kind]
    artifact.put_into(Store(slmctl.store), "theirs:latest")
    before = {path: path.read_bytes() for path in (slmctl.store / "blobs" / "sha256").iterdir()}
    expected = slmctl("run", "hello", QUESTION)
    assert expected.code == 0
    outcome = slmctl("run", "theirs", QUESTION, "--temperature", "0", "--verify")
    assert (outcome.code, outcome.out) == (0, expected.out)
    shown = slmctl("show", "theirs", "--json").json
    assert shown["digest"] == str(artifact.manifest.digest)
    assert [variant["id"] for variant in shown["variants"]] == [
        variant["id"] for variant in slmctl("show", "hello", "--json").json["variants"]
    ]
    assert slmctl("verify").code == 0
    rows = {row["name"]: row["variant"] for row in slmctl("list", "--json").json["models"]}
    assert rows["theirs:latest"] == rows["hello:latest"]
    assert {path: path.read_bytes() for path in before} == before
    assert slmctl("create", "mine", "--from", "theirs").code == 0
    assert slmctl("run", "mine", QUESTION, "--temperature", "0").out == expected.out


def test_a_template_of_its_own_makes_the_prompts(slmctl: Program) -> None:
    """It asks the one question whatever the user says."""
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    template = f"{prompt}\n".encode()  # Jinja drops the last line's end
    docker_model.gguf_model([HELLO], template=template).put_into(Store(slmctl.store), "theirs:latest")
    messages = b'[{"role": "user", "content": "Hi"}]'
    assert slmctl("render", "theirs", "--messages", "-", stdin=messages).out == prompt
    assert slmctl("run", "theirs", "Hi", "--temperature", "0").out == slmctl("run", "hello", QUESTION).out


def test_a_packed_artifact_says_what_to_do(slmctl: Program) -> None:
    kitops.model_kit({"hello.gguf": HELLO}).put_into(Store(slmctl.store), "kit:latest")
    messages = b'[{"role": "user", "content": "Hi"}]'
    for command in (
        ["run", "kit", "Hi"],
        ["create", "mine", "--from", "kit"],
        ["render", "kit", "--messages", "-"],
    ):
        outcome = slmctl(*command, stdin=messages)
        assert outcome.code == 4, outcome
        assert "tars of a KitOps ModelKit artifact" in outcome.err
        assert "slmctl pull" in outcome.hint
    (variant,) = slmctl("show", "kit", "--json").json["variants"]
    assert variant["id"] == "gguf-unknown"
    assert slmctl("verify", "kit").code == 0
    assert slmctl("rm", "kit").code == 0
