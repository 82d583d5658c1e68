"""Models of many architectures as headers: the sizes are those of published models, with fewer layers.

Which tensors and keys an architecture has: llama.cpp's src/models/*.cpp (`load_arch_tensors`) and gguf-py's
constants.
"""

from __future__ import annotations

from tests.runtimes.planning.headers import VOCABULARY, Dims, Header, Value

Block = dict[str, Dims]


def _keys(
    layers: int, hidden: int, heads: int, kv_heads: int | list[int], head: int, wide: int | list[int]
) -> dict[str, Value]:
    return {
        "block_count": layers,
        "context_length": 131072,
        "embedding_length": hidden,
        "feed_forward_length": wide,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": head,
        "vocab_size": VOCABULARY,
    }


def _attention(hidden: int, heads: int, kv_heads: int, head: int) -> Block:
    return {
        "attn_norm.weight": (hidden,),
        "attn_q.weight": (hidden, heads * head),
        "attn_k.weight": (hidden, kv_heads * head),
        "attn_v.weight": (hidden, kv_heads * head),
        "attn_output.weight": (heads * head, hidden),
    }


def _gated(hidden: int, wide: int) -> Block:
    return {
        "ffn_norm.weight": (hidden,),
        "ffn_gate.weight": (hidden, wide),
        "ffn_up.weight": (hidden, wide),
        "ffn_down.weight": (wide, hidden),
    }


def _whole(hidden: int, blocks: list[Block], *, tied: bool = True, more: Block | None = None) -> Block:
    tensors: Block = {"token_embd.weight": (hidden, VOCABULARY), "output_norm.weight": (hidden,)}
    if not tied:
        tensors["output.weight"] = (hidden, VOCABULARY)
    tensors |= more or {}
    for layer, block in enumerate(blocks):
        tensors |= {f"blk.{layer}.{name}": dims for name, dims in block.items()}
    return tensors


def dense(
    architecture: str,
    sizes: tuple[int, int, int, int, int, int],
    *,
    tied: bool = True,
    more: Block | None = None,
    keys: dict[str, Value] | None = None,
    matrices: str = "Q8_0",
    without: tuple[str, ...] = (),
) -> Header:
    """A transformer of gated layers; `sizes` are layers, hidden, heads, KV heads, head size, feed-forward."""
    layers, hidden, heads, kv_heads, head, wide = sizes
    block = _attention(hidden, heads, kv_heads, head) | _gated(hidden, wide) | (more or {})
    for name in without:
        del block[name]
    return Header(
        architecture=architecture,
        keys=_keys(*sizes) | (keys or {}),
        tensors=_whole(hidden, [block] * layers, tied=tied),
        matrices=matrices,
    )


def _qk_norms(head: int) -> Block:
    return {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}


def _post_norms(hidden: int) -> Block:
    return {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}


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
    keys = _keys(layers, hidden, heads, kv_heads, head, wide) | {
        "rope.dimension_count": 96, "attention.sliding_window": 262144, "rope.scaling.original_context_length": 4096,
    }  # fmt: skip
    return Header(architecture="phi3", keys=keys, tensors=_whole(hidden, [block] * layers, more=more))


def _experts(
    architecture: str, *, norms: int, count: int, used: int, wide: int, sizes: tuple[int, int, int, int, int]
) -> Header:
    layers, hidden, heads, kv_heads, head = sizes
    block = _attention(hidden, heads, kv_heads, head) | {
        "attn_q_norm.weight": (norms or heads * head,),
        "attn_k_norm.weight": (norms or kv_heads * head,),
        "ffn_norm.weight": (hidden,),
        "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, wide, count),
        "ffn_up_exps.weight": (hidden, wide, count),
        "ffn_down_exps.weight": (wide, hidden, count),
    }
    keys = _keys(layers, hidden, heads, kv_heads, head, wide) | {
        "expert_count": count, "expert_used_count": used, "expert_feed_forward_length": wide,
    }  # fmt: skip
    tensors = _whole(hidden, [block] * layers, tied=False)
    return Header(architecture=architecture, keys=keys, tensors=tensors, matrices="TQ1_0")


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
    return Header(architecture="mamba", keys=keys, tensors=_whole(hidden, [block] * layers))


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
    return Header(architecture="mamba2", keys=keys, tensors=_whole(hidden, [block] * layers))


