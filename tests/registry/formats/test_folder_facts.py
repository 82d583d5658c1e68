"""Facts of folders: what config.json and the tensors' names say."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts, Window
from registry.formats.folder_facts import facts_from_folder
from registry.formats.hf_config import HfConfig, declared_quantization
from registry.formats.hf_tensors import hf_tensor_class
from registry.formats.mlx import mlx_modules, mlx_quantization
from registry.formats.onnx import facts_from_genai, provider_of
from registry.formats.safetensors import read_header

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.embed_tokens.weight", "token_embd"),
        ("lm_head.weight", "output"),
        ("model.layers.11.self_attn.q_proj.weight", "attn_q"),
        ("model.layers.0.self_attn.o_proj.weight", "attn_output"),
        ("model.layers.0.self_attn.q_proj.bias", "bias"),
        ("model.layers.0.self_attn.q_norm.weight", "norm"),
        ("model.layers.0.self_attn.qkv_proj.weight", "attn_qkv"),
        ("model.layers.0.mlp.gate_proj.weight", "ffn_gate"),
        ("model.layers.0.mlp.gate_up_proj.weight", "ffn_up"),
        ("model.layers.0.mlp.experts.7.down_proj.weight", "ffn_down_exps"),
        ("model.layers.0.mlp.switch_mlp.up_proj.weight", "ffn_up_exps"),
        ("model.layers.0.block_sparse_moe.experts.3.w1.weight", "ffn_gate_exps"),
        ("model.layers.0.mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp"),
        ("model.layers.0.mlp.gate.weight", "ffn_gate_inp"),
        ("model.norm.weight", "norm"),
        ("transformer.wte.weight", "token_embd"),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", "vision"),
        ("model.visual.blocks.0.attn.qkv.weight", "vision"),
        ("audio_tower.layers.0.fc1.weight", "audio"),
        ("multi_modal_projector.linear_1.weight", "projector"),
        ("something", "other"),
        ("", "other"),
    ],
)
def test_tensors_have_the_classes_of_gguf(name: str, expected: str) -> None:
    assert hf_tensor_class(name) == expected


def test_what_is_not_said_is_what_transformers_takes() -> None:
    facts = HfConfig(LLAMA).facts("safetensors")
    assert (facts.kv_heads, facts.head_size_k, facts.head_size_v) == (4, 16, 16)
    assert (facts.window, facts.experts, facts.latent, facts.kv_layers) == (None, None, None, None)
    assert HfConfig({**LLAMA, "head_dim": 32, "num_key_value_heads": 1}).facts("mlx").head_size_k == 32


def test_a_language_model_among_other_networks() -> None:
    config = {"model_type": "gemma3", "hidden_size": 7, "text_config": {**LLAMA, "model_type": "gemma3_text"}}
    facts = HfConfig(config).facts("safetensors")
    assert (facts.architecture, facts.hidden, facts.layers) == ("gemma3", 64, 2)


@pytest.mark.parametrize(
    ("said", "window"),
    [
        ({"sliding_window": 512}, Window(size=512, layers=None, head_size_k=None, head_size_v=None)),
        ({"sliding_window": 512, "use_sliding_window": False}, None),
        ({"sliding_window": None}, None),
        (
            {"sliding_window": 512, "sliding_window_pattern": 3},
            Window(size=512, layers=(True, True, False), head_size_k=None, head_size_v=None),
        ),
        (
            {"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"]},
            Window(size=128, layers=(True, False), head_size_k=None, head_size_v=None),
        ),
        ({"sliding_window": 128, "layer_types": ["full_attention"] * 2}, None),
    ],
)
def test_windows(said: dict[str, Any], window: Window | None) -> None:
    assert HfConfig({**LLAMA, **said}).facts("safetensors").window == window


def test_layers_without_a_cache() -> None:
    types = ["linear_attention", "linear_attention", "linear_attention", "full_attention"]
    assert HfConfig({**LLAMA, "layer_types": types}).facts("safetensors").kv_layers == (
        False,
        False,
        False,
        True,
    )


def test_experts_and_latent_attention() -> None:
    config = {
        **LLAMA,
        "n_routed_experts": 64,
        "num_experts_per_tok": 6,
        "n_shared_experts": 2,
        "moe_intermediate_size": 1408,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
    }
    facts = HfConfig(config).facts("safetensors")
    assert facts.experts is not None
    assert (facts.experts.count, facts.experts.used, facts.experts.shared) == (64, 6, 2)
    assert facts.latent is not None
    assert (facts.latent.rank, facts.latent.head_size_k, facts.latent.head_size_v) == (512, 192, 128)
    assert (facts.kv_heads, facts.head_size_k, facts.head_size_v) == (1, 576, 512)  # as GGUF has it


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"torch_dtype": "bfloat16"}, "BF16"),
        ({"dtype": "torch.float16"}, "F16"),
        ({"torch_dtype": "weird"}, None),
        ({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}, "awq-q4-g128"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1}}, "gptq-q4"),
        ({"quantization_config": {"quant_method": "fp8"}, "torch_dtype": "bfloat16"}, "fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        (
            {
                "quantization_config": {
                    "quant_method": "bitsandbytes",
                    "load_in_4bit": True,
                    "bnb_4bit_quant_type": "nf4",
                }
            },
            "bnb-nf4",
        ),
        ({"quantization_config": {"quant_method": "../x"}}, None),
        ({}, None),
    ],
)
def test_what_config_says_the_weights_are(config: dict[str, object], label: str | None) -> None:
    assert declared_quantization(config) == label


def test_packed_weights_have_no_known_count() -> None:
    config = {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    header = read_header(
        io.BytesIO(save({"model.layers.0.self_attn.q_proj.qweight": np.zeros((8, 64), dtype=np.int32)}))
    )
    facts = facts_from_folder(config, [header])
    assert (facts.quantization, facts.parameters) == ("gptq-q4", None)


def test_a_tied_model_has_no_output() -> None:
    header = read_header(io.BytesIO(save({"model.embed_tokens.weight": np.zeros((8, 64), dtype=np.float32)})))
    assert facts_from_folder({**LLAMA, "tie_word_embeddings": False}, [header]).tied_embeddings is True


def test_two_files_with_one_tensor() -> None:
    header = read_header(io.BytesIO(save({"x": np.zeros((8,), dtype=np.float32)})))
    with pytest.raises(MalformedFile, match="Two files hold the tensor 'x'"):
        facts_from_folder(LLAMA, [header, header])


@pytest.mark.parametrize(
    ("quantization", "label"),
    [
        ({"group_size": 64, "bits": 4}, "q4-g64"),
        ({"group_size": 32, "bits": 4, "mode": "mxfp4"}, "mxfp4"),
        ({"group_size": 64, "bits": 6, "mode": "affine"}, "q6-g64"),
        ({"group_size": 64, "bits": 4, "mode": "../x"}, "q4-g64"),
        ({"group_size": 64}, None),
        ({"group_size": True, "bits": 4}, None),
        ({"group_size": 64, "bits": 10**9}, None),
        ([], None),
        (None, None),
    ],
)
def test_mlx_labels(quantization: object, label: str | None) -> None:
    assert mlx_quantization({"quantization": quantization}) == label


def test_mlx_modules_of_their_own() -> None:
    quantization = {"group_size": 64, "bits": 4, "lm_head": {"group_size": 32, "bits": 8}, "gate": False}
    assert mlx_modules({"quantization": quantization}) == {"lm_head": (32, "q8-g32")}


@pytest.mark.parametrize(
    ("providers", "name"),
    [
        ([], "cpu"),
        ([{"cuda": {"enable": "1"}}], "cuda"),
        ([{"DML": {}}], "dml"),
        ([{"NvTensorRtRtx": {}}], "trt-rtx"),
        ([{"../x": {}}], None),
        ({}, None),
        (None, None),
    ],
)
def test_providers(providers: object, name: str | None) -> None:
    config = {"model": {"decoder": {"session_options": {"provider_options": providers}}}}
    assert provider_of(config) == name


def test_a_genai_config_without_a_type_is_refused() -> None:
    with pytest.raises(MalformedFile):
        facts_from_genai({"model": {"decoder": []}}, None)


TEXTS = st.text("ab/.", max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        "head_dim",
        "hidden_size",
        "kv_lora_rank",
        "layer_types",
        "model_type",
        "num_attention_heads",
        "num_experts",
        "quantization",
        "quantization_config",
        "sliding_window",
        "sliding_window_pattern",
        "text_config",
        "torch_dtype",
    ]
)


@given(st.dictionaries(KEYS, VALUES))
def test_facts_are_always_of_the_schema(config: dict[str, object]) -> None:
    facts = facts_from_folder({**config, "model_type": "llama"}, [])
    assert ModelFacts.from_json(facts.to_json()) == facts


@pytest.mark.parametrize("name", [None, "", "../x", 7, "a" * 65, ["llama"]])
def test_a_config_without_a_model_type_is_refused(name: object) -> None:
    with pytest.raises(MalformedFile, match="model_type"):
        HfConfig({"model_type": name}).facts("safetensors")
