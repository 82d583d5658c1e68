"""Models of experts, latent attention and shared caches, as headers.

Which tensors and keys an architecture has: llama.cpp's src/models/*.cpp (`load_arch_tensors`) and gguf-py's
constants.
"""

from __future__ import annotations

from tests.runtimes.planning.blocks import (
    Block,
    attention_of,
    gated,
    keys_of,
    post_norms,
    qk_norms,
    whole,
)
from tests.runtimes.planning.headers import VOCABULARY, Header


def _experts(
    architecture: str, *, norms: int, count: int, used: int, wide: int, sizes: tuple[int, int, int, int, int]
) -> Header:
    layers, hidden, heads, kv_heads, head = sizes
    block = attention_of(hidden, heads, kv_heads, head) | {
        "attn_q_norm.weight": (norms or heads * head,),
        "attn_k_norm.weight": (norms or kv_heads * head,),
        "ffn_norm.weight": (hidden,),
        "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, wide, count),
        "ffn_up_exps.weight": (hidden, wide, count),
        "ffn_down_exps.weight": (wide, hidden, count),
    }
    keys = keys_of(layers, hidden, heads, kv_heads, head, wide) | {
        "expert_count": count, "expert_used_count": used, "expert_feed_forward_length": wide,
    }  # fmt: skip
    tensors = whole(hidden, [block] * layers, tied=False)
    return Header(architecture=architecture, keys=keys, tensors=tensors, matrices="TQ1_0")


def _deepseek2() -> Header:
    """Nearly DeepSeek V2 Lite, latent attention as converted since 2025, one dense layer, three of
    experts.
    """
    hidden, heads, query_rank, rank, nope, rope, value, wide = 2048, 16, 768, 512, 128, 64, 128, 10944
    count, used, expert, shared = 64, 6, 1408, 2
    attention = {
        "attn_norm.weight": (hidden,),
        "attn_q_a.weight": (hidden, query_rank),
        "attn_q_a_norm.weight": (query_rank,),
        "attn_q_b.weight": (query_rank, heads * (nope + rope)),
        "attn_kv_a_mqa.weight": (hidden, rank + rope),
        "attn_kv_a_norm.weight": (rank,),
        "attn_k_b.weight": (nope, rank, heads),
        "attn_v_b.weight": (rank, value, heads),
        "attn_output.weight": (heads * value, hidden),
    }
    mixture = {
        "ffn_norm.weight": (hidden,),
        "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, expert, count),
        "ffn_up_exps.weight": (hidden, expert, count),
        "ffn_down_exps.weight": (expert, hidden, count),
        "ffn_gate_shexp.weight": (hidden, shared * expert),
        "ffn_up_shexp.weight": (hidden, shared * expert),
        "ffn_down_shexp.weight": (shared * expert, hidden),
    }
    keys = keys_of(4, hidden, heads, 1, rank + rope, wide) | {
        "attention.value_length": rank, "attention.key_length_mla": nope + rope, "attention.value_length_mla": value,
        "attention.kv_lora_rank": rank, "attention.q_lora_rank": query_rank, "rope.dimension_count": rope, "leading_dense_block_count": 1,
        "expert_count": count, "expert_used_count": used, "expert_shared_count": shared,
        "expert_feed_forward_length": expert, "expert_weights_scale": 1.0,
    }  # fmt: skip
    blocks = [attention | gated(hidden, wide), *[attention | mixture] * 3]
    return Header(
        architecture="deepseek2", keys=keys, tensors=whole(hidden, blocks, tied=False), matrices="Q3_K"
    )


def _gemma3n() -> Header:
    """Gemma 3n E2B: a cache in the first 20 of 30 layers, whose last four of five see a window only."""
    layers, hidden, heads, kv_heads, head, wide, small, rank, streams = 30, 2048, 8, 2, 256, 8192, 256, 64, 4
    block = attention_of(hidden, heads, kv_heads, head) | gated(hidden, wide) | qk_norms(head) | post_norms(hidden) | {
        "inp_gate.weight": (hidden, small), "proj.weight": (small, hidden), "post_norm.weight": (hidden,),
        "altup_correct_coef.weight": (streams, streams), "altup_correct_scale.weight": (hidden,),
        "altup_predict_coef.weight": (streams, streams * streams), "altup_router.weight": (hidden, streams),
        "altup_router_norm.weight": (hidden,), "laurel_l.weight": (hidden, rank), "laurel_r.weight": (rank, hidden),
        "laurel_post_norm.weight": (hidden,),
    }  # fmt: skip
    more: Block = {
        "per_layer_token_embd.weight": (small * layers, VOCABULARY),
        "per_layer_model_proj.weight": (hidden, small * layers),
        "per_layer_proj_norm.weight": (small,),
        "altup_proj.weight": (hidden, hidden, streams - 1),
        "altup_unembd_proj.weight": (hidden, hidden, streams - 1),
    }
    keys = keys_of(layers, hidden, heads, kv_heads, head, wide) | {
        "attention.sliding_window": 512, "attention.shared_kv_layers": 10,
        "attention.sliding_window_pattern": [True, True, True, True, False] * 6,
        "embedding_length_per_layer_input": small,
    }  # fmt: skip
    return Header(
        architecture="gemma3n",
        keys=keys,
        tensors=whole(hidden, [block] * layers, more=more),
        matrices="Q3_K",
    )


