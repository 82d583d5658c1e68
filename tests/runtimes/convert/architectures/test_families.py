"""What each architecture does to its tensors, and which keys it writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from registry.errors import DoesNotFit, MalformedFile
from runtimes.convert.architectures.llama import llama3_factors
from runtimes.convert.config import ModelConfig, Rope, Section
from runtimes.convert.convert import convert, convert_to_floats
from runtimes.convert.files import SourceFiles
from runtimes.convert.source import Source
from runtimes.convert.values import Conversion
from tests.runtimes.convert.folders import (
    BITNET,
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    TOKENS,
    Array,
    bitnet,
    bitnet_config,
    brain,
    decoder_shapes,
    gemma3,
    llama,
    per_layer,
    phi3,
    qwen2,
    qwen3,
    random_tensors,
    write_folder,
)  # fmt: skip


def keys_of(made: Conversion) -> dict[str, Any]:
    return {key.name: key.value for key in made.keys}


def numbers(made: Conversion, name: str) -> Array:
    tensor = next(tensor for tensor in made.tensors if tensor.name == name)
    raw = np.concatenate([piece.reshape(-1).view(np.uint8) for piece in tensor.read()])
    return gguf.quants.dequantize(raw, tensor.kind).reshape(tensor.shape)


def names(made: Conversion) -> set[str]:
    return {tensor.name for tensor in made.tensors}


def test_llama(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", "F32", attention_bias=False)
    made = convert(SourceFiles.of_folder(folder))
    assert keys_of(made) | {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "llama.context_length": 128,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": FFN,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": TOKENS,
    } == keys_of(made)
    source = Source.of(SourceFiles.of_folder(folder)).tensors
    theirs = source["model.layers.1.self_attn.k_proj.weight"].numbers()
    ours = numbers(made, "blk.1.attn_k.weight")
    assert np.array_equal(ours[0::2][:8], theirs[:8])  # the first halves of the first head
    assert np.array_equal(ours[1::2][:8], theirs[8:16])
    assert np.array_equal(
        numbers(made, "blk.1.attn_v.weight"), source["model.layers.1.self_attn.v_proj.weight"].numbers()
    )
    assert "output.weight" in names(made)


def test_a_tied_embedding_is_not_written_twice(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", tie_word_embeddings=True)
    assert "output.weight" not in names(convert(SourceFiles.of_folder(folder)))
    config = json.loads((llama(tmp_path / "both") / "config.json").read_text()) | {
        "tie_word_embeddings": True
    }
    (tmp_path / "both" / "config.json").write_text(json.dumps(config))
    assert "output.weight" not in names(convert(SourceFiles.of_folder(tmp_path / "both")))


def test_llama3_factors_by_wavelength() -> None:
    """Llama 3.1's own settings: short waves stay, long ones are 8 times as long, those between rise."""
    settings = Section(
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    )
    factors = llama3_factors(Rope(base=500_000.0, kind="llama3", settings=settings), 128)
    lengths = 2 * math.pi * 500_000.0 ** (np.arange(0, 128, 2) / 128)
    assert (factors[lengths < 2048] == 1.0).all()
    assert (factors[lengths > 8192] == 8.0).all()
    between = factors[(lengths > 2048) & (lengths < 8192)]
    assert len(between) > 3
    assert (np.diff(between) > 0).all()
    assert between[0] > 1.0
    assert between[-1] < 8.0


@pytest.mark.parametrize("change", [{"low_freq_factor": 4.0}, {"factor": 0.0}, {"high_freq_factor": -1.0}])
def test_factors_that_cannot_be(change: dict[str, float]) -> None:
    settings = Section({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | change)
    with pytest.raises(MalformedFile):
        llama3_factors(Rope(base=10000.0, kind="llama3", settings=settings), 64)


def test_rope_of_either_version_of_transformers() -> None:
    old = ModelConfig({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}})
    new = ModelConfig({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}})
    for config in (old, new):
        rope = config.rope(1e4)
        assert (rope.base, rope.kind, rope.settings.real("factor")) == (5e5, "linear", 4.0)
    layers = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    }
    rope = ModelConfig({"rope_parameters": layers}).rope(1.0)
    assert (rope.base, rope.kind, rope.windowed_base) == (1e6, "linear", 1e4)
    assert ModelConfig({}).rope(7.0) == Rope(
        base=7.0, kind="default", settings=ModelConfig({}).rope(7.0).settings
    )


