"""What a plan chooses among, and how it is worded: without a program around it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from registry.errors import MalformedFile, OperationFailed
from registry.names import parse
from runtimes.hardware.profiles import profile
from runtimes.planning.plan import plan
from runtimes.planning.speed import threads_to_decode
from runtimes.planning.values import PlanRequest
from slmctl.app.library import LibraryModel, find_model, library
from slmctl.app.planning.builds import USUAL, builds_of_facts, builds_of_model
from slmctl.app.planning.hardware import machine_of, with_speeds
from slmctl.app.planning.history import History, SpeedRecord
from slmctl.app.planning.package_builds import is_embedding, is_sane
from slmctl.app.planning.siblings import siblings
from slmctl.app.planning.subject import of_config, of_library
from slmctl.app.planning.words import nofit_line, unused_gpu

QWEN3 = {
    "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "head_dim": 32, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}  # fmt: skip


def test_every_model_of_the_library_has_builds_of_its_own() -> None:
    for model in library():
        builds = builds_of_model(model)
        assert builds
        ids = [build.variant for build in builds]
        assert len(set(ids)) == len(ids)
        assert all(build.model == model.entry.name and build.size > 0 for build in builds)


def test_a_model_has_the_usual_quantizations_and_what_the_library_names() -> None:
    model = find_model("qwen3", "1.7b")
    assert model is not None
    builds = {build.variant: build for build in builds_of_model(model)}
    assert {f"gguf-{label.lower()}" for label in USUAL if label != "BF16"} <= builds.keys()
    assert {"mlx-q4-g64", "safetensors-bf16"} <= builds.keys()
    # fit.md 2.6: 1,101.5 MB of tensors
    assert builds["gguf-q4_k_m"].facts.tensor_bytes == pytest.approx(1_101.5e6, abs=0.1e6)
    assert builds["gguf-q4_k_m"].importance_matrix is True


def test_bitnet_s_own_file_is_for_bitnet_cpp_and_others_can_be_made() -> None:
    model = find_model("bitnet", None)
    assert model is not None
    builds = {build.variant: build for build in builds_of_model(model)}
    assert builds["gguf-i2_s"].facts.quantization == "I2_S"
    assert not builds["gguf-tq2_0"].made
    found = plan(list(builds.values()), profile("server-cpu-4c-8gb"), PlanRequest())
    assert any(each.variant == "gguf-i2_s" and each.code == "TYPE_UNSUPPORTED" for each in found.rejected)


def test_what_could_be_made_needs_no_importance_matrix() -> None:
    model = find_model("qwen3", "0.6b")
    assert model is not None
    builds = builds_of_facts("q", model.facts)
    assert not any(build.made for build in builds)
    assert not {"gguf-iq2_xs", "gguf-tq2_0"} & {build.variant for build in builds}


def test_an_embedding_model_is_known_by_its_facts() -> None:
    vectors, chat = find_model("all-minilm", None), find_model("qwen3", None)
    assert vectors is not None
    assert chat is not None
    assert is_embedding(builds_of_model(vectors))
    assert not is_embedding(builds_of_model(chat))


def test_facts_that_nobody_could_have_made_are_no_builds() -> None:
    model = find_model("qwen3", "0.6b")
    assert model is not None
    assert is_sane(model.facts)
    assert not is_sane(replace(model.facts, layers=0xFFFFFFFF))


def test_a_folder_of_safetensors_is_itself_and_all_that_could_be_made_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN3))
    tensors = {"model.embed_tokens.weight": np.zeros((256, 64), np.float16)}
    (tmp_path / "model.safetensors").write_bytes(save(tensors))
    subject = of_config(tmp_path)
    ids = [build.variant for build in subject.builds]
    assert ids[0] == "safetensors-f16"
    assert {"gguf-q8_0", "gguf-q4_k_m"} <= set(ids)
    assert [build.made for build in subject.builds] == [True] + [False] * (len(ids) - 1)


def test_a_config_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(OperationFailed):
        of_config(path)
    path.write_text("[1]")
    with pytest.raises(MalformedFile):
        of_config(path)


def test_a_family_has_all_its_sizes_and_a_tag_has_one() -> None:
    family, one = of_library(parse("qwen3")), of_library(parse("QWEN3:4b"))
    assert family is not None
    assert one is not None
    assert {build.model for build in family.builds} == {"qwen3:0.6b", "qwen3:1.7b", "qwen3:4b", "qwen3:8b"}
    assert {build.model for build in one.builds} == {"qwen3:4b"}
    assert of_library(parse("qwen3:5b")) is None
    assert of_library(parse("nosuch")) is None


def test_what_is_offered_instead_is_of_the_family_first() -> None:
    subject = of_library(parse("qwen3:8b"))
    assert subject is not None
    models = list(dict.fromkeys(build.model for build in siblings(subject.name, subject.builds)))
    assert models[:3] == ["qwen3:4b", "qwen3:1.7b", "qwen3:0.6b"]


def test_measured_speeds_count_for_the_build_machine_and_threads_that_they_are_of() -> None:
    machine = profile("ryzen-7950x-64gb")
    engine = machine.engine("llama.cpp")
    assert engine is not None
    threads = plan(builds_of_model(_qwen()), machine, PlanRequest()).launch
    assert threads is not None
    record = SpeedRecord(
        engine="llama.cpp", build=engine.version or "", place="cpu", machine=machine_of(machine, "cpu"),
        threads=threads.threads, overhead=20e-6, bandwidth=40e9, samples=5, date="2026-01-01T00:00:00Z",
    )  # fmt: skip
    shown = with_speeds(machine, History().with_speed(record))
    assert (shown.speeds[0].basis, shown.speeds[0].overhead) == ("measured", 20e-6)
    for other in (
        replace(record, build="another"),
        replace(record, machine="another"),
        replace(record, threads=threads.threads + 1),
    ):
        assert with_speeds(machine, History().with_speed(other)).speeds == machine.speeds
    few = with_speeds(machine, History().with_speed(replace(record, samples=1, covariance=(1e-9, 0.0, 1e-3))))
    assert few.speeds[0].basis == "same-device"


@pytest.mark.parametrize("bandwidth", [None, 40 * 10**9, 96 * 10**9])
@pytest.mark.parametrize("reached", [50e9, 97e9, 120e9, 400e9])
def test_what_was_learned_changes_no_number_of_threads(bandwidth: int | None, reached: float) -> None:
    """Above 8 cores more of them decode where more is read: the next record would be of another number."""
    machine = profile("ryzen-7950x-64gb")
    machine = replace(machine, memory=replace(machine.memory, bandwidth=bandwidth))
    engine = machine.engine("llama.cpp")
    assert engine is not None
    threads = threads_to_decode(machine)
    record = SpeedRecord(
        engine="llama.cpp", build=engine.version or "", place="cpu", machine=machine_of(machine, "cpu"),
        threads=threads, overhead=20e-6, bandwidth=reached, samples=5, date="2026-01-01T00:00:00Z",
    )  # fmt: skip
    history = History().with_speed(record)
    shown = with_speeds(machine, history)
    launch = plan(builds_of_model(_qwen()), shown, PlanRequest()).launch
    assert launch is not None
    assert launch.threads == threads
    # what an answer adds to the record is found again
    assert any(each.source.startswith("5 answers") for each in shown.speeds)


def test_a_gpu_that_the_build_cannot_use_is_one_line_with_the_command_and_the_gain() -> None:
    machine = profile("rtx-3060-12gb")
    engines = tuple(
        replace(each, apis=("cpu",), devices=()) if each.name == "llama.cpp" else each
        for each in machine.engines
    )
    machine = replace(machine, engines=engines)
    found = plan(builds_of_model(_qwen()), machine, PlanRequest())
    line = unused_gpu(found, machine)
    assert line is not None
    assert "tokens/s" in line
    assert "pip install xllamacpp" in line
    assert unused_gpu(found, profile("vps-2cpu-4gb")) == line  # what the plan says, not the machine


def test_what_does_not_fit_is_one_line_with_the_numbers() -> None:
    model = find_model("qwen3", "8b")
    assert model is not None
    found = plan(
        builds_of_model(model), profile("vps-2cpu-4gb"), PlanRequest(context=4096, context_is_pinned=True)
    )
    line = nofit_line(found, "qwen3:8b")
    assert line.startswith("qwen3:8b does not fit here: gguf-q2_k with q8_0 KV needs 3,")
    assert line.endswith("MiB, and 2,900 MiB are there.")


def _qwen() -> LibraryModel:
    model = find_model("qwen3", "8b")
    assert model is not None
    return model


@pytest.mark.parametrize("name", ["llama3.1:8b", "qwen3:4b"])
def test_what_is_offered_instead_ends_with_the_smallest_that_there_is(name: str) -> None:
    subject = of_library(parse(name))
    assert subject is not None
    offered = {build.model: build.facts.parameters or 0 for build in siblings(subject.name, subject.builds)}
    assert min(offered, key=lambda each: offered[each]) == "smollm2:135m"
    assert len(offered) == 5
