"""The parts that layers of transformers are made of, as GGUF names and sizes them."""

from __future__ import annotations

from tests.runtimes.planning.headers import VOCABULARY, Dims, Header, Value

Block = dict[str, Dims]


def keys_of(
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


def attention_of(hidden: int, heads: int, kv_heads: int, head: int) -> Block:
    return {
        "attn_norm.weight": (hidden,),
        "attn_q.weight": (hidden, heads * head),
        "attn_k.weight": (hidden, kv_heads * head),
        "attn_v.weight": (hidden, kv_heads * head),
        "attn_output.weight": (heads * head, hidden),
    }


def gated(hidden: int, wide: int) -> Block:
    return {
        "ffn_norm.weight": (hidden,),
        "ffn_gate.weight": (hidden, wide),
        "ffn_up.weight": (hidden, wide),
        "ffn_down.weight": (wide, hidden),
    }


def whole(hidden: int, blocks: list[Block], *, tied: bool = True, more: Block | None = None) -> Block:
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
    block = attention_of(hidden, heads, kv_heads, head) | gated(hidden, wide) | (more or {})
    for name in without:
        del block[name]
    return Header(
        architecture=architecture,
        keys=keys_of(*sizes) | (keys or {}),
        tensors=whole(hidden, [block] * layers, tied=tied),
        matrices=matrices,
    )


def qk_norms(head: int) -> Block:
    return {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}


def post_norms(hidden: int) -> Block:
    return {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}


def biased(block: Block, names: tuple[str, ...]) -> Block:
    return block | {f"{name}.bias": block[f"{name}.weight"][-1:] for name in names}


def query_biases(sizes: tuple[int, int, int, int, int, int]) -> Block:
    _, _, heads, kv_heads, head, _ = sizes
    return {
        "attn_q.bias": (heads * head,),
        "attn_k.bias": (kv_heads * head,),
        "attn_v.bias": (kv_heads * head,),
    }
