"""Models of recurrent layers, alone and between attention, as headers.

Which tensors and keys an architecture has: llama.cpp's src/models/*.cpp (`load_arch_tensors`) and gguf-py's
constants.
"""

from __future__ import annotations

from tests.runtimes.planning.blocks import (
    Block,
    attention_of,
    gated,
    keys_of,
    qk_norms,
    whole,
)
from tests.runtimes.planning.headers import VOCABULARY, Header, Value


def _mamba() -> Header:
    layers, hidden, inner, state, rank, kernel = 4, 1536, 3072, 16, 96, 4
    block = {
        "attn_norm.weight": (hidden,),
        "ssm_in.weight": (hidden, 2 * inner),
        "ssm_conv1d.weight": (kernel, inner),
        "ssm_conv1d.bias": (inner,),
        "ssm_x.weight": (inner, rank + 2 * state),
        "ssm_dt.weight": (rank, inner),
        "ssm_dt.bias": (inner,),
        "ssm_a": (state, inner),
        "ssm_d": (inner,),
        "ssm_out.weight": (inner, hidden),
    }
    keys: dict[str, Value] = {
        "block_count": layers, "context_length": 1048576, "embedding_length": hidden, "feed_forward_length": 0,
        "attention.head_count": 0, "attention.layer_norm_rms_epsilon": 1e-5, "vocab_size": VOCABULARY,
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank,
    }  # fmt: skip
    return Header(architecture="mamba", keys=keys, tensors=whole(hidden, [block] * layers))


