"""A converted BERT gives the vectors that its weights give by the paper's formulas."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from registry.errors import DoesNotFit, MalformedFile
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.source import Source
from runtimes.convert.writer import write
from runtimes.process import Worker
from runtimes.protocol import embeddings_request
from tests.runtimes.convert.folders import HEADS, HIDDEN, LAYERS, Array, bert
from tests.runtimes.launches import DEADLINE_SECONDS, ONE_THREAD, llama_worker
from tests.runtimes.unix_http import UnixConnection

TOKENS = [2, 5, 9, 31, 14, 3]


def normalised(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return np.asarray(centred / scale * weight + bias)


def forward(weights: dict[str, Array], tokens: list[int]) -> Array:
    """Devlin et al., "BERT" (arXiv 1810.04805), with learnt positions, then the mean over the tokens."""

    def dense(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        return normalised(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = weights["embeddings.word_embeddings.weight"][tokens]
    x = x + weights["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        query, key, value = (
            dense(x, f"{at}attention.self.{part}").reshape(len(tokens), HEADS, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(HIDDEN // HEADS))
        mixed = (scores / scores.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(tokens), HIDDEN)
        x = norm(x + dense(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = dense(x, f"{at}intermediate.dense")
        inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        x = norm(x + dense(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    return np.asarray(x.mean(0))


def vector(worker: Worker) -> Array:
    request = embeddings_request([TOKENS])
    connection = UnixConnection(worker.endpoint.socket, timeout_seconds=DEADLINE_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {worker.endpoint.key}"}
        connection.request(request.method, request.path, body=request.body, headers=headers)
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")


@pytest.mark.parametrize(("prefix", "out_type"), [("", "F32"), ("bert.", "F16")])
def test_its_vectors(prefix: str, out_type: str, base: Path, tmp_path: Path) -> None:
    files = SourceFiles.of_folder(bert(tmp_path / "bert", prefix))
    write(convert(files, out_type), tmp_path / "bert.gguf", lambda _count: None)
    request = dataclasses.replace(ONE_THREAD, embedding=True, context_length=64)
    with llama_worker(base, tmp_path / "bert.gguf", request) as worker:
        found = vector(worker)
    source = Source.of(files).tensors
    weights = {name.removeprefix("bert."): tensor.numbers().astype(float) for name, tensor in source.items()}
    expected = forward(weights, TOKENS)
    cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.9999


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, 1),
        ({"pooling_mode_cls_token": True}, 2),
        ({"pooling_mode_lasttoken": True}, 3),
        ({"pooling_mode": "cls"}, 2),
    ],
)
def test_how_vectors_become_one(settings: dict[str, object], pooling: int, tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    made = {key.name: key.value for key in convert(SourceFiles.of_folder(folder)).keys}
    assert made["bert.pooling_type"] == pooling
    assert made["bert.attention.causal"] is False


def test_other_pooling_and_other_berts_are_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    both = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}  # one behind the other
    for settings in ({"pooling_mode_max_tokens": True}, both, {"pooling_mode": ["mean", "cls"]}):
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
        with pytest.raises(DoesNotFit, match="pools its vectors"):
            convert(SourceFiles.of_folder(folder))
    (folder / "modules.json").write_text("{")
    with pytest.raises(MalformedFile, match="is not valid JSON"):
        convert(SourceFiles.of_folder(folder))
    for changes in ({"position_embedding_type": "relative_key"}, {"is_decoder": True}):
        with pytest.raises(DoesNotFit, match="BERT of another kind"):
            convert(SourceFiles.of_folder(bert(tmp_path / "bert", **changes)))


def test_a_layer_behind_the_pooling_is_not_left_out(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    modules = [
        *json.loads((folder / "modules.json").read_text()),
        {"path": "2_Normalize", "type": "a.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    convert(SourceFiles.of_folder(folder))
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "2_Dense", "type": "a.b.Dense"}]))
    with pytest.raises(DoesNotFit, match="a module of its own beside its layers \\('Dense'\\)"):
        convert(SourceFiles.of_folder(folder))


def test_old_names_of_norms(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    raw = (folder / "model.safetensors").read_bytes()
    old = raw.replace(b"LayerNorm.weight", b"LayerNorm.gamma ").replace(b"LayerNorm.bias", b"LayerNorm.beta")
    assert len(old) == len(raw)
    (folder / "model.safetensors").write_bytes(old.replace(b'.gamma "', b'.gamma" '))
    names = {tensor.name for tensor in convert(SourceFiles.of_folder(folder)).tensors}
    assert {"token_embd_norm.weight", "token_embd_norm.bias"} <= names
