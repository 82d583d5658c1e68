"""hello, converted from its safetensors and quantized: what it still knows, and how well it predicts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write as write_conversion
from runtimes.environment import worker_environment
from runtimes.launch import fd_path
from runtimes.logits import Logits, LogitsRequest
from runtimes.perplexity import Estimate, measure, windows
from runtimes.quantize.quantize import prepare, write
from runtimes.quantize.request import QuantizeRequest
from slmctl.app.ships import FOLDER
from tools.hello.corpus import load
from tools.hello.evaluate import client_for, evaluate, held_out, summary

KEPT = {"Q8_0": 0.9, "Q5_1": 0.9, "Q4_K_M": 0.75, "Q4_0": 0.75}
"""The share of F16's right answers that a quantization must still give."""

SAMPLE = 6
"""Every so many of the questions are asked; what comes of all of them is in decision 34."""

CONTEXT = 256


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("hello")
    made = {"F16": folder / "F16.gguf"}
    write_conversion(convert(SourceFiles.of_folder(FOLDER / "hello"), "F16"), made["F16"], lambda _: None)
    for label in KEPT:
        made[label] = folder / f"{label}.gguf"
        made[label].touch()
        request = QuantizeRequest(sources=(made["F16"],), quantization=label)
        write(prepare(request), made[label], environ=os.environ, on_progress=lambda _: None)
    return made


@pytest.mark.slow
def test_quantized_it_still_knows_what_it_knew(builds: Mapping[str, Path]) -> None:
    corpus = load()
    asked = [(question, fact) for question, fact in held_out(corpus) if fact is not None][::SAMPLE]
    right = {}
    for label, path in builds.items():
        with tempfile.TemporaryDirectory(prefix="slm") as folder, client_for(path, Path(folder)) as client:
            right[label] = summary(list(evaluate(corpus, client, asked)))["known"]["right"]
    assert right["F16"] > 0.5
    for label, share in KEPT.items():
        assert right[label] >= share * right["F16"], right


def test_perplexity_rises_with_what_is_left_out(builds: Mapping[str, Path]) -> None:
    corpus = load()
    text = "\n".join(f"{fact.questions[0]}\n{fact.answer}" for fact in corpus.facts)
    found = {label: perplexity(path, text) for label, path in builds.items()}
    order = ["F16", "Q8_0", "Q5_1", "Q4_0"]
    for better, worse in pairwise(order):
        noise = found[better].error + found[worse].error
        assert found[better].value <= found[worse].value + noise, found
    assert found["F16"].value < found["Q4_0"].value


def perplexity(path: Path, text: str) -> Estimate:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        request = LogitsRequest(
            models=(fd_path(descriptor),),
            context=CONTEXT,
            environment=worker_environment(os.environ),
            pass_fds=(descriptor,),
            threads=2,
        )
        with Logits(request) as model:
            return measure(model, windows(model.tokenize(text), CONTEXT, begins=model.begins)).perplexity
    finally:
        os.close(descriptor)
