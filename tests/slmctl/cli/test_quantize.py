"""`slmctl quantize`: more builds of a model under its name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest

from registry.errors import NameTaken
from registry.names import parse
from registry.store.store import Store
from runtimes.planning.mix import quantized_bytes
from slmctl.app.events import Event, Progress, Transfer, ignore
from slmctl.app.models import copy_model
from slmctl.app.network import Network
from slmctl.app.places import Places
from slmctl.app.pull import pull
from slmctl.app.pulls import by_name
from slmctl.app.quantize import QuantizeCall, quantize
from slmctl.config import Settings
from tests.fakes.ollama_store import OllamaStore
from tests.hf_folders import SHIPPED, write_hello_folder
from tests.processes import children, until, wait_until_gone
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.publishing import Author
from tests.slmctl.cli.stored import blobs, header, leftovers, variants, weights
from tools.random_model import Shape, write_random_model

NOW = "2026-11-22T00:00:00Z"
BOARD = "raspberry-pi-5-8gb"


@pytest.fixture
def hello(slmctl: Program) -> Program:
    assert slmctl("show", "hello").code == 0
    return slmctl


def made(slmctl: Program, name: str, *arguments: str) -> dict[str, int]:
    """What was made, with its bytes."""
    done = slmctl("quantize", name, *arguments, "--json")
    assert done.code == 0, done.err
    assert leftovers(slmctl) == []
    return {row["variant"]: row["bytes"] for row in done.json["made"]}


def refused(slmctl: Program, code: int, *arguments: str) -> str:
    """The two lines of a refusal, which changes nothing."""
    before = slmctl("show", arguments[0], "--json").json.get("digest"), blobs(slmctl)
    done = slmctl("quantize", *arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 2), done.err
    assert (slmctl("show", arguments[0], "--json").json.get("digest"), blobs(slmctl)) == before
    assert leftovers(slmctl) == []
    return done.err


def types(slmctl: Program, name: str, variant: str) -> Mapping[str, str]:
    return {tensor.name: tensor.type.name for tensor in header(slmctl, name, variant).tensors}


# What comes of it


def test_builds_are_added_under_the_same_name(hello: Program) -> None:
    before = variants(hello, "hello")["gguf-f16"]
    done = hello("quantize", "hello", "--to", "q8_0,Q4_K_M", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["name"], found["source"], found["of"]) == ("hello:latest", "slmctl", "gguf-f16")
    assert found["variants"] == ["gguf-f16", "gguf-q8_0", "gguf-q4_k_m"]
    assert found["variant"] == "gguf-q4_k_m"
    after = variants(hello, "hello")
    assert after["gguf-f16"].digest == before.digest  # its manifest stays byte for byte
    for row in found["made"]:
        variant = after[row["variant"]]
        assert (variant.spec, variant.licenses) == (before.spec, before.licenses)
        assert row["bytes"] == weights(hello, "hello", row["variant"]).stat().st_size
        facts = variant.facts
        assert facts is not None
        assert before.facts is not None
        assert facts.tensor_bytes == quantized_bytes(before.facts, str(facts.quantization))
    for identity in found["variants"]:
        said = hello("run", "hello", "--variant", identity, "--temperature", "0", "What is GGUF?", "--json")
        assert said.json["variant"] == identity
        assert said.json["response"].strip()
    assert hello("verify", "--json").json["findings"] == []
    assert leftovers(hello) == []


def test_one_word_at_a_time_gives_the_same_builds(hello: Program) -> None:
    made(hello, "hello", "--to", "q5_1,q4_0")
    assert hello("cp", "hello", "other").code == 0
    assert hello("rm", "hello").code == 0
    assert hello("show", "hello").code == 0  # it comes with slmctl again
    made(hello, "hello", "--to", "q5_1")
    made(hello, "hello", "--to", "q4_0")
    first, second = (hello("show", name, "--json").json["digest"] for name in ("other", "hello"))
    assert first == second


def test_safetensors_are_converted_for_the_moment(hello: Program, tmp_path: Path) -> None:
    folder = write_hello_folder(tmp_path / "published")
    assert hello("create", "m", "--from", str(folder), "--only", "safetensors").code == 0
    made(hello, "m", "--to", "q8_0")
    assert list(variants(hello, "m")) == ["safetensors-f16", "gguf-q8_0"]
    made(hello, "hello", "--to", "q8_0")
    ours, theirs = (gguf.GGUFReader(weights(hello, name, "gguf-q8_0")) for name in ("m", "hello"))
    assert [tensor.name for tensor in ours.tensors] == [tensor.name for tensor in theirs.tensors]
    for one, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert np.array_equal(one.data, other.data)


def test_overrides_are_obeyed(hello: Program) -> None:
    made(
        hello, "hello", "--to", "q4_k_m", "--tensor-type", "ffn_down=q8_0", "--tensor-type", r"blk\.0\.attn_q=f16",
        "--token-embedding-type", "q5_0",
    )  # fmt: skip
    found = types(hello, "hello", "gguf-q4_k_m")
    assert {kind for name, kind in found.items() if "ffn_down" in name} == {"Q8_0"}
    assert (found["blk.0.attn_q.weight"], found["blk.1.attn_q.weight"]) == ("F16", "Q4_K")
    assert found["token_embd.weight"] == "Q5_0"
    made(hello, "hello", "--to", "q4_k_m", "--pure", "--force")
    pure = types(hello, "hello", "gguf-q4_k_m")
    assert {kind for name, kind in pure.items() if name.endswith(("q.weight", "down.weight"))} == {"Q4_K"}


def test_what_is_there_is_made_anew_only_by_force(hello: Program) -> None:
    made(hello, "hello", "--to", "q8_0")
    first = variants(hello, "hello")
    assert "already" in refused(hello, 2, "hello", "--to", "q4_0,q8_0")
    made(hello, "hello", "--to", "q8_0", "--force", "--token-embedding-type", "f16")
    second = variants(hello, "hello")
    assert list(second) == list(first)
    assert second["gguf-q8_0"].digest != first["gguf-q8_0"].digest
    assert first["gguf-q8_0"].weights[0].digest.hex not in blobs(hello)  # and nothing is left of the first
    assert hello("gc", "--dry-run", "--json").json["freed"] == 0


def test_quantized_twice_takes_a_flag(hello: Program, tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    write_random_model(path, tensor_type="Q8_0")
    assert hello("create", "m", "--from", str(path)).code == 0
    assert "--allow-requantize" in refused(hello, 2, "m", "--to", "q4_0")
    assert made(hello, "m", "--to", "q4_0", "--allow-requantize")
    assert set(types(hello, "m", "gguf-q4_0").values()) >= {"Q4_0"}


def test_shards_and_what_completes_a_model_come_along(slmctl: Program, tiny_shards: list[Path]) -> None:
    folder = tiny_shards[0].parent
    assert slmctl("create", "m", "--from", str(tiny_shards[0])).code == 0, folder
    (identity,) = variants(slmctl, "m")
    made(slmctl, "m", "--to", "q4_0")
    whole = {tensor.name for tensor in header(slmctl, "m", "gguf-q4_0").tensors}
    assert len(variants(slmctl, "m")[identity].weights) > 1
    assert len(variants(slmctl, "m")["gguf-q4_0"].weights) == 1
    assert "token_embd.weight" in whole
    assert slmctl("run", "m", "--variant", "q4_0", "--raw", "--max-tokens", "2", "--ctx", "64", "x").code == 0


# Which one


def test_fit_takes_what_the_plan_takes(hello: Program) -> None:
    table = hello("footprint", "hello", "--for", BOARD, "--json").json["quantizations"]
    (best,) = (row["variant"] for row in table if row["chosen"])
    assert list(made(hello, "hello", "--fit", "--for", BOARD)) == ([best] if best != "gguf-f16" else [])
    assert made(hello, "hello", "--fit", "--for", BOARD) == {}  # it is there
    assert hello("plan", "hello", "--for", BOARD, "--json").json["choice"]["variant"] == best


def test_fit_says_what_does_not(hello: Program) -> None:
    done = hello("quantize", "hello", "--fit", "--max-size", "1kB")
    assert (done.code, "smallest" in done.err) == (4, True)
    assert hello("quantize", "hello", "--to", "q8_0", "--fit").code == 2
    assert hello("quantize", "hello").code == 2
    assert hello("quantize", "hello", "--to", "q8_0", "--for", BOARD).code == 2


@pytest.mark.parametrize("size", ["2.3MB", "2.7MB", "4MB"])
def test_max_size_takes_what_loses_least_under_it(hello: Program, size: str) -> None:
    most = int(float(size.removesuffix("MB")) * 10**6)
    table = hello("footprint", "hello", "--json").json["quantizations"]
    fitting = [row for row in table if row["file_bytes"] <= most and row["quantization"] != "F16"]
    best = min(fitting, key=lambda row: (row["quality"]["loss"], row["file_bytes"]))
    ((variant, made_bytes),) = made(hello, "hello", "--max-size", size).items()
    assert variant == best["variant"]
    assert made_bytes <= most


def test_a_size_that_the_unquantized_one_has_asks_for_nothing(hello: Program) -> None:
    assert made(hello, "hello", "--max-size", "10MB") == {}


def test_which_one_is_there_already_is_said(hello: Program) -> None:
    ((best, _),) = made(hello, "hello", "--fit", "--for", BOARD).items()
    size = f"{weights(hello, 'hello', best).stat().st_size // 1000 + 1}kB"
    for wish in (("--fit", "--for", BOARD), ("--max-size", size)):
        assert hello("quantize", "hello", *wish).out == f"'hello' has it already: {best}\n"
        assert hello("quantize", "hello", *wish, "--json").json["there"] == [best]


# What cannot be


def test_names_types_and_options_that_there_are_not(hello: Program, tmp_path: Path) -> None:
    assert "q9_9" in refused(hello, 2, "hello", "--to", "q9_9")
    assert "importance matrix" in refused(hello, 2, "hello", "--to", "iq2_xs")
    assert "nonsense" in refused(hello, 2, "hello", "--to", "q8_0", "--tensor-type", "nonsense")
    assert "missing.dat" in refused(
        hello, 3, "hello", "--to", "q8_0", "--imatrix", str(tmp_path / "missing.dat")
    )
    (tmp_path / "broken.dat").write_bytes(b"no matrix")
    refused(hello, 5, "hello", "--to", "q8_0", "--imatrix", str(tmp_path / "broken.dat"))
    assert "gguf-q8_0" not in refused(hello, 3, "hello", "--to", "q8_0", "--variant", "q4_0")
    assert hello("quantize", "nobody", "--to", "q8_0").code == 3


def test_a_folder_that_is_no_gguf_and_no_safetensors_cannot_be_quantized(
    slmctl: Program, tmp_path: Path
) -> None:
    folder = write_hello_folder(tmp_path / "mlx")
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"bits": 4, "group_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    done = slmctl("create", "m", "--from", str(folder), "--only", "safetensors")
    assert done.code == 0, done.err
    assert "safetensors" in refused(slmctl, 4, "m", "--to", "q8_0")


# A name that belongs to a place


def test_what_was_made_of_a_pulled_model_stays_until_the_model_moves(
    author: Author, slmctl: Program, place: str
) -> None:
    path, name = place.partition("/")[2], f"{place}:v1"
    author.create("m", 1, "F16")
    author.publish("m", f"{path}:v1")
    assert slmctl("pull", name).code == 0
    source = slmctl("show", name, "--json").json["source"]
    assert made(slmctl, name, "--to", "q8_0")
    found = slmctl("show", name, "--json").json
    assert found["source"] == source
    for arguments in (("--dry-run",), (), ("--variant", "f16")):
        again = slmctl("pull", name, *arguments)
        assert again.code == 0, again.err
        assert slmctl("show", name, "--json").json["digest"] == found["digest"]
    author.create("m", 2, "F16")
    author.publish("m", f"{path}:v1")
    for arguments in (("--dry-run",), ()):
        moved = slmctl("pull", name, *arguments)
        assert moved.code == 1
        assert "gguf-q8_0" in moved.err
        assert "--force" in moved.hint
        assert slmctl("show", name, "--json").json["digest"] == found["digest"]
    assert leftovers(slmctl) == []
    assert slmctl("pull", name, "--force").code == 0
    assert list(variants(slmctl, name)) == ["gguf-f16"]
    assert slmctl("pull", name).code == 0


def test_a_build_that_was_not_pulled_is_not_had_already(author: Author, slmctl: Program, place: str) -> None:
    path, name = place.partition("/")[2], f"{place}:v1"
    author.create("m", 1, "F16", "Q8_0")
    author.publish("m", f"{path}:v1")
    assert slmctl("pull", name, "--variant", "f16").code == 0
    said = refused(slmctl, 3, name, "--to", "q8_0")
    assert "gguf-q8_0, which is not here" in said
    assert f"slmctl pull {name} --variant gguf-q8_0" in said
    assert made(slmctl, name, "--to", "q8_0", "--force")


def test_what_is_made_while_the_model_is_pulled_is_not_lost(
    author: Author, slmctl: Program, place: str
) -> None:
    path, name = place.partition("/")[2], f"{place}:v1"
    author.create("m", 1, "F16")
    author.publish("m", f"{path}:v1")
    assert slmctl("pull", name).code == 0
    author.create("m", 2, "F16")
    author.publish("m", f"{path}:v1")
    store = Store(slmctl.store)
    seen: list[Event] = []

    def make(event: Event) -> None:
        if isinstance(event, Transfer) and not seen:
            seen.append(event)
            call = QuantizeCall(name=parse(name), labels=("Q8_0",))
            quantize(store, call, now=NOW, environ=dict(os.environ))

    network = Settings.load(slmctl.environment).network
    request = by_name(store, parse(name), search=network.search)
    with Network(network) as connected, pytest.raises(NameTaken, match="gguf-q8_0"):
        pull(store, Places(connected, ignore), request, now=NOW, on_event=make)
    assert seen
    assert list(variants(slmctl, name)) == ["gguf-f16", "gguf-q8_0"]


def test_what_was_made_of_a_pulled_model_is_known_where_a_bundle_brings_it(
    author: Author, slmctl: Program, place: str, tmp_path: Path
) -> None:
    path, name, bundle = place.partition("/")[2], f"{place}:v1", str(tmp_path / "m.tar")
    author.create("m", 1, "F16")
    author.publish("m", f"{path}:v1")
    assert slmctl("pull", name).code == 0
    made(slmctl, name, "--to", "q8_0,q4_0")
    assert slmctl("export", name, "--variant", "f16", "--variant", "q8_0", "-o", bundle).code == 0
    slmctl.environment = {**slmctl.environment, "SLMCTL_STORE": str(tmp_path / "elsewhere")}
    assert slmctl("import", bundle).code == 0
    digest = slmctl("show", name, "--json").json["digest"]
    again = slmctl("pull", name)  # that what the bundle has is that version, nobody knows
    assert again.code == 1
    assert "(gguf-q8_0)" in again.err
    assert slmctl("show", name, "--json").json["digest"] == digest
    assert slmctl("pull", name, "--force").code == 0
    assert slmctl("show", name, "--json").json["variants"][0]["id"] == "gguf-f16"


def test_what_was_made_of_a_bundles_model_stays(hello: Program, tmp_path: Path) -> None:
    bundle = str(tmp_path / "hello.tar")
    assert hello("export", "hello", "-o", bundle).code == 0
    assert hello("import", bundle, "--as", "m").code == 0
    made(hello, "m", "--to", "q4_0")
    for command in (("import", bundle, "--as", "m"), ("pull", bundle, "--as", "m")):
        again = hello(*command)
        assert again.code == 1
        assert "gguf-q4_0" in again.err
        assert "--force" in again.hint
        assert list(variants(hello, "m")) == ["gguf-f16", "gguf-q4_0"]
    assert hello("import", bundle, "--as", "m", "--force").code == 0
    assert list(variants(hello, "m")) == ["gguf-f16"]


def test_what_was_made_of_an_adopted_model_stays(slmctl: Program, tmp_path: Path) -> None:
    theirs = OllamaStore(tmp_path / "ollama")
    model = (SHIPPED / "hello.gguf").read_bytes()
    theirs.add("bot:latest", [("model", model)], quantization="F16")
    adopt = ("adopt", str(tmp_path / "ollama"), "--json")
    assert slmctl(*adopt).code == 0
    made(slmctl, "bot", "--to", "q4_0")
    digest = slmctl("show", "bot", "--json").json["digest"]
    again = slmctl(*adopt).json["models"][0]
    assert (again["present"], again["problem"]) == (True, None)
    assert slmctl("show", "bot", "--json").json["digest"] == digest
    theirs.add("bot:latest", [("model", model), ("system", b"New.")], quantization="F16")
    moved = slmctl(*adopt).json["models"][0]
    assert "gguf-q4_0" in moved["problem"]
    assert slmctl("show", "bot", "--json").json["digest"] == digest
    assert leftovers(slmctl) == []


def test_a_name_that_moves_meanwhile_is_not_lost(hello: Program, tiny_model: Path) -> None:
    store = Store(hello.store)
    assert hello("create", "other", "--from", str(tiny_model)).code == 0
    seen: list[Event] = []

    def move(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "quantize" and not seen:
            seen.append(event)
            copy_model(store, parse("other"), parse("hello"), force=True, now=NOW)

    call = QuantizeCall(name=parse("hello"), labels=("Q8_0",))
    other = hello("show", "other", "--json").json["digest"]
    with pytest.raises(NameTaken):
        quantize(store, call, now=NOW, environ=dict(os.environ), on_event=move)
    assert seen
    assert hello("show", "hello", "--json").json["digest"] == other
    assert leftovers(hello) == []
    assert hello("gc", "--dry-run", "--json").json["freed"] == 0


# What ends in the middle

LARGE = Shape(layers=4, hidden=1024, heads=8, kv_heads=8, feed_forward=2048, context=256)


@pytest.fixture
def large(slmctl: Program, tmp_path: Path) -> Program:
    """With a model that takes a moment to quantize."""
    path = tmp_path / "large.gguf"
    write_random_model(path, shape=LARGE, tensor_type="F16")
    assert slmctl("create", "m", "--from", str(path), "--move").code == 0
    return slmctl


def begin(slmctl: Program) -> tuple[subprocess.Popen[bytes], list[int]]:
    """slmctl in the middle of quantizing, and its children."""
    process = slmctl.start("quantize", "m", "--to", "q2_k,q3_k_s", "--progress", "json")
    stderr = process.stderr
    assert stderr is not None
    until(lambda: b'"quantize"' in stderr.readline() or None)
    return process, until(lambda: children(process.pid) or None)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(large: Program, number: int, code: int) -> None:
    before = large("show", "m", "--json").json["digest"], blobs(large)
    process, below = begin(large)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    assert all(wait_until_gone(each, 20) for each in below)
    assert (large("show", "m", "--json").json["digest"], blobs(large)) == before
    assert leftovers(large) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_kill_leaves_no_child_and_nothing_that_gc_does_not_free(large: Program) -> None:
    before = large("show", "m", "--json").json["digest"], blobs(large)
    process, below = begin(large)
    process.kill()
    process.communicate(timeout=60)
    assert all(wait_until_gone(each, 20) for each in below)
    assert large("gc", "--all").code == 0
    assert (large("show", "m", "--json").json["digest"], blobs(large)) == before
    assert leftovers(large) == []
    assert made(large, "m", "--to", "q2_k,q3_k_s")


def test_a_file_that_may_not_grow_is_a_sentence(hello: Program) -> None:
    before = blobs(hello)
    limited = ["bash", "-c", 'ulimit -f 1000; exec "$@"', "bash"]
    done = hello.run([*limited, *hello.command("quantize", "hello", "--to", "q8_0")])
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 2), done.err
    assert blobs(hello) == before
    assert leftovers(hello) == []


def test_the_death_of_the_child_is_a_sentence(large: Program) -> None:
    before = blobs(large)
    process, below = begin(large)
    os.kill(below[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4, err.decode()  # killed: the machine had too little memory, as a rule
    told = [line for line in err.decode().splitlines() if not line.startswith("{")]
    assert len(told) == 2, told
    assert "killed" in told[0]
    assert blobs(large) == before
    assert leftovers(large) == []