def test_yarn(tmp_path: Path) -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0}
    found = keys_of(convert(SourceFiles.of_folder(qwen2(tmp_path / "qwen2", rope_scaling=scaling))))
    assert found["qwen2.rope.scaling.type"] == "yarn"
    assert found["qwen2.rope.scaling.factor"] == 4.0
    assert found["qwen2.rope.scaling.original_context_length"] == 32
    assert found["qwen2.rope.scaling.yarn_beta_fast"] == 32.0
    del scaling["original_max_position_embeddings"]  # then it is the context itself
    made = convert(SourceFiles.of_folder(qwen2(tmp_path / "qwen2", rope_scaling=scaling)))
    assert keys_of(made)["qwen2.rope.scaling.original_context_length"] == 128


def test_qwen(tmp_path: Path) -> None:
    second = convert(SourceFiles.of_folder(qwen2(tmp_path / "qwen2")))
    assert {"blk.0.attn_q.bias", "blk.1.attn_v.bias"} <= names(second)
    assert "qwen2.attention.key_length" not in keys_of(second)
    said = convert(SourceFiles.of_folder(qwen2(tmp_path / "said", head_dim=16)))
    assert keys_of(said)["qwen2.attention.key_length"] == 16
    third = convert(SourceFiles.of_folder(qwen3(tmp_path / "qwen3")))
    assert {"blk.0.attn_q_norm.weight", "blk.1.attn_k_norm.weight"} <= names(third)
    assert keys_of(third)["qwen3.attention.key_length"] == 32
    assert keys_of(third)["qwen3.rope.freq_base"] == 10000.0


def test_a_model_of_qwen_without_its_head(tmp_path: Path) -> None:
    folder = qwen3(tmp_path / "qwen3", architectures=["Qwen3Model"])
    tensors = Source.of(SourceFiles.of_folder(folder)).tensors
    bare = {
        name.removeprefix("model."): brain(each.numbers())
        for name, each in tensors.items()
        if "lm_head" not in name
    }
    write_folder(folder, json.loads((folder / "config.json").read_text()), bare)
    made = names(convert(SourceFiles.of_folder(folder)))
    assert "blk.1.ffn_up.weight" in made
    assert "output.weight" not in made


