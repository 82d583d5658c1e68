"""The models and labels of tests/golden/quantize.json, which llama-cpp-python's quantizer was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtimes.planning.mix import NEEDS_IMPORTANCE_MATRIX
from runtimes.quantize.request import LABELS, TENSOR_TYPES, QuantizeRequest
from tests.runtimes.quantize.models import Sizes, Values, importance, write_importance, write_model

PATH = Path(__file__).parents[2] / "golden" / "quantize.json"

MODELS: Mapping[str, Sizes] = {
    "even": Sizes(layers=9, kv_heads=1, vocabulary=16, feed_forward=256),
    "odd": Sizes(layers=8, hidden=320, heads=5, kv_heads=5, feed_forward=512, tied=True, vocabulary=16),
    "experts": Sizes(layers=9, experts=8, kv_heads=1, vocabulary=16, feed_forward=256),
}
EVERY = "every type"
"""Beside the labels: a file whose matrices have each type that there is, by overrides."""

_NOT_FITTING = frozenset({"Q1_0"})  # llama.cpp has nothing in its place where it does not divide a row


def golden() -> dict[str, dict[str, list[str]]]:
    """Model and label to the digests of header and data."""
    found = json.loads(PATH.read_text())
    assert isinstance(found, dict)
    return found


def requests(
    folder: Path,
) -> Iterator[tuple[str, str, QuantizeRequest, Sizes, Mapping[str, Values] | None]]:
    """Model, label, request, and the importance that it comes with; the files are written to `folder`."""
    for name, sizes in MODELS.items():
        source, matrix = folder / f"{name}.gguf", folder / f"{name}-matrix.gguf"
        write_model(source, sizes, kind="BF16")
        weights = importance(sizes)
        write_importance(matrix, weights, sizes)
        for label in LABELS:
            if label not in NEEDS_IMPORTANCE_MATRIX and label not in _NOT_FITTING:
                yield name, label, QuantizeRequest(sources=(source,), quantization=label), sizes, None
            if label not in _NOT_FITTING:
                request = QuantizeRequest(sources=(source,), quantization=label, imatrix=matrix)
                yield name, f"{label} measured", request, sizes, weights
        if name == "even":
            yield name, EVERY, every_type(source, matrix), sizes, weights


def every_type(source: Path, matrix: Path) -> QuantizeRequest:
    """A request that gives each matrix of a model of nine layers another type."""
    matrices = [
        f"blk.{layer}.{part}" for layer in range(9) for part in ("ffn_up", "ffn_down", "attn_q", "attn_k")
    ]
    types = [kind for kind in TENSOR_TYPES if kind != "F32"]
    return QuantizeRequest(
        sources=(source,),
        quantization="Q4_0",
        imatrix=matrix,
        tensor_types=tuple(
            (name.replace(".", r"\."), types[number % len(types)]) for number, name in enumerate(matrices)
        ),
    )
