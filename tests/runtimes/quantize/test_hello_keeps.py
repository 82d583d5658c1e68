"""hello from its safetensors: converted, quantized, asked. What a build loses is what its bits cost, and no more."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write
from runtimes.environment import worker_environment
from runtimes.logits import Logits, LogitsRequest
from runtimes.perplexity import Measurement, measure, windows
from slmctl.app.ships import FOLDER
from tests.quantized import write_quantized
from tools.hello.corpus import load
from tools.hello.evaluate import client_for, evaluate, exam, summary

pytestmark = pytest.mark.slow

EXAM = Path(__file__).parents[3] / "tools" / "hello" / "exam.toml"
KEEPS = {"Q8_0": 0.90, "Q5_1": 0.90, "Q4_K_M": 0.75, "Q4_0": 0.75}
"""The share of F16's right answers that each must have."""

IN_ORDER = ("Q8_0", "Q5_1", "Q4_0")
WINDOW = 64


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Every build by its quantization, all made from the safetensors that come with slmctl."""
    folder = tmp_path_factory.mktemp("hello")
    whole = folder / "F16.gguf"
    whole.touch()
    write(convert(SourceFiles.of_folder(FOLDER / "hello"), "F16"), whole, lambda _: None)
    made = {each: write_quantized(whole, folder / f"{each}.gguf", each) for each in KEEPS}
    return {"F16": whole, **made}


def right_answers(model: Path) -> int:
    """By evaluate.py: of the exam's questions about what hello knows every third. Of all 163: decision 35."""
    corpus = load()
    asked = [each for each in exam(corpus, EXAM) if each[1] is not None][::3]
    with tempfile.TemporaryDirectory(prefix="slm") as folder, client_for(model, Path(folder)) as client:
        known = summary(list(evaluate(corpus, client, asked)))["known"]
    return round(known["right"] * known["questions"])


def test_quantized_it_still_knows_the_answers(builds: Mapping[str, Path]) -> None:
    right = {name: right_answers(path) for name, path in builds.items()}
    assert right["F16"] > 40, right
    kept = {name: right[name] / right["F16"] for name in KEEPS}
    assert all(kept[name] >= least for name, least in KEEPS.items()), kept


def measured(path: Path, base: Path) -> Measurement:
    text = "".join(f"{fact.answer}\n" for fact in load().facts)
    requests = (
        LogitsRequest(
            models=[str(each)], context=WINDOW, environment=worker_environment(os.environ), threads=2
        )
        for each in (path, base)
    )
    with Logits(next(requests)) as model, Logits(next(requests)) as other:
        given = windows(model.tokenize(text), WINDOW, begins=model.begins, most=60)
        return measure(model, given, against=other)


def test_perplexity_and_divergence_order_the_builds(builds: Mapping[str, Path]) -> None:
    found = {name: measured(builds[name], builds["F16"]) for name in IN_ORDER}
    base = found["Q8_0"].against
    assert base
    order = [base.perplexity, *(found[name].perplexity for name in IN_ORDER)]
    for better, worse in itertools.pairwise(order):
        # of the same tokens: what they have in common is no noise between the two
        assert better.value <= worse.value + 0.1 * worse.error, order
    losses = [each.against.divergence for each in found.values() if each.against]
    for less, more in itertools.pairwise(losses):
        assert 0 < less.value < more.value - 2 * (less.error + more.error), losses
