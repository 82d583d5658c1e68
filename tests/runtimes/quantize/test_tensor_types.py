"""Which type a tensor gets: order, counting, wishes. The rules as such are held against llama.cpp itself."""

from __future__ import annotations

import pytest

from registry.errors import MalformedFile, UsageError
from registry.formats.ggml_types import BASE_TYPES, GGML_TYPES_BY_NAME
from registry.formats.gguf import TensorInfo
from runtimes.planning.mix_rules import Model
from runtimes.quantize.request import parse_override, quantization_label, tensor_type
from runtimes.quantize.tensor_types import Wishes, in_order, stays, targets, value_matrices


def tensor(name: str, *dims: int, kind: str = "F16") -> TensorInfo:
    return TensorInfo(name=name, dims=dims or (256, 8), type=GGML_TYPES_BY_NAME[kind], offset=0, size_bytes=0)


def model(label: str, tensors: list[TensorInfo], *, layers: int = 8, experts: int = 0) -> Model:
    return Model(
        architecture="llama",
        label=label,
        base=BASE_TYPES[label],
        layers=layers,
        value_matrices=value_matrices(tensors),
        heads_per_kv_head=1,
        experts=experts,
        tied=all(each.name != "output.weight" for each in tensors),
        importance_matrix=False,
    )


def types(label: str, tensors: list[TensorInfo], wishes: Wishes | None = None, **sizes: int) -> list[str]:
    return [
        target.type.name for target in targets(tensors, model(label, tensors, **sizes), wishes or Wishes())
    ]


def test_the_order_is_by_layer_then_by_name() -> None:
    names = ["blk.10.a", "blk.9.b", "token_embd.weight", "blk.9.a", "output.weight", "é", "blk.x.a", "blk.2"]
    ordered = [each.name for each in in_order(tensor(name) for name in names)]
    assert ordered == [
        "blk.2", "blk.x.a", "output.weight", "token_embd.weight", "é", "blk.9.a", "blk.9.b", "blk.10.a",
    ]  # fmt: skip


def test_what_stays_as_it_is() -> None:
    for name in (
        "blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "position_embd.weight", "token_types.weight",
        "blk.0.ssm_conv1d.weight", "blk.0.attn_q.bias", "blk.0.attn_rel_b.weight", "v.position_embd.weight",
    ):  # fmt: skip
        assert stays(tensor(name)), name
    assert stays(tensor("blk.0.attn_q.weight", 256, 1))  # ggml counts one dimension there
    for name in ("blk.0.attn_q.weight", "output.weight", "token_embd.weight", "blk.0.whatever.weight"):
        assert not stays(tensor(name)), name
    assert types("Q4_K_M", [tensor("blk.0.attn_norm.weight", 256, kind="F32")]) == ["F32"]


def test_an_override_is_not_counted_by_the_recipe() -> None:
    """Q4_K_S gives the first four value matrices more bits: the first four that it is asked about."""
    values = [tensor(f"blk.{layer}.attn_v.weight") for layer in range(8)]
    assert types("Q4_K_S", values) == ["Q5_K"] * 4 + ["Q4_K"] * 4
    wishes = Wishes(tensor_types=((r"blk\.[01]\.ATTN", "Q8_0"),))
    assert types("Q4_K_S", values, wishes) == ["Q8_0"] * 2 + ["Q5_K"] * 4 + ["Q4_K"] * 2
    assert types("Q4_K_S", values, Wishes(pure=True)) == ["Q4_K"] * 8


def test_layers_of_experts_are_read_from_the_name() -> None:
    downs = [tensor(f"blk.{layer}.ffn_down_exps.weight", 256, 8, 2) for layer in range(4, 8)]
    assert types("Q3_K_M", downs, layers=16, experts=2) == ["Q4_K"] * 4
    first = [tensor("blk.0.ffn_down_exps.weight", 256, 8, 2), *downs]
    assert types("Q3_K_M", first, layers=16, experts=2)[0] == "Q5_K"
    for name in ("ffn_down.weight", "blk.16.ffn_down.weight"):
        with pytest.raises(MalformedFile, match="in none of its 16 layers"):
            types("Q4_K_M", [tensor(name)], layers=16, experts=2)


def test_wishes_for_output_and_embedding() -> None:
    untied = [tensor("output.weight"), tensor("token_embd.weight")]
    assert types("Q4_0", untied) == ["Q6_K", "Q4_0"]
    assert types("Q4_0", untied, Wishes(output_tensor_type="F16")) == ["F16", "Q4_0"]
    assert types("Q4_0", untied, Wishes(token_embedding_type="Q2_K")) == ["Q6_K", "Q2_K"]
    tied = untied[1:]
    assert types("Q4_0", tied) == ["Q6_K"]
    assert types("Q4_0", tied, Wishes(output_tensor_type="Q8_0")) == ["Q8_0"]
    assert types("Q4_0", tied, Wishes(output_tensor_type="Q8_0", pure=True)) == ["Q4_0"]
    with pytest.raises(UsageError, match="rows of 288 are no multiple of 256"):
        types("Q4_0", [tensor("output.weight", 288, 8)], Wishes(output_tensor_type="Q6_K"))


def test_rows_that_do_not_divide() -> None:
    odd = [tensor("blk.0.attn_q.weight", 288, 8), tensor("blk.0.attn_q.weight", 264, 8)]
    assert types("Q4_K_M", odd) == ["Q5_0", "F16"]
    assert types("IQ4_XS", odd) == ["IQ4_NL", "F16"]
    assert types("Q8_0", odd) == ["Q8_0", "F16"]


def test_words_of_the_command_line() -> None:
    assert [quantization_label(text) for text in ("q4_k_m", "Q4_K", "iq2_xxs", "f16", "tq1_0")] == [
        "Q4_K_M", "Q4_K_M", "IQ2_XXS", "F16", "TQ1_0",
    ]  # fmt: skip
    assert tensor_type("q6_k") == "Q6_K"
    assert parse_override("blk.*=weight=q8_0") == ("blk.*=weight", "Q8_0")
    for text in ("Q4_K_XL", "NVFP4", "", "8"):
        with pytest.raises(UsageError, match="no quantization"):
            quantization_label(text)
    for text in ("ffn=", "ffn=Q9", "ffn", "=Q8_0", "ffn=Q8_1", "ffn=I32", "(=Q8_0", "a{99999999999}=Q8_0"):
        with pytest.raises(UsageError):
            parse_override(text)
