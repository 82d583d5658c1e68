"""Facts from a config.json alone, against the library's, which were made from a table of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from registry.formats.hf_dimensions import facts_from_config

LIBRARY = Path(__file__).parents[3] / "modelfiles" / "library"


def _llama(
    hidden: int, layers: int, heads: tuple[int, int], feed_forward: int, **more: object
) -> dict[str, object]:
    return {
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "intermediate_size": feed_forward,
        "vocab_size": 128256, "max_position_embeddings": 131072, **more,
    }  # fmt: skip


def _qwen3(hidden: int, layers: int, heads: int, feed_forward: int, *, tied: bool) -> dict[str, object]:
    return {
        "model_type": "qwen3", "hidden_size": hidden, "num_hidden_layers": layers, "head_dim": 128,
        "num_attention_heads": heads, "num_key_value_heads": 8, "intermediate_size": feed_forward,
        "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": tied,
        "sliding_window": None, "use_sliding_window": False, "attention_bias": False,
    }  # fmt: skip


SCALED = {"rope_type": "llama3", "factor": 32.0}
CONFIGS: dict[str, dict[str, object]] = {
    "qwen3/0.6b": _qwen3(1024, 28, 16, 3072, tied=True),
    "qwen3/8b": _qwen3(4096, 36, 32, 12288, tied=False),
    "llama3.1/8b": _llama(4096, 32, (32, 8), 14336, rope_scaling=SCALED),
    "llama3.2/3b": _llama(
        3072, 28, (24, 8), 8192, rope_scaling=SCALED, head_dim=128, tie_word_embeddings=True
    ),
    "smollm2/360m": _llama(
        960, 32, (15, 5), 2560, vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True
    ),
    "phi4-mini/3.8b": {
        "model_type": "phi3", "hidden_size": 3072, "num_hidden_layers": 32, "num_attention_heads": 24,
        "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 200064,
        "max_position_embeddings": 131072, "sliding_window": 262144, "tie_word_embeddings": True,
        "partial_rotary_factor": 0.75, "rope_scaling": {"type": "longrope", "long_factor": [1.0]},
    },
    "gemma3/1b": {
        "model_type": "gemma3_text", "hidden_size": 1152, "num_hidden_layers": 26, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 256, "intermediate_size": 6912, "vocab_size": 262144,
        "max_position_embeddings": 32768, "sliding_window": 512, "sliding_window_pattern": 6,
    },
    "gemma3/4b": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34,
            "intermediate_size": 10240, "sliding_window": 1024,
        },
    },
    "bitnet/b1.58-2b-4t": {
        "model_type": "bitnet", "hidden_size": 2560, "num_hidden_layers": 30, "num_attention_heads": 20,
        "num_key_value_heads": 5, "intermediate_size": 6912, "vocab_size": 128256,
        "max_position_embeddings": 4096, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""The fields that count, as the models' config.json have them."""


@pytest.mark.parametrize("name", CONFIGS)
def test_the_facts_are_those_of_the_file_that_the_converter_would_write(name: str) -> None:
    expected = ModelFacts.from_json(json.loads((LIBRARY / name / "facts.json").read_text()))
    assert facts_from_config(CONFIGS[name]) == (expected, True)


def test_windows_may_be_listed_layer_by_layer() -> None:
    config = CONFIGS["gemma3/1b"] | {"layer_types": ([*["sliding_attention"] * 5, "full_attention"] * 5)[:26]}
    facts, _ = facts_from_config(config)
    assert facts.window is not None
    assert facts.window.layers == (True,) * 5 + (False,)


def test_qwen2_has_biases_on_its_queries_keys_and_values() -> None:
    # Qwen2.5-0.5B: 494,032,768 parameters by the model's card
    config: dict[str, object] = {
        "model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151936,
        "max_position_embeddings": 32768, "tie_word_embeddings": True, "sliding_window": 32768,
    }  # fmt: skip
    facts, exact = facts_from_config(config)
    assert (facts.parameters, exact, facts.window) == (494_032_768, True, None)


def test_an_unknown_architecture_is_taken_for_a_llama_of_its_size_and_that_is_said() -> None:
    facts, exact = facts_from_config(CONFIGS["llama3.2/3b"] | {"model_type": "newest"})
    assert not exact
    assert (facts.architecture, facts.layers, facts.hidden) == ("newest", 28, 3072)
    assert facts.parameters == 3_212_749_888


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size"])
def test_a_config_without_a_dimension_is_refused_and_the_dimension_named(field: str) -> None:
    config = {name: value for name, value in CONFIGS["qwen3/0.6b"].items() if name != field}
    with pytest.raises(MalformedFile, match=field):
        facts_from_config(config)


_QWEN3_MOE: dict[str, object] = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "vocab_size": 151936,
    "max_position_embeddings": 40960, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
}  # fmt: skip
_MIXTRAL = _llama(4096, 32, (32, 8), 14336, vocab_size=32000, num_local_experts=8, num_experts_per_tok=2)
_DEEPSEEK: dict[str, object] = {
    "model_type": "newest_moe", "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16,
    "intermediate_size": 10944, "vocab_size": 102400, "max_position_embeddings": 4096, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "first_k_dense_replace": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "billions"),
    # by the models' cards: Qwen3-30B-A3B 30.5, Mixtral-8x7B 46.7, DeepSeek-MoE-16B 16.4
    [(_QWEN3_MOE, 30.5), (_MIXTRAL | {"model_type": "mixtral"}, 46.7), (_DEEPSEEK, 16.4)],
)
def test_experts_count_all_of_them(config: dict[str, object], billions: float) -> None:
    facts, exact = facts_from_config(config)
    assert not exact
    assert facts.parameters is not None
    assert facts.parameters / 1e9 == pytest.approx(billions, abs=0.06)
    assert facts.tensor_bytes == pytest.approx(2 * facts.parameters, rel=0.01)


def test_layers_are_not_counted_one_by_one_where_there_are_more_than_any_model_has() -> None:
    with pytest.raises(MalformedFile, match="num_hidden_layers"):
        facts_from_config(CONFIGS["qwen3/0.6b"] | {"num_hidden_layers": 10**9})