def _granite_hybrid() -> Header:
    """Four layers of Mamba 2, then one of attention, twice; Granite 4.0 H 1B's sizes."""
    hidden, heads, kv_heads, head, wide = 1536, 12, 4, 128, 4096
    inner, state, mamba_heads, groups, kernel = 3072, 128, 48, 1, 4
    recurrent = _mamba2_block(hidden, inner, state, mamba_heads, groups, kernel) | _gated(hidden, wide)
    attention = _attention(hidden, heads, kv_heads, head) | _gated(hidden, wide)
    keys = _keys(10, hidden, heads, ([0] * 4 + [kv_heads]) * 2, head, wide) | {
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state,
        "ssm.time_step_rank": mamba_heads, "ssm.group_count": groups,
        "embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.0078125, "logit_scale": 6.0,
    }  # fmt: skip
    return Header(
        architecture="granitehybrid", keys=keys, tensors=_whole(hidden, ([recurrent] * 4 + [attention]) * 2)
    )


def _lfm2() -> Header:
    """LFM2 350M's sizes: two layers of short convolution, then one of attention."""
    hidden, heads, kv_heads, head, wide, cache = 1024, 16, 8, 64, 4608, 3
    convolution = {
        "attn_norm.weight": (hidden,),
        "shortconv.conv.weight": (cache, hidden),
        "shortconv.in_proj.weight": (hidden, 3 * hidden),
        "shortconv.out_proj.weight": (hidden, hidden),
    } | _gated(hidden, wide)
    attention = _attention(hidden, heads, kv_heads, head) | _qk_norms(head) | _gated(hidden, wide)
    keys = _keys(6, hidden, heads, [0, 0, kv_heads] * 2, head, wide) | {"shortconv.l_cache": cache}
    tensors = _whole(hidden, [convolution, convolution, attention] * 2)
    tensors["token_embd_norm.weight"] = (hidden,)
    del tensors["output_norm.weight"]
    return Header(architecture="lfm2", keys=keys, tensors=tensors)


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
    keys = _keys(4, hidden, heads, 1, rank + rope, wide) | {
        "attention.value_length": rank, "attention.key_length_mla": nope + rope, "attention.value_length_mla": value,
        "attention.kv_lora_rank": rank, "attention.q_lora_rank": query_rank, "rope.dimension_count": rope, "leading_dense_block_count": 1,
        "expert_count": count, "expert_used_count": used, "expert_shared_count": shared,
        "expert_feed_forward_length": expert, "expert_weights_scale": 1.0,
    }  # fmt: skip
    blocks = [attention | _gated(hidden, wide), *[attention | mixture] * 3]
    return Header(
        architecture="deepseek2", keys=keys, tensors=_whole(hidden, blocks, tied=False), matrices="Q3_K"
    )


def _biased(block: Block, names: tuple[str, ...]) -> Block:
    return block | {f"{name}.bias": block[f"{name}.weight"][-1:] for name in names}


