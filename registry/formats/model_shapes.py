"""The tensors of a GGUF file from a model's dimensions: what llama.cpp's converter writes.

Which tensors an architecture has, which of them stay F32 (all with one dimension, and BERT's positions and
token types), and which keys the header gets: so these facts are what the header will say when the file is
there.

Sources: the tensor names and shapes are those of llama.cpp (src/llama-arch.cpp, src/llama-model.cpp, and
constants.py of gguf-py), the rest is convert_hf_to_gguf.py's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry.formats.facts import ModelFacts, Pattern, Window
from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from registry.formats.gguf import TensorInfo
from registry.formats.tensor_classes import tensor_rows

Shapes = dict[str, tuple[int, ...]]
"""Tensors by name, their dimensions as GGUF counts them: the row's length first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """A model's dimensions. `rotary`: the factors that stretch positions for long contexts, and how many.

    `architecture` is GGUF's name, one of ARCHITECTURES; `context` is 0 where it is unknown.
    """

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    context: int
    tied: bool = True
    rotary: tuple[tuple[str, int], ...] = ()
    window: int | None = None
    windowed_layers: Pattern | None = None
    published_as: str = "BF16"

    @property
    def queries(self) -> int:
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_size


def shapes_of(shape: Dimensions) -> Shapes:
    """Every tensor of the file."""
    block = _BLOCKS[shape.architecture](shape)
    tensors: Shapes = {"token_embd.weight": (shape.hidden, shape.vocabulary)}
    if shape.architecture == "bert":
        tensors |= {
            "position_embd.weight": (shape.hidden, shape.context),
            "token_types.weight": (shape.hidden, 2),
            "token_embd_norm.weight": (shape.hidden,),
            "token_embd_norm.bias": (shape.hidden,),
        }
    else:
        tensors["output_norm.weight"] = (shape.hidden,)
    if not shape.tied:
        tensors["output.weight"] = (shape.hidden, shape.vocabulary)
    tensors |= {name: (length,) for name, length in shape.rotary}
    for layer in range(shape.layers):
        tensors |= {f"blk.{layer}.{name}": dims for name, dims in block.items()}
    return tensors


def facts_of(shape: Dimensions) -> ModelFacts:
    """The facts, as `registry.formats.gguf_facts` would read them from the file's header."""
    encoder = shape.architecture == "bert"
    rows = tensor_rows(_tensors(shapes_of(shape).items(), shape.published_as))
    return ModelFacts(
        format="gguf",
        architecture=shape.architecture,
        quantization=shape.published_as,
        parameters=sum(row.elements for row in rows),
        layers=shape.layers,
        hidden=shape.hidden,
        feed_forward=shape.feed_forward,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_size_k=shape.head_size,
        head_size_v=shape.head_size,
        vocabulary=shape.vocabulary,
        trained_context=shape.context or None,
        tied_embeddings=shape.tied,
        causal=False if encoder else None,
        pooling=1 if encoder else None,  # the mean over all tokens
        kv_layers=(False,) if encoder else (True,),
        window=_window(shape),
        tensors=rows,
    )


def _window(shape: Dimensions) -> Window | None:
    if shape.window is None:
        return None
    return Window(size=shape.window, layers=shape.windowed_layers, head_size_k=None, head_size_v=None)


def _tensors(shapes: Iterable[tuple[str, tuple[int, ...]]], matrices: str) -> Iterable[TensorInfo]:
    for name, dims in shapes:
        exact = len(dims) == 1 or name in {"position_embd.weight", "token_types.weight"}
        kind = GGML_TYPES_BY_NAME["F32" if exact else matrices]
        size = math.prod(dims) // kind.block_size * kind.block_bytes
        yield TensorInfo(name=name, dims=dims, type=kind, offset=0, size_bytes=size)


def _llama_block(shape: Dimensions) -> Shapes:
    return {
        "attn_norm.weight": (shape.hidden,),
        "attn_q.weight": (shape.hidden, shape.queries),
        "attn_k.weight": (shape.hidden, shape.keys),
        "attn_v.weight": (shape.hidden, shape.keys),
        "attn_output.weight": (shape.queries, shape.hidden),
        "ffn_norm.weight": (shape.hidden,),
        "ffn_gate.weight": (shape.hidden, shape.feed_forward),
        "ffn_up.weight": (shape.hidden, shape.feed_forward),
        "ffn_down.weight": (shape.feed_forward, shape.hidden),
    }


def _qwen3_block(shape: Dimensions) -> Shapes:
    norms = dict.fromkeys(("attn_q_norm.weight", "attn_k_norm.weight"), (shape.head_size,))
    return _llama_block(shape) | norms


def _gemma3_block(shape: Dimensions) -> Shapes:
    norms = dict.fromkeys(("post_attention_norm.weight", "post_ffw_norm.weight"), (shape.hidden,))
    return _qwen3_block(shape) | norms


def _bitnet_block(shape: Dimensions) -> Shapes:
    norms = {"attn_sub_norm.weight": (shape.hidden,), "ffn_sub_norm.weight": (shape.feed_forward,)}
    return _llama_block(shape) | norms


def _qwen2_block(shape: Dimensions) -> Shapes:
    biases = {"attn_q.bias": shape.queries, "attn_k.bias": shape.keys, "attn_v.bias": shape.keys}
    return _llama_block(shape) | {name: (length,) for name, length in biases.items()}


def _phi3_block(shape: Dimensions) -> Shapes:
    return {
        "attn_norm.weight": (shape.hidden,),
        "attn_qkv.weight": (shape.hidden, shape.queries + 2 * shape.keys),
        "attn_output.weight": (shape.queries, shape.hidden),
        "ffn_norm.weight": (shape.hidden,),
        "ffn_up.weight": (shape.hidden, 2 * shape.feed_forward),  # gate and up in one
        "ffn_down.weight": (shape.feed_forward, shape.hidden),
    }


def _bert_block(shape: Dimensions) -> Shapes:
    square, wide, narrow = (
        (shape.hidden,) * 2,
        (shape.hidden, shape.feed_forward),
        (shape.feed_forward, shape.hidden),
    )
    matrices = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
    matrices |= {"ffn_up": wide, "ffn_down": narrow}
    norms = ("attn_output_norm", "layer_output_norm")
    return {
        **{f"{name}.weight": dims for name, dims in matrices.items()},
        **{f"{name}.bias": dims[1:] for name, dims in matrices.items()},
        **{f"{name}.{part}": (shape.hidden,) for name in norms for part in ("weight", "bias")},
    }


_BLOCKS: dict[str, Callable[[Dimensions], Shapes]] = {
    "bert": _bert_block,
    "bitnet": _bitnet_block,
    "gemma3": _gemma3_block,
    "llama": _llama_block,
    "phi3": _phi3_block,
    "qwen2": _qwen2_block,
    "qwen3": _qwen3_block,
}

ARCHITECTURES = frozenset(_BLOCKS)
"""Those whose tensors are known here, one by one."""
