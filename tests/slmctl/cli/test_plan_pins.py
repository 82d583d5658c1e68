"""What a user asks of a plan is kept or refused: by `plan`, and by a `run` that has the model already."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slmctl.cli.program import Program
from tools.random_model import Shape, write_random_model


def make(program: Program, path: Path, shape: Shape) -> Program:
    write_random_model(path, shape=shape)
    assert program("create", "tiny", "--from", str(path)).code == 0
    return program


@pytest.fixture
def tiny(slmctl: Program, tmp_path: Path) -> Program:
    return make(slmctl, tmp_path / "tiny.gguf", Shape(hidden=64, heads=2, kv_heads=1, head_size=32))


def test_memory_may_be_bounded_below_a_control_group_s_limit(slmctl: Program) -> None:
    done = slmctl("plan", "qwen3:4b", "--for", "container-2gb", "--max-memory", "1GiB", "--json")
    assert done.code == 4, done.err
    assert done.json["binding"]["code"] == "MEM_HOST"
    assert done.json["binding"]["budget_bytes"] == 1 << 30
    # neither a larger limit nor more free memory would help
    assert all(each["if"].endswith(" in --max-memory") for each in done.json["would_change"])


def test_a_speed_that_nothing_reaches_is_why_nothing_fits(slmctl: Program) -> None:
    wanted = ("plan", "qwen3:4b", "--for", "vps-2cpu-4gb", "--min-speed", "5")
    found = slmctl(*wanted, "--json").json
    assert (found["verdict"], found["binding"]["code"]) == ("nofit", "SPEED_FLOOR")
    variant = found["binding"]["variant"]
    assert slmctl(*wanted).out.startswith(f"qwen3:4b is too slow here: {variant}: ")
    assert found["would_change"] == []  # more memory makes nothing faster


def test_a_run_that_is_too_slow_is_refused_and_insisting_helps(tiny: Program) -> None:
    wanted = ("run", "tiny", "--min-speed", "1000000", "--max-tokens", "2", "x")
    refused = tiny(*wanted)
    assert refused.code == 4
    assert "tiny is too slow here" in refused.err
    insisted = tiny(*wanted, "--force")
    assert insisted.code == 0, insisted.err
    assert "It is loaded because of --force." in insisted.err


def test_who_insists_on_a_model_that_does_not_fit_gets_no_cache_of_prompts(tiny: Program) -> None:
    done = tiny("run", "tiny", "--max-memory", "20MB", "--force", "--max-tokens", "2", "--verbose", "x")
    assert done.code == 0, done.err
    assert "prompt cache is e" not in tiny("logs", "tiny").out  # nabled, and so many MiB


def test_a_cache_that_the_engine_cannot_make_is_refused_and_no_other_taken(
    slmctl: Program, tmp_path: Path
) -> None:
    odd = make(slmctl, tmp_path / "odd.gguf", Shape(hidden=64, heads=2, kv_heads=1, head_size=40))
    refused = odd("run", "tiny", "--kv", "q8_0", "--max-tokens", "2", "x")
    assert refused.code == 4
    assert "Heads of 40" in refused.err


def test_the_engine_here_is_not_asked_about_another_machine_s_gpu(slmctl: Program, tmp_path: Path) -> None:
    wide = make(slmctl, tmp_path / "wide.gguf", Shape())  # no formula covers its graph
    assert wide("plan", "tiny", "--json").json["memory"]["method"] == "oracle"
    there = wide("plan", "tiny", "--for", "rtx-3060-12gb", "--json").json
    assert (there["choice"]["place"], there["memory"]["method"]) == ("gpu0", "parameters")
    assert any(
        part["name"].startswith("compute") and part["pool"] == "gpu0" for part in there["memory"]["parts"]
    )


def test_a_plan_for_a_gpu_is_no_leave_to_fill_the_host(slmctl: Program, tmp_path: Path) -> None:
    wide = make(slmctl, tmp_path / "wide.gguf", Shape())
    if any(device["id"] == "gpu0" for device in wide("hardware", "--json").json["devices"]):
        pytest.skip("this machine has a GPU")
    wanted = ("run", "tiny", "--for", "rtx-3060-12gb", "--max-tokens", "2", "x")
    refused = wide(*wanted)
    assert refused.code == 4
    assert "there is no gpu0 here" in refused.err
    assert wide(*wanted, "--force").code == 0


def test_a_context_is_capped_by_plan_as_by_run(tiny: Program) -> None:
    planned = tiny("plan", "tiny", "--ctx", "10000000", "--json")
    assert planned.code == 0, planned.err
    ran = tiny("run", "tiny", "--ctx", "10000000", "--max-tokens", "1", "--json", "x")
    assert ran.json["context_length"] == planned.json["choice"]["ctx"]
    sentence = f" was trained for {planned.json['choice']['ctx']} tokens of context; it gets no more."
    assert f"tiny{sentence}" in planned.json["notes"]
    assert sentence in ran.err


@pytest.mark.parametrize("name", ["qwen3:4b", "qwen3"])
def test_a_context_is_capped_for_names_of_the_library_too(slmctl: Program, name: str) -> None:
    done = slmctl("plan", name, "--ctx", "10000000", "--for", "epyc-2s-256gb", "--json")
    assert done.code == 0, done.err
    assert done.json["choice"]["ctx"] == 40960


@pytest.mark.parametrize("command", [("plan", "tiny"), ("run", "tiny", "x")])
def test_a_context_of_one_token_is_none(tiny: Program, command: tuple[str, ...]) -> None:
    assert tiny(*command, "--ctx", "1").code == 2


def test_an_engine_that_there_is_not_is_a_wrong_usage_and_tells_those_that_there_are(slmctl: Program) -> None:
    done = slmctl("plan", "qwen3:0.6b", "--runtime", "nonsense")
    assert done.code == 2
    assert "'nonsense' is none of llama.cpp, mlx, vllm, onnxruntime-genai" in done.err
    assert slmctl("plan", "qwen3:0.6b", "--for", "vps-2cpu-4gb", "--runtime", "llama.cpp").code == 0


@pytest.mark.parametrize(
    ("name", "there"), [("tiny", "gguf-f32"), ("qwen3:0.6b", "gguf-q4_k_m"), ("qwen3", "gguf-q4_k_m")]
)
def test_a_variant_that_there_is_not_is_not_found_wherever_the_model_is(
    tiny: Program, name: str, there: str
) -> None:
    done = tiny("plan", name, "--variant", "nonsense", "--for", "vps-2cpu-4gb")
    assert done.code == 3
    assert f"The model {name}" in done.err
    assert " has no variant 'nonsense'." in done.err
    assert there in done.hint


@pytest.mark.parametrize(("given", "said"), [("1000000", "1000000"), ("12.50", "12.5"), ("100", "100")])
def test_a_speed_is_said_as_it_was_asked_for(slmctl: Program, given: str, said: str) -> None:
    done = slmctl("plan", "qwen3:4b", "--for", "vps-2cpu-4gb", "--min-speed", given, "--json")
    assert done.code == 4
    assert done.json["binding"]["detail"].endswith(f" tokens/s are expected, {said} were asked for.")