def _mamba2_block(hidden: int, inner: int, state: int, heads: int, groups: int, kernel: int) -> Block:
    mixed = inner + 2 * groups * state
    return {
        "attn_norm.weight": (hidden,),
        "ssm_in.weight": (hidden, inner + mixed + heads),
        "ssm_conv1d.weight": (kernel, mixed),
        "ssm_conv1d.bias": (mixed,),
        "ssm_dt.bias": (heads,),
        "ssm_a": (1, heads),
        "ssm_d": (1, heads),
        "ssm_norm.weight": (inner // groups, groups),
        "ssm_out.weight": (inner, hidden),
    }


def _mamba2() -> Header:
    layers, hidden, inner, state, heads, groups, kernel = 4, 1536, 3072, 128, 48, 1, 4
    keys: dict[str, Value] = {
        "block_count": layers, "context_length": 1048576, "embedding_length": hidden, "feed_forward_length": 0,
        "attention.head_count": 0, "attention.layer_norm_rms_epsilon": 1e-5, "vocab_size": VOCABULARY,
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": heads,
        "ssm.group_count": groups,
    }  # fmt: skip
    block = _mamba2_block(hidden, inner, state, heads, groups, kernel)
    return Header(architecture="mamba2", keys=keys, tensors=whole(hidden, [block] * layers))


def _granite_hybrid() -> Header:
    """Four layers of Mamba 2, then one of attention, twice; Granite 4.0 H 1B's sizes."""
    hidden, heads, kv_heads, head, wide = 1536, 12, 4, 128, 4096
    inner, state, mamba_heads, groups, kernel = 3072, 128, 48, 1, 4
    recurrent = _mamba2_block(hidden, inner, state, mamba_heads, groups, kernel) | gated(hidden, wide)
    attention = attention_of(hidden, heads, kv_heads, head) | gated(hidden, wide)
    keys = keys_of(10, hidden, heads, ([0] * 4 + [kv_heads]) * 2, head, wide) | {
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state,
        "ssm.time_step_rank": mamba_heads, "ssm.group_count": groups,
        "embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.0078125, "logit_scale": 6.0,
    }  # fmt: skip
    return Header(
        architecture="granitehybrid", keys=keys, tensors=whole(hidden, ([recurrent] * 4 + [attention]) * 2)
    )


def _jamba() -> Header:
    """Mamba beside attention, two layers of three each, and experts in every second."""
    hidden, heads, kv_heads, head, wide, count, used = 1024, 16, 4, 64, 4096, 4, 2
    inner, state, rank, kernel = 2048, 16, 64, 4
    recurrent = {
        "attn_norm.weight": (hidden,), "ssm_in.weight": (hidden, 2 * inner), "ssm_conv1d.weight": (kernel, inner),
        "ssm_conv1d.bias": (inner,), "ssm_x.weight": (inner, rank + 2 * state), "ssm_dt.weight": (rank, inner),
        "ssm_dt.bias": (inner,), "ssm_dt_norm.weight": (rank,), "ssm_b_norm.weight": (state,),
        "ssm_c_norm.weight": (state,), "ssm_a": (state, inner), "ssm_d": (inner,), "ssm_out.weight": (inner, hidden),
    }  # fmt: skip
    attention = attention_of(hidden, heads, kv_heads, head)
    mixture = {
        "ffn_norm.weight": (hidden,), "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, wide, count), "ffn_up_exps.weight": (hidden, wide, count),
        "ffn_down_exps.weight": (wide, hidden, count),
    }  # fmt: skip
    keys = keys_of(4, hidden, heads, [0, kv_heads, 0, 0], head, wide) | {
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank,
        "expert_count": count, "expert_used_count": used,
    }  # fmt: skip
    blocks = [
        recurrent | gated(hidden, wide),
        attention | mixture,
        recurrent | gated(hidden, wide),
        recurrent | mixture,
    ]
    return Header(architecture="jamba", keys=keys, tensors=whole(hidden, blocks, tied=False))


def _lfm2() -> Header:
    """LFM2 350M's sizes: two layers of short convolution, then one of attention."""
    hidden, heads, kv_heads, head, wide, cache = 1024, 16, 8, 64, 4608, 3
    convolution = {
        "attn_norm.weight": (hidden,),
        "shortconv.conv.weight": (cache, hidden),
        "shortconv.in_proj.weight": (hidden, 3 * hidden),
        "shortconv.out_proj.weight": (hidden, hidden),
    } | gated(hidden, wide)
    attention = attention_of(hidden, heads, kv_heads, head) | qk_norms(head) | gated(hidden, wide)
    keys = keys_of(6, hidden, heads, [0, 0, kv_heads] * 2, head, wide) | {"shortconv.l_cache": cache}
    tensors = whole(hidden, [convolution, convolution, attention] * 2)
    tensors["token_embd_norm.weight"] = (hidden,)
    del tensors["output_norm.weight"]
    return Header(architecture="lfm2", keys=keys, tensors=tensors)


def _qwen35() -> Header:
    """Qwen3.5 0.8B's sizes: three layers of gated delta rule, then one of gated attention."""
    hidden, heads, kv_heads, head, wide = 1024, 8, 2, 256, 3584
    state_heads, state, kernel = 16, 128, 4
    inner = state_heads * state
    feed_forward = gated(hidden, wide)
    feed_forward["post_attention_norm.weight"] = feed_forward.pop("ffn_norm.weight")
    recurrent = {
        "attn_norm.weight": (hidden,), "attn_qkv.weight": (hidden, 3 * inner), "attn_gate.weight": (hidden, inner),
        "ssm_conv1d.weight": (kernel, 3 * inner), "ssm_dt.bias": (state_heads,), "ssm_a": (state_heads,),
        "ssm_beta.weight": (hidden, state_heads), "ssm_alpha.weight": (hidden, state_heads),
        "ssm_norm.weight": (state,), "ssm_out.weight": (inner, hidden),
    }  # fmt: skip
    full = attention_of(hidden, heads, kv_heads, head) | qk_norms(head)
    full["attn_q.weight"] = (hidden, 2 * heads * head)  # queries and their gates
    keys = keys_of(8, hidden, heads, kv_heads, head, wide) | {
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state,
        "ssm.time_step_rank": state_heads, "ssm.group_count": state_heads, "full_attention_interval": 4,
        "rope.dimension_sections": [11, 11, 10, 0], "rope.dimension_count": 64,
    }  # fmt: skip
    blocks = ([recurrent | feed_forward] * 3 + [full | feed_forward]) * 2
    return Header(architecture="qwen35", keys=keys, tensors=whole(hidden, blocks))


def _falcon_h1() -> Header:
    """Falcon H1 0.5B's sizes: each layer has attention and Mamba 2 beside each other."""
    hidden, heads, kv_heads, head, wide = 1024, 8, 2, 64, 2048
    inner, state, mamba_heads, groups, kernel = 1536, 128, 24, 1, 4
    recurrent = _mamba2_block(hidden, inner, state, mamba_heads, groups, kernel)
    del recurrent["ssm_norm.weight"]
    block = attention_of(hidden, heads, kv_heads, head) | gated(hidden, wide) | recurrent
    block["ffn_norm"] = block.pop("ffn_norm.weight")  # so it is called
    keys = keys_of(4, hidden, heads, kv_heads, head, wide) | {
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state,
        "ssm.time_step_rank": mamba_heads, "ssm.group_count": groups,
    }  # fmt: skip
    return Header(architecture="falcon-h1", keys=keys, tensors=whole(hidden, [block] * 4))


RECURRENT: dict[str, Header] = {
    "mamba": _mamba(),
    "mamba2": _mamba2(),
    "granitehybrid": _granite_hybrid(),
    "jamba": _jamba(),
    "lfm2": _lfm2(),
    "qwen35": _qwen35(),
    "falcon-h1": _falcon_h1(),
}
