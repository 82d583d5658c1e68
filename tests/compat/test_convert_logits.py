"""What llama.cpp computes with a converted model is what Transformers computes with the original."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write
from runtimes.environment import worker_environment
from runtimes.logits import Logits, LogitsRequest
from tests.compat import oracle

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.xdist_group("oracle")]

MODELS = ("llama2", "smollm2", "mistral", "qwen2_yarn", "qwen3", "phi3", "phi3_long", "phi4_mini", "gemma3")
TOKENS = 96
"""More than the windows and the first training contexts of the models hold."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    oracle.require()
    folder = tmp_path_factory.mktemp("models")
    oracle.make_models(folder, *MODELS)
    oracle.logits({folder / name: folder / f"{name}.npy" for name in MODELS}, TOKENS)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_the_logits(name: str, folder: Path, tmp_path: Path) -> None:
    theirs = np.load(folder / f"{name}.npy")
    path = tmp_path / "made.gguf"
    conversion = convert(SourceFiles.of_folder(folder / name), "F32")
    assert conversion.notes == ()
    write(conversion, path, lambda _count: None)
    request = LogitsRequest(
        models=[str(path)], context=TOKENS, environment=worker_environment(os.environ), threads=1
    )
    with Logits(request) as model:
        ours = model.decode(np.arange(3, 3 + TOKENS, dtype=np.int32), TOKENS, anew=True)
    ours = ours[:, : theirs.shape[1]]
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.9999
