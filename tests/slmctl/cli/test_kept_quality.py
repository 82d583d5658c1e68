"""What quantizing hello costs in answers and in perplexity: the way from safetensors to a small build, judged."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.hf_folders import write_hello_folder
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.stored import weights
from tools.hello.corpus import Corpus, load
from tools.hello.evaluate import client_for, evaluate, held_out, summary

TYPES = ("Q8_0", "Q5_1", "Q4_K_M", "Q4_0")
KEPT = {"Q8_0": 0.90, "Q5_1": 0.90, "Q4_K_M": 0.75, "Q4_0": 0.75}
"""The share of F16's right answers that each must keep."""

EVERY = 8
"""One of so many held-out questions is asked: 160 of each build."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slmctl(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """With hello, converted from its safetensors and quantized."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "run").mkdir(mode=0o700)
    program = Program(folder / "home", folder / "run")
    made = program("create", "m", "--from", str(write_hello_folder(folder / "published")))
    assert made.code == 0, made.err
    quantized = program("quantize", "m", "--to", ",".join(TYPES), "--json")
    assert quantized.code == 0, quantized.err
    assert quantized.json["of"] == "gguf-f16"
    return program


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


def right(slmctl: Program, variant: str, corpus: Corpus, folder: Path) -> float:
    """The share of right answers to the questions that hello knows something about."""
    asked = [each for each in held_out(corpus) if each[1] is not None][::EVERY]
    with client_for(weights(slmctl, "m", variant), folder) as client:
        return summary(list(evaluate(corpus, client, asked)))["known"]["right"]


def test_answers_survive(slmctl: Program, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("q")
    whole = right(slmctl, "gguf-f16", corpus, folder)
    assert whole > 0.8  # its card says 0.89
    kept = {label: right(slmctl, f"gguf-{label}".lower(), corpus, folder) / whole for label in TYPES}
    assert {label: share for label, share in kept.items() if share < KEPT[label]} == {}


def test_perplexity_and_divergence_rise_with_what_is_left_out(
    slmctl: Program, corpus: Corpus, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(fact.answer for fact in corpus.facts))
    found = {}
    for label in ("F16", "Q8_0", "Q5_1", "Q4_0"):
        against = () if label == "F16" else ("--against", "gguf-f16")
        arguments = ("--variant", f"gguf-{label}".lower(), "--text", str(text), *against)
        found[label] = slmctl("perplexity", "m", *arguments, "--json").json
    for better, worse in itertools.pairwise(each["perplexity"] for each in found.values()):
        assert better["value"] <= worse["value"] + worse["error"]
    divergences = [each["against"]["divergence"]["value"] for each in list(found.values())[1:]]
    assert divergences == sorted(divergences)
    assert divergences[0] * 2 < divergences[-1]
    table = slmctl("footprint", "m", "--json").json["quantizations"]
    measured = {row["quantization"]: row["quality"] for row in table}
    assert measured["Q4_0"]["basis"] == measured["Q8_0"]["basis"] == "measured"
    assert measured["Q4_K_M"]["basis"] != "measured"
