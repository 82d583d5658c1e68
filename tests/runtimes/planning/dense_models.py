"""Dense models as headers: the sizes are those of published models, with fewer layers.

Which tensors and keys an architecture has: llama.cpp's src/models/*.cpp (`load_arch_tensors`) and gguf-py's
constants.
"""

from __future__ import annotations

from tests.runtimes.planning.blocks import (
    Block,
    attention_of,
    biased,
    dense,
    keys_of,
    post_norms,
    qk_norms,
    query_biases,
    whole,
)
from tests.runtimes.planning.headers import VOCABULARY, Header, Value

_MIDDLE = (4, 2048, 16, 8, 128, 8192)


def _phi3() -> Header:
    layers, hidden, heads, kv_heads, head, wide = 4, 3072, 24, 8, 128, 8192
    block = {
        "attn_norm.weight": (hidden,),
        "attn_qkv.weight": (hidden, (heads + 2 * kv_heads) * head),
        "attn_output.weight": (heads * head, hidden),
        "ffn_norm.weight": (hidden,),
        "ffn_up.weight": (hidden, 2 * wide),
        "ffn_down.weight": (wide, hidden),
    }
    more: Block = {"rope_factors_long.weight": (48,), "rope_factors_short.weight": (48,)}
    keys = keys_of(layers, hidden, heads, kv_heads, head, wide) | {
        "rope.dimension_count": 96, "attention.sliding_window": 262144, "rope.scaling.original_context_length": 4096,
    }  # fmt: skip
    return Header(architecture="phi3", keys=keys, tensors=whole(hidden, [block] * layers, more=more))


def _starcoder2() -> Header:
    layers, hidden, heads, kv_heads, head, wide = 4, 3072, 24, 2, 128, 12288
    block = attention_of(hidden, heads, kv_heads, head) | {
        "ffn_norm.weight": (hidden,), "ffn_up.weight": (hidden, wide), "ffn_down.weight": (wide, hidden),
    }  # fmt: skip
    names = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_up", "ffn_down")
    keys = keys_of(layers, hidden, heads, kv_heads, head, wide) | {"attention.layer_norm_epsilon": 1e-5}
    more: Block = {"output_norm.bias": (hidden,)}
    return Header(
        architecture="starcoder2",
        keys=keys,
        tensors=whole(hidden, [biased(block, names)] * layers, more=more),
    )


def _gptneox() -> Header:
    """Pythia 1B's sizes: attention and feed-forward beside each other, everything biased, no grouped
    heads.
    """
    layers, hidden, heads, head, wide = 4, 2048, 8, 256, 8192
    block = {
        "attn_norm.weight": (hidden,), "attn_qkv.weight": (hidden, 3 * hidden), "attn_output.weight": (hidden, hidden),
        "ffn_norm.weight": (hidden,), "ffn_up.weight": (hidden, wide), "ffn_down.weight": (wide, hidden),
    }  # fmt: skip
    names = ("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down")
    keys = keys_of(layers, hidden, heads, heads, head, wide) | {
        "attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 64, "use_parallel_residual": True,
    }  # fmt: skip
    more: Block = {"output_norm.bias": (hidden,)}
    tensors = whole(hidden, [biased(block, names)] * layers, tied=False, more=more)
    return Header(architecture="gptneox", keys=keys, tensors=tensors)


def _bert() -> Header:
    layers, hidden, heads, wide, context = 6, 384, 12, 1536, 512
    block = {
        **{f"attn_{name}.weight": (hidden, hidden) for name in ("q", "k", "v", "output")},
        "ffn_up.weight": (hidden, wide), "ffn_down.weight": (wide, hidden),
        "attn_output_norm.weight": (hidden,), "layer_output_norm.weight": (hidden,),
    }  # fmt: skip
    names = (
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_up",
        "ffn_down",
        "attn_output_norm",
        "layer_output_norm",
    )
    tensors = {
        "token_embd.weight": (hidden, VOCABULARY), "position_embd.weight": (hidden, context),
        "token_types.weight": (hidden, 2), "token_embd_norm.weight": (hidden,), "token_embd_norm.bias": (hidden,),
    }  # fmt: skip
    for layer in range(layers):
        tensors |= {f"blk.{layer}.{name}": dims for name, dims in biased(block, names).items()}
    keys: dict[str, Value] = {
        "block_count": layers, "context_length": context, "embedding_length": hidden, "feed_forward_length": wide,
        "attention.head_count": heads, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False,
        "pooling_type": 1, "vocab_size": VOCABULARY,
    }  # fmt: skip
    return Header(architecture="bert", keys=keys, tensors=tensors, matrices="F16", tokenizer="bert")