def _gpt_oss() -> Header:
    """gpt-oss 20B's sizes: every other layer sees a window of 128, and all have 32 experts in MXFP4."""
    hidden, heads, kv_heads, head, wide, count, used = 2880, 64, 8, 64, 2880, 32, 4
    block = attention_of(hidden, heads, kv_heads, head) | {
        "attn_q.bias": (heads * head,), "attn_k.bias": (kv_heads * head,), "attn_v.bias": (kv_heads * head,),
        "attn_output.bias": (hidden,), "attn_sinks.weight": (heads,), "post_attention_norm.weight": (hidden,),
        "ffn_gate_inp.weight": (hidden, count), "ffn_gate_inp.bias": (count,),
        "ffn_gate_exps.weight": (hidden, wide, count), "ffn_gate_exps.bias": (wide, count),
        "ffn_up_exps.weight": (hidden, wide, count), "ffn_up_exps.bias": (wide, count),
        "ffn_down_exps.weight": (wide, hidden, count), "ffn_down_exps.bias": (hidden, count),
    }  # fmt: skip
    keys = keys_of(2, hidden, heads, kv_heads, head, wide) | {
        "attention.sliding_window": 128, "expert_count": count, "expert_used_count": used,
        "expert_feed_forward_length": wide,
    }  # fmt: skip
    tensors = whole(hidden, [block] * 2, tied=False)
    return Header(architecture="gpt-oss", keys=keys, tensors=tensors, matrices="MXFP4")


def _lfm2moe() -> Header:
    """LFM2 8B A1B's sizes: short convolutions, then attention, two dense layers, then experts."""
    hidden, heads, kv_heads, head, wide, cache = 2048, 32, 8, 64, 7168, 3
    count, used, expert = 32, 4, 1792
    convolution = {
        "attn_norm.weight": (hidden,), "shortconv.conv.weight": (cache, hidden),
        "shortconv.in_proj.weight": (hidden, 3 * hidden), "shortconv.out_proj.weight": (hidden, hidden),
    }  # fmt: skip
    full = attention_of(hidden, heads, kv_heads, head) | qk_norms(head)
    mixture = {
        "ffn_norm.weight": (hidden,), "ffn_gate_inp.weight": (hidden, count), "exp_probs_b.bias": (count,),
        "ffn_gate_exps.weight": (hidden, expert, count), "ffn_up_exps.weight": (hidden, expert, count),
        "ffn_down_exps.weight": (expert, hidden, count),
    }  # fmt: skip
    keys = keys_of(4, hidden, heads, [0, 0, kv_heads, 0], head, wide) | {
        "shortconv.l_cache": cache, "leading_dense_block_count": 2, "expert_count": count,
        "expert_used_count": used, "expert_feed_forward_length": expert, "expert_gating_func": 2,
    }  # fmt: skip
    dense = convolution | gated(hidden, wide)
    tensors = whole(hidden, [dense, dense, full | mixture, convolution | mixture])
    tensors["token_embd_norm.weight"] = tensors.pop("output_norm.weight")
    return Header(architecture="lfm2moe", keys=keys, tensors=tensors, matrices="Q3_K")


MIXED: dict[str, Header] = {
    "qwen3moe": _experts("qwen3moe", norms=128, count=128, used=8, wide=768, sizes=(4, 2048, 32, 4, 128)),
    "olmoe": _experts("olmoe", norms=0, count=64, used=8, wide=1024, sizes=(4, 2048, 16, 16, 128)),
    "gemma3n": _gemma3n(),
    "deepseek2": _deepseek2(),
    "gpt-oss": _gpt_oss(),
    "lfm2moe": _lfm2moe(),
}
