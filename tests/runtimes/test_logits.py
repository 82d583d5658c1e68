"""Logits out of the real engine, held against the model's arithmetic in numpy."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from registry.errors import DoesNotFit, EngineFailed, MalformedFile
from runtimes.environment import worker_environment
from runtimes.installed import installed_version
from runtimes.logits import Logits, LogitsRequest
from runtimes.perplexity import log_probabilities, measure, windows
from slmctl.app.ships import FOLDER
from tests.llama_in_numpy import NumpyLlama
from tests.processes import wait_until_gone
from tools.random_model import write_random_model
from tools.random_reranker import write_random_reranker

HELLO = FOLDER / "hello" / "hello.gguf"
TEXT = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")[:4000]


def opened(*paths: Path, **wishes: Any) -> Logits:
    request = {"context": 128, "threads": 2, "environment": worker_environment(os.environ), **wishes}
    return Logits(LogitsRequest(models=[str(path) for path in paths], **request))


def worker() -> Any:
    """The program's functions, without its start."""
    path = Path(__file__).parents[2] / "runtimes" / "workers" / "llama_abi.py"
    spec = importlib.util.spec_from_file_location("llama_abi", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_logits_are_those_of_the_arithmetic() -> None:
    with opened(HELLO) as model:
        tokens = model.tokenize(TEXT)[:100]
        assert model.decode(tokens[:40], 0, anew=True).shape == (0, model.columns)
        found = model.decode(tokens[40:], 60)
    expected = NumpyLlama(HELLO).logits(tokens)[40:]
    ours, theirs = log_probabilities(found), log_probabilities(expected)
    assert np.abs(np.exp(ours) - np.exp(theirs)).max() < 0.01  # the engine's activations are F16
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.97


def test_perplexity_is_that_of_the_arithmetic(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_random_model(path)
    reference = NumpyLlama(path)
    for model_path, arithmetic in ((HELLO, NumpyLlama(HELLO)), (path, reference)):
        with opened(model_path) as model:
            given = list(windows(model.tokenize(TEXT), 128, begins=model.begins, most=4))
            assert len(given) == 4
            found = measure(model, iter(given))
        costs = []
        for window in given:
            logs = log_probabilities(arithmetic.logits(window)[64:-1])
            costs.append(-logs[np.arange(63), window[65:]])
        expected = np.concatenate(costs)
        assert found.tokens == expected.size == 4 * 63
        assert np.log(found.perplexity.value) == pytest.approx(expected.mean(), rel=0.001)
        error = expected.std() / np.sqrt(expected.size - 1)
        assert found.perplexity.error / found.perplexity.value == pytest.approx(error, rel=0.02)


def test_stories_predicts_a_story(stories: Path) -> None:
    text = stories.joinpath("golden.txt").read_text("utf-8")
    path = stories / "stories260K-f32.gguf"
    with opened(path, context=64) as model:
        given = list(windows(model.tokenize(text), 64, begins=model.begins))
        found = measure(model, iter(given))
    assert model.begins == 1
    costs = [
        -log_probabilities(NumpyLlama(path).logits(window)[32:-1])[np.arange(31), window[33:]]
        for window in given
    ]
    assert found.perplexity.value == pytest.approx(np.exp(np.concatenate(costs).mean()), rel=0.005)
    assert found.perplexity.value < 4  # it wrote it


def test_few_rows_at_once_are_the_same_rows(tiny_model: Path) -> None:
    with opened(tiny_model) as model, opened(tiny_model, most_bytes=3 * 4 * model.columns) as narrow:
        assert narrow.rows == 3 < model.rows
        given = list(windows(model.tokenize(TEXT), 128, begins=model.begins, most=2))
        found = measure(narrow, iter(given), against=model).against
    assert found
    assert found.divergence.value < 1e-5


def test_parts_of_a_set_are_one_model(tiny_model: Path, tiny_shards: list[Path]) -> None:
    with opened(tiny_model) as whole, opened(*sorted(tiny_shards)) as parts:
        tokens = whole.tokenize(TEXT)[:64]
        assert np.array_equal(parts.tokenize(TEXT)[:64], tokens)
        assert np.array_equal(whole.decode(tokens, 9, anew=True), parts.decode(tokens, 9, anew=True))


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(MalformedFile, match=r"GGUF file|cannot load"):
        opened(path)


def test_a_model_of_vectors_predicts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vectors.gguf"
    write_random_reranker(path)
    with pytest.raises(DoesNotFit, match="no perplexity"):
        opened(path)


def test_more_than_is_allowed_is_refused(tiny_model: Path) -> None:
    with opened(tiny_model, most_bytes=1) as model:
        assert model.rows == 1
        with pytest.raises(EngineFailed):
            model.decode(np.array([1, 2, 3], np.int32), 2, anew=True)
    with opened(tiny_model) as model, pytest.raises(EngineFailed):
        model.decode(np.array([model.columns], np.int32), 1, anew=True)


def test_the_child_is_gone_afterwards(tiny_model: Path) -> None:
    with opened(tiny_model) as model:
        pid = model._process.pid
        model.tokenize("a")
    assert wait_until_gone(pid, 5)
    model.close()


def test_a_child_that_is_killed_is_explained(tiny_model: Path) -> None:
    with opened(tiny_model) as model:
        os.kill(model._process.pid, signal.SIGKILL)
        with pytest.raises(DoesNotFit, match="killed"):
            model.tokenize("a")


def test_the_build_that_is_installed_is_known() -> None:
    assert installed_version("xllamacpp", sys.path) in worker().KNOWN


def test_an_unknown_build_is_named_with_those_that_work() -> None:
    program = worker()
    program.only_known(f"{program.KNOWN[0]}+cu124")
    with pytest.raises(program.Refused, match=r"2027\.1.*works") as caught:
        program.only_known("2027.1.5")
    assert program.KNOWN[0] in str(caught.value)


@pytest.mark.parametrize("damage", ["n_ctx", "type_k", "n_gpu_layers"])
def test_a_build_with_other_structures_is_not_called(damage: str) -> None:
    """As from a header with a field more: what is in the one's place is the other's."""
    program = worker()
    library = program.typed(ctypes.CDLL(_engine()))

    def shifted(make: Callable[[], Any]) -> Callable[[], Any]:
        def made() -> Any:
            values = make()
            if hasattr(values, damage):
                setattr(values, damage, 7)
            return values

        return made

    names = ("llama_model_default_params", "llama_context_default_params")
    program.check_defaults(library)
    with pytest.raises(program.Refused, match=damage):
        program.check_defaults(SimpleNamespace(**{name: shifted(getattr(library, name)) for name in names}))


def test_a_build_without_a_function_is_refused() -> None:
    program = worker()
    with pytest.raises(program.Refused, match="llama_backend_init"):
        program.typed(SimpleNamespace())


def _engine() -> str:
    found = importlib.util.find_spec("xllamacpp")
    assert found
    assert found.submodule_search_locations
    return str(next(Path(found.submodule_search_locations[0]).glob("xllamacpp*.so")))
