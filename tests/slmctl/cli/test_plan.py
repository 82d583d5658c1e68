"""`slmctl plan`, and where plans show: what a user and a program see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmctl.app import clock
from tests.slmctl.cli.program import Program
from tools.random_model import TINY, write_random_model, write_random_shards

PI, VPS, CONTAINER = "raspberry-pi-5-8gb", "vps-2cpu-4gb", "container-2gb"
CONFIG = {
    "model_type": "qwen3", "hidden_size": 2048, "num_hidden_layers": 28, "head_dim": 128,
    "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 6144, "vocab_size": 151936,
    "max_position_embeddings": 40960, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def tiny(slmctl: Program, tmp_path: Path) -> Program:
    path = tmp_path / "tiny.gguf"
    write_random_model(path)
    assert slmctl("create", "tiny", "--from", str(path)).code == 0
    return slmctl


def choice(program: Program, *arguments: str) -> tuple[object, ...]:
    """What was chosen: model, variant, KV type, context."""
    outcome = program("plan", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    chosen = outcome.json["choice"]
    return chosen["model"], chosen["variant"], chosen["kv"], chosen["ctx"]


def test_a_plan_of_a_name_in_the_library_needs_no_network_and_no_weights(slmctl: Program) -> None:
    found = slmctl("plan", "qwen3:4b", "--for", VPS, "--ctx", "4096", "--json").json
    assert (found["verdict"], found["choice"]["variant"], found["choice"]["kv"]) == (
        "ok",
        "gguf-q4_k_s",
        "q8_0",
    )
    assert (found["choice"]["ctx"], found["choice"]["threads"]) == (4096, 2)
    assert found["choice"]["runtime"] == "llama.cpp"
    memory = found["memory"]
    assert sum(part["bytes"] for part in memory["parts"]) == memory["need_bytes"]
    assert memory["need_hi_bytes"] <= memory["pools"][0]["budget_bytes"]
    assert found["binding"]["code"] == "MEM_HOST"
    assert not (slmctl.store / "blobs").exists()


def test_a_config_json_alone_is_planned_as_what_could_be_made_of_it(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    found = slmctl("plan", "--config", str(path), "--ctx", "4096", "--for", CONTAINER, "--json").json
    assert (found["choice"]["variant"], found["choice"]["kv"]) == ("gguf-q5_k_m", "q8_0")
    assert (found["choice"]["made"], found["memory"]["method"]) == (False, "header")
    path.write_text(json.dumps({**CONFIG, "model_type": "newest"}))
    guessed = slmctl("plan", "--config", str(path), "--ctx", "4096", "--for", PI, "--json").json
    assert (guessed["memory"]["method"], guessed["memory"]["margin"]) == ("parameters", 1.12)
    said = slmctl("plan", "--config", str(path), "--for", PI)
    assert "The tensors of the architecture newest are not known here" in " ".join(said.out.split())


def test_a_family_is_a_choice_among_its_sizes(slmctl: Program) -> None:
    small, _, _, _ = choice(slmctl, "qwen3", "--for", CONTAINER)
    large, variant, _, _ = choice(slmctl, "qwen3", "--for", "rtx-4090-24gb")
    assert (small, large, variant) == ("qwen3:0.6b", "qwen3:8b", "gguf-q6_k")


def test_what_does_not_fit_says_why_and_what_would(slmctl: Program) -> None:
    outcome = slmctl("plan", "qwen3:8b", "--for", VPS, "--ctx", "4096")
    assert outcome.code == 4
    text = " ".join(outcome.out.split())
    assert "qwen3:8b does not fit here: gguf-q2_k" in text
    assert "What would fit: - qwen3:" in text
    document = slmctl("plan", "qwen3:8b", "--for", VPS, "--ctx", "4096", "--json")
    assert document.code == 4
    assert (document.json["verdict"], document.json["choice"]) == ("nofit", None)
    assert 1 <= len(document.json["alternatives"]) <= 3


def test_the_container_s_limit_is_named(slmctl: Program) -> None:
    outcome = slmctl("plan", "qwen3:4b", "--for", CONTAINER, "--ctx", "4096")
    assert outcome.code == 4
    assert "MEM_CGROUP" in outcome.out
    assert "/sys/fs/cgroup/memory.max" in outcome.out.replace("\n    ", "")


def test_the_text_has_a_verdict_a_table_a_picture_and_reasons_in_80_columns(slmctl: Program) -> None:
    for name, profile in (("qwen3:4b", VPS), ("llama3.1:8b", "rtx-3060-12gb"), ("qwen3", PI)):
        outcome = slmctl("plan", name, "--for", profile, "--all")
        assert outcome.code == 0
        lines = outcome.out.splitlines()
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in outcome.out
        assert any(line.startswith("  [") and line.endswith("]") and len(line) == 64 for line in lines)
        assert ("What decided:" in lines) == (name != "llama3.1:8b")  # which has all that it could want
        assert any(line.split()[:1] == ["kv"] for line in lines)


@pytest.mark.parametrize(
    ("pins", "chosen"),
    [
        (("--variant", "q8_0"), {"variant": "gguf-q8_0"}),
        (("--kv", "q8_0"), {"kv": "q8_0"}),
        (("--ctx", "2048"), {"ctx": 2048}),
        (("--parallel", "2", "--ctx", "1024"), {"parallel": 2, "ctx": 1024}),
        (("--prefer", "smallest"), {"kv": "f16"}),
    ],
)
def test_pins_are_kept(slmctl: Program, pins: tuple[str, ...], chosen: dict[str, object]) -> None:
    found = slmctl("plan", "qwen3:0.6b", "--for", "ryzen-7950x-64gb", *pins, "--json").json["choice"]
    assert {name: found[name] for name in chosen} == chosen


def test_memory_and_speed_may_be_bounded(slmctl: Program) -> None:
    less = slmctl("plan", "qwen3:1.7b", "--for", "ryzen-7950x-64gb", "--max-memory", "1500MiB", "--json").json
    assert less["memory"]["need_hi_bytes"] <= 1500 << 20
    fast = slmctl("plan", "qwen3:8b", "--for", PI, "--ctx", "4096", "--min-speed", "50")
    assert fast.code == 4
    assert fast.out.startswith("qwen3:8b is too slow here: ")


def test_a_stored_model_is_planned_for_this_machine(tiny: Program) -> None:
    found = tiny("plan", "tiny", "--json").json
    assert (found["choice"]["variant"], found["choice"]["stored"]) == ("gguf-f32", True)
    assert found["choice"]["digest"].startswith("sha256:")
    assert tiny("plan", "tiny").out.startswith("tiny gguf-f32 by llama.cpp on the CPU")


def test_files_are_planned_where_they_lie(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    write_random_model(path)
    assert choice(slmctl, str(path))[:2] == ("some.gguf", "gguf-f32")
    parts = write_random_shards(tmp_path)
    found = slmctl("plan", str(parts[1]), "--json").json
    assert found["choice"]["size_bytes"] == sum(part.stat().st_size for part in parts)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "It takes the name of a model, or --config FILE."),
        (("a", "--config", "b"), 2, "It takes the name of a model, or --config FILE."),
        (("--history", "a"), 2, "--history is about this machine"),
        (("hello", "--for", "nobody"), 2, "There is no profile 'nobody'."),
        (("hello", "--for", "./nothing.json"), 2, "cannot be read"),
        (("hello", "--kv", "q9"), 2, "Invalid value for '--kv'"),
        (("hello", "--max-memory", "3B"), 2, "'3B' is no size"),
        (("nosuch",), 3, "There is no model nosuch in the store."),
        (("--config", "nothing.json"), 1, "cannot be read"),
        (("hello", "--variant", "q4"), 3, "q4"),
    ],
)
def test_wrong_usage(slmctl: Program, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    outcome = slmctl("plan", *arguments)
    assert (outcome.code, sentence in outcome.err) == (code, True), outcome.err


def test_run_refuses_before_anything_is_started_and_insisting_helps(tiny: Program) -> None:
    refused = tiny("run", "tiny", "--max-memory", "20MB", "--max-tokens", "2", "x")
    assert refused.code == 4
    assert "tiny does not fit here: gguf-f32" in refused.err
    assert "--force" in refused.hint
    assert not (tiny.home / "logs").exists()
    insisted = tiny("run", "tiny", "--max-memory", "20MB", "--force", "--max-tokens", "2", "x")
    assert insisted.code == 0
    assert "it is loaded because of --force" in insisted.err


def test_run_launches_what_was_planned(tiny: Program) -> None:
    planned = tiny("plan", "tiny", "--json").json
    ran = tiny("run", "tiny", "--max-tokens", "3", "--json", "x").json
    assert ran["context_length"] == planned["choice"]["ctx"] == TINY.context
    log = tiny("logs", "tiny").out
    launch = planned["launch"]
    assert f"n_ctx_seq             = {launch['context']}" in log
    assert f"n_ubatch              = {launch['micro_batch']}" in log
    assert "flash_attn            = enabled" in log
    assert "K (f16)" in log
    again = tiny("run", "tiny", "--max-tokens", "3", "--kv", "q8_0", "--ctx", "512", "--json", "x")
    assert again.json["context_length"] == 512
    assert "K (q8_0)" in tiny("logs", "tiny").out


def test_the_settings_context_is_a_wish_and_the_user_s_a_command(tiny: Program) -> None:
    wished = tiny(
        "run", "tiny", "--max-tokens", "1", "--json", "x", environment={"OLLAMA_CONTEXT_LENGTH": "900"}
    )
    assert wished.json["context_length"] == 900
    said = tiny("run", "tiny", "--max-tokens", "1", "--ctx", "700", "--json", "x",
                environment={"OLLAMA_CONTEXT_LENGTH": "900"})  # fmt: skip
    assert said.json["context_length"] == 700


def test_loads_and_answers_are_remembered(tiny: Program) -> None:
    assert tiny("plan", "--history").out == ""
    assert tiny("run", "tiny", "--max-tokens", "40", "x").code == 0
    history = tiny("plan", "--history", "--json").json
    (estimate,), (speed,) = history["estimates"], history["speeds"]
    assert (estimate["architecture"], estimate["loads"], estimate["oracle"]) == ("llama", 1, False)
    assert abs(estimate["planned"] / estimate["measured"] - 1) < 0.05
    assert (speed["place"], speed["samples"]) == ("cpu", 1)
    text = tiny("plan", "--history").out
    assert max(map(len, text.splitlines())) <= 100
    assert "llama.cpp" in text
    (tiny.home / "history.json").write_text("{")
    assert tiny("run", "tiny", "--max-tokens", "2", "x").code == 0


def test_a_formula_that_was_off_gives_way_to_the_engine_s_own_word(tiny: Program) -> None:
    assert tiny("run", "tiny", "--max-tokens", "2", "x").code == 0
    path = tiny.home / "history.json"
    history = json.loads(path.read_text())
    history["estimates"][0]["oracle"] = True
    path.write_text(json.dumps(history))
    found = tiny("plan", "tiny", "--json").json["memory"]
    assert (found["method"], found["margin"]) == ("oracle", 1.02)


def test_a_load_that_died_of_memory_is_not_planned_again(tiny: Program) -> None:
    planned = tiny("plan", "tiny", "--json").json["choice"]
    shape = {
        "context": planned["ctx"], "parallel": 1, "batch": planned["batch"], "micro_batch": planned["micro_batch"],
        "type_k": "f16", "type_v": "f16", "flash_attention": True, "gpu_layers": 0, "repack": planned["repack"],
        "draft_tokens": 0, "embedding": False,
    }  # fmt: skip
    bound = {
        "digest": planned["digest"],
        "runtime": "llama.cpp",
        "shape": shape,
        "pool": "host",
        "bytes": 1 << 50,
    }
    engines = tiny("hardware", "--json").json["engines"]
    build = next(each["version"] for each in engines if each["name"] == "llama.cpp")
    row = {"bound": bound, "build": build, "model": "tiny", "date": clock.now()}
    for counts, each in (
        (True, row),
        (False, {**row, "build": "b1"}),
        (False, {**row, "date": "2026-01-01T00:00:00Z"}),
    ):
        document = {"schema": "slmctl.history/1", "estimates": [], "speeds": [], "bounds": [each]}
        (tiny.home / "history.json").write_text(json.dumps(document))
        again = tiny("plan", "tiny", "--json").json["choice"]
        assert (again is None or again["ctx"] < planned["ctx"]) is counts


def test_what_fits_is_marked(tiny: Program) -> None:
    assert [each["fits"] for each in tiny("list", "--json").json["models"]] == [True]
    assert [each["fits"] for each in tiny("show", "tiny", "--json").json["variants"]] == [True]
    assert "fits here" in tiny("show", "tiny").out
    found = {each["name"]: each["fits"] for each in tiny("search", "--for", VPS, "--json").json["models"]}
    assert (found["qwen3:8b"], found["qwen3:0.6b"], found["hello:latest"]) == (False, True, True)
    listing = tiny("search", "qwen3", "--for", VPS)
    assert "5.0 GB !" in listing.out
    assert f"! does not fit on {VPS}" in listing.err


def test_several_variants_are_chosen_among_by_the_plan(slmctl: Program, tmp_path: Path) -> None:
    for kind in ("F32", "Q8_0"):
        write_random_model(tmp_path / f"{kind}.gguf", tensor_type=kind, shape=TINY)
    text = f"FROM {tmp_path / 'F32.gguf'}\nFROM {tmp_path / 'Q8_0.gguf'}\n"
    (tmp_path / "Modelfile").write_text(text)
    assert slmctl("create", "two", "-f", str(tmp_path / "Modelfile")).code == 0
    planned = slmctl("plan", "two", "--json").json["choice"]["variant"]
    outcome = slmctl("run", "two", "--max-tokens", "1", "--json", "x")
    assert outcome.json["variant"] == planned
    assert f"Running {planned} of 2 variants" in outcome.err
    other = {"gguf-f32": "gguf-q8_0", "gguf-q8_0": "gguf-f32"}[planned]
    assert (
        slmctl("run", "two", "--variant", other, "--max-tokens", "1", "--json", "x").json["variant"] == other
    )