def _starcoder2() -> Header:
    layers, hidden, heads, kv_heads, head, wide = 4, 3072, 24, 2, 128, 12288
    block = _attention(hidden, heads, kv_heads, head) | {
        "ffn_norm.weight": (hidden,), "ffn_up.weight": (hidden, wide), "ffn_down.weight": (wide, hidden),
    }  # fmt: skip
    names = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_up", "ffn_down")
    keys = _keys(layers, hidden, heads, kv_heads, head, wide) | {"attention.layer_norm_epsilon": 1e-5}
    more: Block = {"output_norm.bias": (hidden,)}
    return Header(
        architecture="starcoder2",
        keys=keys,
        tensors=_whole(hidden, [_biased(block, names)] * layers, more=more),
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
    keys = _keys(layers, hidden, heads, heads, head, wide) | {
        "attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 64, "use_parallel_residual": True,
    }  # fmt: skip
    more: Block = {"output_norm.bias": (hidden,)}
    tensors = _whole(hidden, [_biased(block, names)] * layers, tied=False, more=more)
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
        tensors |= {f"blk.{layer}.{name}": dims for name, dims in _biased(block, names).items()}
    keys: dict[str, Value] = {
        "block_count": layers, "context_length": context, "embedding_length": hidden, "feed_forward_length": wide,
        "attention.head_count": heads, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False,
        "pooling_type": 1, "vocab_size": VOCABULARY,
    }  # fmt: skip
    return Header(architecture="bert", keys=keys, tensors=tensors, matrices="F16", tokenizer="bert")


def _gemma3n() -> Header:
    """Gemma 3n E2B: a cache in the first 20 of 30 layers, whose last four of five see a window only."""
    layers, hidden, heads, kv_heads, head, wide, small, rank, streams = 30, 2048, 8, 2, 256, 8192, 256, 64, 4
    block = _attention(hidden, heads, kv_heads, head) | _gated(hidden, wide) | _qk_norms(head) | _post_norms(hidden) | {
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
    keys = _keys(layers, hidden, heads, kv_heads, head, wide) | {
        "attention.sliding_window": 512, "attention.shared_kv_layers": 10,
        "attention.sliding_window_pattern": [True, True, True, True, False] * 6,
        "embedding_length_per_layer_input": small,
    }  # fmt: skip
    return Header(
        architecture="gemma3n",
        keys=keys,
        tensors=_whole(hidden, [block] * layers, more=more),
        matrices="Q3_K",
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
    attention = _attention(hidden, heads, kv_heads, head)
    mixture = {
        "ffn_norm.weight": (hidden,), "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, wide, count), "ffn_up_exps.weight": (hidden, wide, count),
        "ffn_down_exps.weight": (wide, hidden, count),
    }  # fmt: skip
    keys = _keys(4, hidden, heads, [0, kv_heads, 0, 0], head, wide) | {
        "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank,
        "expert_count": count, "expert_used_count": used,
    }  # fmt: skip
    blocks = [
        recurrent | _gated(hidden, wide),
        attention | mixture,
        recurrent | _gated(hidden, wide),
        recurrent | mixture,
    ]
    return Header(architecture="jamba", keys=keys, tensors=_whole(hidden, blocks, tied=False))


MODELS: dict[str, Header] = {
    "llama, grouped heads": dense("llama", (4, 2048, 32, 8, 64, 8192)),
    "llama, a cache for each head": dense("llama", (4, 2048, 32, 32, 64, 8192)),
    "llama, untied, Q4_K": dense("llama", (4, 4096, 32, 8, 128, 14336), tied=False, matrices="Q4_K"),
    "llama, narrow (SmolLM2)": dense("llama", (6, 576, 9, 3, 64, 1536), matrices="Q4_0"),
    "qwen2": dense(
        "qwen2", (4, 896, 14, 2, 64, 4864),
        more={"attn_q.bias": (896,), "attn_k.bias": (128,), "attn_v.bias": (128,)},
    ),
    "qwen3": dense("qwen3", (4, 1024, 16, 8, 128, 3072), more=_qk_norms(128)),
    "phi3": _phi3(),
    "gemma2": dense(
        "gemma2", (4, 2304, 8, 4, 256, 9216), more=_post_norms(2304),
        keys={"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": dense(
        "gemma3", (7, 1152, 4, 1, 256, 6912), more=_qk_norms(256) | _post_norms(1152),
        keys={"attention.sliding_window": 512, "rope.freq_base": 1000000.0},
    ),
    "bitnet": dense(
        "bitnet", (4, 2560, 20, 5, 128, 6912), matrices="TQ2_0",
        more={"attn_sub_norm.weight": (2560,), "ffn_sub_norm.weight": (6912,)},
    ),
    "qwen3moe": _experts("qwen3moe", norms=128, count=128, used=8, wide=768, sizes=(4, 2048, 32, 4, 128)),
    "olmoe": _experts("olmoe", norms=0, count=64, used=8, wide=1024, sizes=(4, 2048, 16, 16, 128)),
    "mamba": _mamba(),
    "mamba2": _mamba2(),
    "granitehybrid": _granite_hybrid(),
    "jamba": _jamba(),
    "lfm2": _lfm2(),
    "gemma3n": _gemma3n(),
    "deepseek2": _deepseek2(),
    "starcoder2": _starcoder2(),
    "gptneox": _gptneox(),
    "bert": _bert(),
    "granite": dense(
        "granite", (4, 2048, 32, 8, 64, 8192),
        keys={"embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.015, "logit_scale": 8.0},
    ),
    "olmo2": dense(
        "olmo2", (4, 2048, 16, 16, 128, 8192),
        more={"attn_q_norm.weight": (2048,), "attn_k_norm.weight": (2048,)} | _post_norms(2048), tied=False,
        without=("attn_norm.weight", "ffn_norm.weight"),
    ),
    "smollm3": dense("smollm3", (4, 2048, 16, 4, 128, 11008)),
    "exaone4": dense(
        "exaone4", (8, 2048, 32, 8, 64, 8192), more=_qk_norms(64) | _post_norms(2048),
        keys={}, without=("attn_norm.weight", "ffn_norm.weight"),
    ),
}  # fmt: skip