DENSE: dict[str, Header] = {
    "llama, grouped heads": dense("llama", (4, 2048, 32, 8, 64, 8192)),
    "llama, a cache for each head": dense("llama", (4, 2048, 32, 32, 64, 8192)),
    "llama, untied, Q4_K": dense("llama", (4, 4096, 32, 8, 128, 14336), tied=False, matrices="Q4_K"),
    "llama, narrow (SmolLM2)": dense("llama", (6, 576, 9, 3, 64, 1536), matrices="Q4_0"),
    "qwen2": dense(
        "qwen2", (4, 896, 14, 2, 64, 4864),
        more={"attn_q.bias": (896,), "attn_k.bias": (128,), "attn_v.bias": (128,)},
    ),
    "qwen3": dense("qwen3", (4, 1024, 16, 8, 128, 3072), more=qk_norms(128)),
    "phi3": _phi3(),
    "gemma2": dense(
        "gemma2", (4, 2304, 8, 4, 256, 9216), more=post_norms(2304),
        keys={"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": dense(
        "gemma3", (7, 1152, 4, 1, 256, 6912), more=qk_norms(256) | post_norms(1152),
        keys={"attention.sliding_window": 512, "rope.freq_base": 1000000.0},
    ),
    "bitnet": dense(
        "bitnet", (4, 2560, 20, 5, 128, 6912), matrices="TQ2_0",
        more={"attn_sub_norm.weight": (2560,), "ffn_sub_norm.weight": (6912,)},
    ),
    "starcoder2": _starcoder2(),
    "gptneox": _gptneox(),
    "bert": _bert(),
    "granite": dense(
        "granite", (4, 2048, 32, 8, 64, 8192),
        keys={"embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.015, "logit_scale": 8.0},
    ),
    "olmo2": dense(
        "olmo2", (4, 2048, 16, 16, 128, 8192),
        more={"attn_q_norm.weight": (2048,), "attn_k_norm.weight": (2048,)} | post_norms(2048), tied=False,
        without=("attn_norm.weight", "ffn_norm.weight"),
    ),
    "smollm3": dense("smollm3", (4, 2048, 16, 4, 128, 11008)),
    "exaone4": dense(
        "exaone4", (8, 2048, 32, 8, 64, 8192), more=qk_norms(64) | post_norms(2048),
        keys={}, without=("attn_norm.weight", "ffn_norm.weight"),
    ),
    "gemma": dense("gemma", (4, 2048, 8, 1, 256, 16384)),
    "minicpm": dense(
        "minicpm", (4, 2304, 36, 36, 64, 5760),
        keys={"embedding_scale": 12.0, "residual_scale": 0.2, "logit_scale": 9.0},
    ),
    "mistral3": dense("mistral3", (4, 3072, 32, 8, 128, 9216)),
    "qwen2vl": dense(
        "qwen2vl", _MIDDLE, tied=False, more=query_biases(_MIDDLE), keys={"rope.dimension_sections": [16, 24, 24, 0]}
    ),
    "seed_oss": dense(
        "seed_oss", _MIDDLE, tied=False, more=query_biases(_MIDDLE) | {"post_attention_norm.weight": (2048,)},
        without=("ffn_norm.weight",),
    ),
    "hunyuan-dense": dense("hunyuan-dense", _MIDDLE, more=qk_norms(128)),
    "maincoder": dense("maincoder", _MIDDLE, more=qk_norms(128)),
    "internlm2": dense("internlm2", _MIDDLE, tied=False),
    "ernie4_5": dense("ernie4_5", _MIDDLE),
    "exaone": dense("exaone", _MIDDLE),
    "xverse": dense("xverse", (4, 4096, 32, 32, 128, 11008), tied=False, matrices="Q4_K"),
}  # fmt: skip
