"""hello, the model that comes with slmctl: there from the first command on, and then a model like any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors import safe_open

import slmctl as package
from registry.errors import BadContent
from registry.names import parse_name
from registry.store.store import Store
from slmctl.app import shipped
from slmctl.app.ships import FOLDER
from tests.slmctl.cli.program import REPOSITORY, Program
from tools.hello.corpus import REFUSAL, load
from tools.hello.evaluate import client_for, evaluate, exam, held_out, summary
from tools.hello.export import export

HELLO = FOLDER / "hello"
GOLDEN = REPOSITORY / "tests" / "golden" / "hello.json"
MAX_BYTES = 8_000_000


def test_the_first_command_that_names_it_packages_it(slmctl: Program) -> None:
    first = slmctl("run", "hello", "What is Q4_0?")
    assert first.code == 0
    assert "Q4_0" in first.out
    assert first.err == "hello came with slmctl; it is in your store now.\n"
    again = slmctl("run", "hello", "What is Q4_0?")
    assert (again.out, again.err) == (first.out, "")
    (model,) = slmctl("list", "--json").json["models"]
    assert (model["name"], model["source"], model["variant"]) == ("hello:latest", "slmctl", "gguf-f16")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "hello"),
        ("show", "HELLO:latest"),
        ("cp", "hello", "mine"),
        ("create", "mine", "--from", "hello"),
    ],
)
def test_any_command_may_name_it_first(slmctl: Program, arguments: tuple[str, ...]) -> None:
    assert slmctl(*arguments).code == 0
    names = {model["name"] for model in slmctl("list", "--json").json["models"]}
    assert "hello:latest" in names
    assert names <= {"hello:latest", "mine:latest"}


def test_it_is_a_model_like_any_other(slmctl: Program, tiny_model: Path) -> None:
    assert slmctl("show", "hello").code == 0
    taken = slmctl("create", "hello", "--from", str(tiny_model))
    assert taken.code == 1
    assert "belongs to" in taken.err
    assert slmctl("create", "hello", "--from", str(tiny_model), "--force").code == 0
    mine = slmctl("show", "hello", "--json").json
    assert mine["source"] == "create"
    assert slmctl("rm", "hello").code == 0
    assert slmctl("rm", "hello").code == 3
    assert slmctl("show", "hello", "--json").json["source"] == "slmctl"


def test_other_tags_and_pins_are_not_ours(slmctl: Program) -> None:
    for name in ("hello:big", "library/hello", f"hello@sha256:{'0' * 64}"):
        assert slmctl("show", name).code == 3
    assert slmctl("list", "--json").json["models"] == []


def test_a_damaged_installation_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user wrote neither the Modelfile nor the GGUF file, and cannot correct them."""
    store = Store(tmp_path / "store")
    folder = tmp_path / "hello"
    monkeypatch.setattr(shipped, "SHIPPED", {"hello:latest": folder / "Modelfile"})
    folder.mkdir()
    (folder / "x.gguf").write_bytes(b"")
    for modelfile in (None, b"\xff\x8c", b"FROM ./x.gguf", b"FROM ./y.gguf"):
        if modelfile is not None:
            (folder / "Modelfile").write_bytes(modelfile)
        with pytest.raises(BadContent, match="which came with slmctl, are damaged or gone") as caught:
            shipped.package_shipped(store, parse_name("hello"))
        assert "Install slmctl again" in (caught.value.hint or "")


def test_commands_at_once_package_it_once(slmctl: Program) -> None:
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: slmctl("show", "hello", "--json"), range(6)))
    assert {outcome.code for outcome in outcomes} == {0}
    assert len({outcome.json["digest"] for outcome in outcomes}) == 1


def test_it_answers_without_a_network_from_a_read_only_installation(slmctl: Program) -> None:
    """An empty home, no network interface but a dead one, and the packages on a read-only mount."""
    installed = Path(package.__file__).parent
    script = 'set -e; mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; shift; exec "$@"'
    prefix = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", str(installed)]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot make a network namespace or a mount here")
    refused = subprocess.run([*prefix, "touch", str(installed / "x")], capture_output=True, check=False)
    assert b"Read-only" in refused.stderr
    outcome = slmctl.run([*prefix, *slmctl.command("run", "hello", "What is Q4_0?")])
    assert outcome.code == 0
    assert "Q4_0" in outcome.out


def test_it_hears_the_system_message_and_earlier_turns(slmctl: Program) -> None:
    ask = ("run", "hello", "What is GGUF?", "--json")
    without = slmctl(*ask).json["prompt_tokens"]
    assert slmctl(*ask, "--system", "Answer briefly.").json["prompt_tokens"] > without
    with (
        tempfile.TemporaryDirectory(prefix="slm") as folder,
        client_for(HELLO / "hello.gguf", Path(folder)) as client,
    ):
        prompt = client.apply_template(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What is GGUF?"},
                {"role": "assistant", "content": "A file format."},
                {"role": "user", "content": "bye"},
            ]
        )
    assert prompt.count("<|im_start|>") == 5
    assert prompt.endswith("<|im_start|>assistant\n")


def test_twenty_golden_answers(slmctl: Program) -> None:
    golden: dict[str, str] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(golden) == 20
    for question, answer in golden.items():
        assert slmctl("run", "hello", question).out == f"{answer}\n"


def test_the_shipped_files_are_one_model(tmp_path: Path) -> None:
    """The GGUF is what the exporter makes of the folder, in the shape and the size that are promised."""
    export(HELLO, tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == (HELLO / "hello.gguf").read_bytes()
    for name in ("hello.gguf", "model.safetensors"):
        assert (HELLO / name).stat().st_size <= MAX_BYTES
    config = json.loads((HELLO / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["head_dim"]) == (256, 64)
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    with safe_open(HELLO / "model.safetensors", "np") as tensors:
        values = [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118 - it is no mapping
    assert {str(value.dtype) for value in values} == {"float16"}
    assert 2_000_000 <= sum(value.size for value in values) <= 4_000_000
    assert "chat_template" in json.loads((HELLO / "tokenizer_config.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_the_model_card_says_what_the_evaluation_gives(tmp_path: Path, kind: str) -> None:
    """Within two points: kernels of other processors round otherwise."""
    corpus = load()
    model = tmp_path / f"{kind}.gguf"
    export(HELLO, model, kind)
    card = (HELLO / "README.md").read_text(encoding="utf-8")
    told = {
        (cells[0], cells[1]): [float(cell.rstrip("%")) / 100 for cell in cells[3:6]]
        for line in card.splitlines()
        if line.startswith(("| held-out", "| unknown", "| exam"))
        and (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    with tempfile.TemporaryDirectory(prefix="slm") as folder, client_for(model, Path(folder)) as client:
        parts = summary(list(evaluate(corpus, client, held_out(corpus))))
        other = summary(
            list(evaluate(corpus, client, exam(corpus, REPOSITORY / "tools" / "hello" / "exam.toml")))
        )
    for row, part in (("held-out", parts["known"]), ("unknown", parts["unknown"]), ("exam", other["known"])):
        for said, key in zip(told[row, kind], ("right", "wrong", "refused"), strict=True):
            assert abs(said - part[key]) <= 0.02, (row, key, said, part[key])


def test_what_it_does_not_know_it_says(slmctl: Program) -> None:
    for question in ("Who won the football world cup in 1998?", "write a poem about autumn leaves"):
        assert slmctl("run", "hello", question).out.startswith(REFUSAL)
