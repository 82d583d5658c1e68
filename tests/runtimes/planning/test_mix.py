"""Sizes after quantization, against a table that was computed apart and checked against llama.cpp (fit.md
2.6).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from registry.errors import MalformedFile, UsageError
from registry.formats.facts import Experts, ModelFacts, TensorRow
from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from runtimes.planning.mix import (
    NEEDS_IMPORTANCE_MATRIX,
    QUANTIZATIONS,
    is_exact,
    quantized,
    quantized_bytes,
    tensor_types,
)

LIBRARY = Path(__file__).parents[3] / "modelfiles" / "library"

COLUMNS = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "BF16")
TABLE = """
qwen3/0.6b       290.3  317.1  341.2  361.9  376.2  377.3  390.8  438.5  489.2  633.5  1192.2
qwen3/1.7b       771.8  861.3  933.6 1004.4 1050.8 1054.2 1101.5 1251.9 1411.8 1828.5  3441.4
qwen3/4b        1663.5 1881.0 2069.7 2264.8 2369.8 2377.4 2491.3 2883.6 3300.3 4274.4  8045.3
qwen3/8b        3275.8 3763.7 4118.2 4555.9 4781.4 4796.1 5021.8 5845.2 6719.9 8703.6 16382.1
phi4-mini/3.8b  1725.5 1889.1 2113.2 2216.2 2323.2 2337.3 2485.6 2806.5 3147.4 4076.4  7672.4
gemma3/1b        683.3  682.3  715.9  707.9  715.4  774.5  799.5  844.8 1005.2 1062.8  2000.0
gemma3/4b       1722.5 1930.7 2091.8 2256.6 2363.4 2371.3 2483.2 2823.0 3184.1 4123.7  7760.9
llama3.1/8b     3171.3 3656.7 4011.1 4439.8 4668.1 4684.8 4912.9 5725.2 6588.2 8532.9 16061.1
llama3.2/1b      573.0  633.9  683.0  735.3  765.2  767.8  799.9  903.7 1014.0 1313.3  2471.8
llama3.2/3b     1356.1 1535.0 1679.3 1821.3 1914.1 1920.4 2011.5 2314.3 2636.0 3414.1  6425.9
smollm2/135m      86.4   86.4   91.7   89.1   90.1  100.3  103.7  110.3  136.6  143.0   269.1
smollm2/360m     216.9  216.9  232.9  224.9  227.9  258.1  268.8  288.2  365.6  384.6   723.8
smollm2/1.7b     672.8  775.0  858.4  938.6  992.1  997.3 1053.8 1223.7 1404.2 1818.6  3423.0
"""
CELLS = [
    (row.split()[0], column, value)
    for row in TABLE.split("\n")[1:-1]
    for column, value in zip(COLUMNS, row.split()[1:], strict=True)
]
BITNET = [
    ("TQ1_0", "710.7"),
    ("TQ2_0", "808.4"),
    ("Q2_K", "1040.3"),
    ("Q4_K_M", "1513.2"),
    ("Q8_0", "2564.9"),
    ("BF16", "4826.5"),
]
CELLS += [("bitnet/b1.58-2b-4t", column, value) for column, value in BITNET]

# Llama-3.1-8B in bits per weight, as llama.cpp's tools/quantize/README.md publishes it for its own quantizations
PUBLISHED = {
    "IQ1_S": 2.0042, "IQ1_M": 2.1460, "IQ2_XXS": 2.3824, "IQ2_XS": 2.5882, "IQ2_S": 2.7403, "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548, "IQ3_XS": 3.4977, "IQ3_S": 3.6606, "IQ3_M": 3.7628, "IQ4_XS": 4.4597, "IQ4_NL": 4.6818,
    "Q2_K_S": 2.9697, "Q2_K": 3.1593, "Q3_K_S": 3.6429, "Q3_K_M": 3.9960, "Q3_K_L": 4.2979,
    "Q4_K_S": 4.6672, "Q4_K_M": 4.8944, "Q5_K_S": 5.5704, "Q5_K_M": 5.7036, "Q6_K": 6.5633, "Q8_0": 8.5008, "F16": 16.0005,
}  # fmt: skip


def facts(entry: str) -> ModelFacts:
    return ModelFacts.from_json(json.loads((LIBRARY / entry / "facts.json").read_text()))


@pytest.mark.parametrize(("entry", "label", "megabytes"), CELLS, ids=lambda value: str(value))
def test_the_size_is_that_of_the_table(entry: str, label: str, megabytes: str) -> None:
    size = quantized_bytes(facts(entry), label, importance_matrix=True)
    assert f"{size / 1e6:.1f}" == megabytes
    assert is_exact(facts(entry))


@pytest.mark.parametrize("label", PUBLISHED)
def test_bits_per_weight_are_the_published_ones(label: str) -> None:
    model = facts("llama3.1/8b")
    size = quantized_bytes(model, label)
    assert model.parameters
    assert size * 8 / model.parameters == pytest.approx(PUBLISHED[label], abs=0.00015)


@pytest.mark.parametrize("label", QUANTIZATIONS)
def test_rows_are_whole(label: str) -> None:
    """Every row keeps its elements, and its bytes are those of its type."""
    for entry in ("smollm2/135m", "gemma3/1b", "all-minilm/22m"):
        before, after = facts(entry), quantized(facts(entry), label)
        assert sum(row.elements for row in after.tensors) == before.parameters
        assert sum(row.count for row in after.tensors) == sum(row.count for row in before.tensors)
        assert after.quantization == label
        for row in after.tensors:
            kind = GGML_TYPES_BY_NAME[row.type]
            assert row.bytes * kind.block_size == row.elements * kind.block_bytes
            assert row.columns is None or row.columns % kind.block_size == 0
        assert [(row.tensor_class, row.type) for row in after.tensors] == sorted(
            {(row.tensor_class, row.type) for row in after.tensors}
        )


def test_what_is_never_quantized_stays() -> None:
    bert = quantized(facts("all-minilm/22m"), "Q4_K_M")
    kept = {
        row.tensor_class: row.type
        for row in bert.tensors
        if row.tensor_class in {"position_embd", "token_types"}
    }
    assert kept == {"position_embd": "F32", "token_types": "F32"}
    assert {row.type for row in bert.tensors if row.tensor_class in {"norm", "bias"}} == {"F32"}


def test_rows_that_no_block_of_256_divides_get_what_stands_in() -> None:
    types = tensor_types(facts("smollm2/135m"), "Q4_K_M")
    assert set(types["attn_q"]) == {"Q5_0"}  # 576 columns
    assert set(types["attn_v"]) == {"Q5_0", "Q8_0"}
    assert set(types["ffn_down"]) == {"Q4_K", "Q6_K"}  # 1536
    assert types["token_embd"] == ("Q8_0",)
    assert quantized(facts("smollm2/135m"), "Q2_K").tensors == tuple(
        dataclasses.replace(row) for row in quantized(facts("smollm2/135m"), "Q3_K_S").tensors
    )


def test_more_bits_go_to_the_first_and_last_layers_and_every_third() -> None:
    values = tensor_types(facts("llama3.1/8b"), "Q4_K_M")["attn_v"]
    finer = [layer for layer, kind in enumerate(values) if kind == "Q6_K"]
    assert finer == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


@pytest.mark.parametrize(
    ("label", "matrix", "tensor_class", "types"),
    [
        ("Q4_0", True, "ffn_down", ("Q4_1",) * 4 + ("Q4_0",) * 28),
        ("Q4_0", False, "ffn_down", ("Q4_0",) * 32),
        ("Q5_0", True, "ffn_down", ("Q5_1",) * 4 + ("Q5_0",) * 28),
        ("IQ4_XS", False, "ffn_down", ("Q5_K",) * 4 + ("IQ4_XS",) * 28),
        ("IQ4_XS", True, "ffn_down", ("IQ4_XS",) * 32),
        ("Q3_K_M", True, "ffn_down", ("Q5_K",) * 2 + ("Q4_K",) * 30),
        ("IQ3_XS", True, "ffn_up", ("IQ3_S",) * 4 + ("IQ3_XXS",) * 24 + ("IQ3_S",) * 4),
        ("IQ2_M", True, "token_embd", ("IQ3_S",)),
        ("IQ2_M", True, "output", ("Q5_K",)),
        ("TQ1_0", True, "token_embd", ("Q4_K",)),
    ],
)
def test_single_rules(label: str, matrix: bool, tensor_class: str, types: tuple[str, ...]) -> None:
    assert tensor_types(facts("llama3.1/8b"), label, importance_matrix=matrix)[tensor_class] == types


def mixture(experts: int) -> ModelFacts:
    """One dense layer, then seven of experts, as DeepSeek and others have it."""

    def row(name: str, count: int, columns: int, rows: int) -> TensorRow:
        elements = count * columns * rows
        return TensorRow(
            tensor_class=name, type="F16", count=count, columns=columns, elements=elements, bytes=2 * elements
        )

    return ModelFacts(
        format="gguf", architecture="deepseek2", layers=8, hidden=512, heads=8, kv_heads=8, tied_embeddings=False,
        experts=Experts(count=experts, used=2, shared=1, feed_forward=256, shared_feed_forward=None),
        tensors=(
            row("attn_v", 8, 512, 512), row("ffn_down", 1, 1024, 512), row("ffn_down_exps", 7, 256, 512 * experts),
            row("ffn_gate_inp", 7, 512, experts), row("output", 1, 512, 1000), row("token_embd", 1, 512, 1000),
        ),
    )  # fmt: skip


def test_layers_of_experts_lie_behind_those_without() -> None:
    types = tensor_types(mixture(16), "Q4_K_M")
    assert types["ffn_down"] == ("Q6_K",)  # layer 0, of the first eighth
    assert types["ffn_down_exps"] == ("Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K")  # layers 1 to 7
    assert "ffn_gate_inp" not in types


def test_eight_experts_are_a_case_of_their_own() -> None:
    assert set(tensor_types(mixture(8), "Q4_K_M")["attn_v"]) == {"Q8_0"}
    assert set(tensor_types(mixture(16), "MXFP4_MOE")["ffn_down_exps"]) == {"MXFP4"}
    assert set(tensor_types(mixture(16), "MXFP4_MOE")["attn_v"]) == {"Q8_0"}


def test_some_cannot_be_made_without_an_importance_matrix() -> None:
    for label in NEEDS_IMPORTANCE_MATRIX:
        with pytest.raises(UsageError, match="without an importance matrix"):
            quantized(facts("qwen3/0.6b"), label, importance_matrix=False)
        assert quantized(facts("qwen3/0.6b"), label) == quantized(
            facts("qwen3/0.6b"), label, importance_matrix=True
        )
    with pytest.raises(UsageError, match="no quantization Q4_K_XL"):
        quantized(facts("qwen3/0.6b"), "Q4_K_XL")


def test_facts_without_what_the_rules_need_have_no_size() -> None:
    row = TensorRow(tensor_class="attn_q", type="F16", count=2, columns=None, elements=512, bytes=1024)
    with pytest.raises(MalformedFile, match="no layers or no tensors"):
        quantized(ModelFacts(format="gguf", architecture="llama"), "Q4_K_M")
    odd = ModelFacts(format="gguf", architecture="llama", layers=2, tensors=(row,))
    assert not is_exact(odd)
    with pytest.raises(MalformedFile, match="rows of attn_q"):
        quantized(odd, "Q4_K_M")