def test_phi3(tmp_path: Path) -> None:
    made = convert(SourceFiles.of_folder(phi3(tmp_path / "phi3")))
    found = keys_of(made)
    assert found["phi3.rope.dimension_count"] == 12
    assert found["phi3.rope.scaling.original_context_length"] == 32
    assert found["phi3.rope.scaling.attn_factor"] == pytest.approx(math.sqrt(1 + math.log(4) / math.log(32)))
    assert found["phi3.attention.sliding_window"] == 0
    assert numbers(made, "rope_factors_long.weight").tolist() == [1, 2, 3, 4, 5, 6]
    assert numbers(made, "rope_factors_short.weight").tolist() == pytest.approx([1, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert "blk.0.attn_qkv.weight" in names(made)


def test_phi3_with_too_few_factors_or_others(tmp_path: Path) -> None:
    few = {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}
    with pytest.raises(MalformedFile, match="6 long and as many short"):
        convert(SourceFiles.of_folder(phi3(tmp_path / "phi3", rope_scaling=few)))
    with pytest.raises(DoesNotFit, match="'linear'"):
        convert(
            SourceFiles.of_folder(phi3(tmp_path / "phi3", rope_scaling={"type": "linear", "factor": 2.0}))
        )
    for share in (0, -1, 1.5):
        with pytest.raises(MalformedFile, match="partial_rotary_factor"):
            convert(SourceFiles.of_folder(phi3(tmp_path / "phi3", partial_rotary_factor=share)))


def test_phi3_with_a_window_and_plain_positions(tmp_path: Path) -> None:
    folder = phi3(tmp_path / "phi3", sliding_window=16, rope_scaling=None, partial_rotary_factor=None)
    made = convert(SourceFiles.of_folder(folder))
    assert keys_of(made)["phi3.attention.sliding_window"] == 16
    assert "phi3.rope.scaling.attn_factor" not in keys_of(made)
    assert not any(name.startswith("rope") for name in names(made))


@pytest.mark.parametrize("prefix", ["", "language_model.", "model.language_model."])
def test_gemma3(prefix: str, tmp_path: Path) -> None:
    if prefix == "model.language_model.":  # as Transformers 5 saves it: model.language_model.layers...
        prefix = "language_model."
        folder = gemma3(tmp_path / "gemma3")
        raw = {
            name: brain(each.numbers())
            for name, each in Source.of(SourceFiles.of_folder(folder)).tensors.items()
        }
        raw = {name.replace("model.", "model.language_model.", 1): values for name, values in raw.items()}
        raw["model.vision_tower.x.weight"] = brain(np.zeros((2, 2)))
        write_folder(folder, json.loads((folder / "config.json").read_text()), raw)
    else:
        folder = gemma3(tmp_path / "gemma3", prefix=prefix)
    made = convert(SourceFiles.of_folder(folder), "F32")
    found = keys_of(made)
    assert found["gemma3.rope.freq_base"] == 1_000_000.0
    assert found["gemma3.rope.freq_base_swa"] == 10_000.0
    assert found["gemma3.attention.sliding_window"] == 32
    assert "gemma3.attention.sliding_window_pattern" not in found
    assert numbers(made, "token_embd.weight").shape == (TOKENS + 64, HIDDEN)
    source = {
        name.replace("language_model.", ""): tensor
        for name, tensor in Source.of(SourceFiles.of_folder(folder)).tensors.items()
    }
    theirs = source["model.layers.0.post_feedforward_layernorm.weight"].numbers()
    assert np.array_equal(numbers(made, "blk.0.post_ffw_norm.weight"), theirs + np.float32(1))


def test_rows_of_gemma3_beyond_its_tokens_are_left_out(tmp_path: Path) -> None:
    """The config of those that see says nothing of the vocabulary, and has rows for images."""
    made = convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", vocab_size=None)), "F32")
    assert numbers(made, "token_embd.weight").shape == (TOKENS, HIDDEN)


def test_gemma3_with_other_layers_windowed(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention"]
    found = keys_of(convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", layer_types=kinds))))
    assert found["gemma3.attention.sliding_window_pattern"] == [False, True]
    none = keys_of(convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", sliding_window_pattern=1))))
    assert "gemma3.attention.sliding_window" not in none
    with pytest.raises(MalformedFile, match="layer_types"):
        convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", layer_types=["full_attention"])))
    with pytest.raises(DoesNotFit, match="see those after them"):
        convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", use_bidirectional_attention=True)))
    convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", attn_logit_softcapping=None)))
    with pytest.raises(DoesNotFit, match="caps what its queries find"):
        convert(SourceFiles.of_folder(gemma3(tmp_path / "gemma3", attn_logit_softcapping=50.0)))


def packed_bitnet(
    folder: Path, linear_class: str | None, scale: float = 4.0
) -> tuple[Path, dict[str, Array]]:
    """A folder with packed matrices, and what they hold: -1, 0 and 1."""
    chance = np.random.default_rng(3)
    tensors = random_tensors(decoder_shapes(tied=True) | per_layer(BITNET))
    held = {}
    for name in [name for name in tensors if "_proj." in name]:
        values = chance.integers(-1, 2, tensors[name].shape)
        held[name] = values
        quarters = np.split((values + 1).astype("u1"), 4)
        tensors[name] = quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6
        tensors[f"{name}_scale"] = brain(np.array([scale]))
    packing: dict[str, object] = {"quant_method": "bitnet"}
    if linear_class is not None:
        packing |= {"linear_class": linear_class, "quantization_mode": "offline"}
    return write_folder(folder, bitnet_config(quantization_config=packing), tensors), held


@pytest.mark.parametrize(
    ("linear_class", "factor"), [(None, 0.25), ("bitlinear", 0.25), ("autobitlinear", 4.0)]
)
def test_packed_bitnet(linear_class: str | None, factor: float, tmp_path: Path) -> None:
    folder, held = packed_bitnet(tmp_path / "bitnet", linear_class)
    made = convert(SourceFiles.of_folder(folder), "F16")
    ours = numbers(made, "blk.1.ffn_down.weight")
    assert np.array_equal(ours, held["model.layers.1.mlp.down_proj.weight"] * factor)
    assert np.array_equal(
        numbers(made, "blk.0.attn_q.weight"), held["model.layers.0.self_attn.q_proj.weight"] * factor
    )
    assert {"blk.0.attn_sub_norm.weight", "blk.1.ffn_sub_norm.weight"} <= names(made)
    assert not any("scale" in name for name in names(made))


def test_packed_bitnet_becomes_ternary_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    folder, _ = packed_bitnet(tmp_path / "bitnet", "autobitlinear")
    floats = convert_to_floats(SourceFiles.of_folder(folder))
    assert keys_of(floats)["general.file_type"] == gguf.LlamaFileType.MOSTLY_F16
    assert (
        keys_of(convert(SourceFiles.of_folder(folder)))["general.file_type"]
        == gguf.LlamaFileType.MOSTLY_TQ2_0
    )


def test_bitnet_as_it_was_trained_is_rounded_as_when_it_runs(tmp_path: Path) -> None:
    folder = bitnet(tmp_path / "bitnet")
    made = convert(SourceFiles.of_folder(folder))
    theirs = Source.of(SourceFiles.of_folder(folder)).tensors["model.layers.0.mlp.up_proj.weight"].numbers()
    mean = np.abs(theirs).mean(dtype=np.float64)
    ours = numbers(made, "blk.0.ffn_up.weight")
    assert np.allclose(ours, np.rint(theirs / mean).clip(-1, 1) * mean, rtol=1e-6)
    assert len(np.unique(np.abs(ours))) == 2


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])
def test_three_values_are_kept_exactly_in_the_ternary_types(kind: str, tmp_path: Path) -> None:
    own = bitnet_config(hidden_size=256, intermediate_size=256, num_attention_heads=4, num_key_value_heads=4)
    wide = {
        name: tuple({HIDDEN: 256, FFN: 256, 32: 256}.get(size, size) for size in shape)
        for name, shape in (decoder_shapes(tied=True) | per_layer(BITNET)).items()
    }
    folder = write_folder(tmp_path / "bitnet", own, random_tensors(wide, "F32"))
    made = convert(SourceFiles.of_folder(folder), kind)
    exact = convert(SourceFiles.of_folder(folder), "F16")
    tensor = next(tensor for tensor in made.tensors if tensor.name == "blk.0.ffn_up.weight")
    assert tensor.kind.name == kind
    assert np.array_equal(numbers(made, tensor.name), numbers(exact, tensor.name))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"linear_class": "other"}, DoesNotFit, "'other'"),
        ({"linear_class": "autobitlinear", "use_rms_norm": True}, DoesNotFit, "norm of its own"),
    ],
)
def test_bitnets_of_another_kind(
    changes: dict[str, object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    folder, _ = packed_bitnet(tmp_path / "bitnet", None)
    packing = {"quant_method": "bitnet"} | changes
    (folder / "config.json").write_text(json.dumps(bitnet_config(quantization_config=packing)))
    with pytest.raises(error, match=words):
        convert(SourceFiles.of_folder(folder))


def test_a_scale_that_cannot_be(tmp_path: Path) -> None:
    folder, _ = packed_bitnet(tmp_path / "bitnet", "bitlinear", scale=0.0)
    made = convert(SourceFiles.of_folder(folder))
    with pytest.raises(MalformedFile, match=r"The scale of .* is 0"):
        numbers(made, "blk.0.ffn_up.weight")
