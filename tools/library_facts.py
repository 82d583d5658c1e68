"""Write the facts.json of the library's entries, from a table of the models' dimensions.

    python -m tools.library_facts [--check]

The facts are those of a GGUF that llama.cpp's convert_hf_to_gguf.py makes of the published weights: which
tensors an architecture has, which of them stay F32 (all with one dimension, and BERT's positions and token
types), and which keys the header gets. So what a planner learns here is what the header will say when the
file is there.

Sources: the tensor names and shapes are those of llama.cpp (src/llama-arch.cpp, src/llama-model.cpp, and
constants.py of gguf-py). The dimensions are those of the models' config.json, as mlc-llm's model_preset.py,
executorch's Llama configurations, BitNet's gpu/model.py and Gemma 3's text_config quote them; those of
all-MiniLM-L6-v2 are of its own. tests/tools/test_library_facts.py holds the sums against a table made apart.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.formats.facts import ModelFacts, Pattern, Window
from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from registry.formats.gguf import TensorInfo, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.tensor_classes import tensor_rows

REPOSITORY = Path(__file__).parents[1]
LIBRARY = REPOSITORY / "modelfiles" / "library"
HELLO = REPOSITORY / "slmctl" / "shipped" / "hello" / "hello.gguf"

Shapes = dict[str, tuple[int, ...]]
"""Tensors by name, their dimensions as GGUF counts them: the row's length first."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model's dimensions. `rotary`: the factors that stretch positions for long contexts, and how many."""

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


def _qwen3(layers: int, hidden: int, heads: int, feed_forward: int, *, tied: bool = True) -> Shape:
    return Shape(
        architecture="qwen3", layers=layers, hidden=hidden, heads=heads, kv_heads=8, head_size=128,
        feed_forward=feed_forward, vocabulary=151936, context=40960, tied=tied,
    )  # fmt: skip


def _gemma3(
    layers: int, hidden: int, heads: tuple[int, int], feed_forward: int, *, context: int, window: int
) -> Shape:
    return Shape(
        architecture="gemma3", layers=layers, hidden=hidden, heads=heads[0], kv_heads=heads[1], head_size=256,
        feed_forward=feed_forward, vocabulary=262144, context=context, window=window,
        windowed_layers=(True,) * 5 + (False,),
    )  # fmt: skip


def _llama(
    layers: int,
    hidden: int,
    heads: tuple[int, int],
    feed_forward: int,
    *,
    vocabulary: int = 128256,
    context: int = 131072,
    tied: bool = True,
    scaled: bool = False,
) -> Shape:
    head_size = hidden // heads[0]
    return Shape(
        architecture="llama", layers=layers, hidden=hidden, heads=heads[0], kv_heads=heads[1],
        head_size=head_size, feed_forward=feed_forward, vocabulary=vocabulary, context=context, tied=tied,
        rotary=(("rope_freqs.weight", head_size // 2),) if scaled else (),
    )  # fmt: skip


SHAPES: dict[str, Shape] = {
    "qwen3/0.6b": _qwen3(28, 1024, 16, 3072),
    "qwen3/1.7b": _qwen3(28, 2048, 16, 6144),
    "qwen3/4b": _qwen3(36, 2560, 32, 9728),
    "qwen3/8b": _qwen3(36, 4096, 32, 12288, tied=False),
    "phi4-mini/3.8b": Shape(
        architecture="phi3", layers=32, hidden=3072, heads=24, kv_heads=8, head_size=128, feed_forward=8192,
        vocabulary=200064, context=131072, window=262144,  # longer than the context, and so without effect
        rotary=(("rope_factors_long.weight", 48), ("rope_factors_short.weight", 48)),
    ),
    "gemma3/1b": _gemma3(26, 1152, (4, 1), 6912, context=32768, window=512),
    "gemma3/4b": _gemma3(34, 2560, (8, 4), 10240, context=131072, window=1024),
    "llama3.2/1b": _llama(16, 2048, (32, 8), 8192, scaled=True),
    "llama3.2/3b": _llama(28, 3072, (24, 8), 8192, scaled=True),
    "llama3.1/8b": _llama(32, 4096, (32, 8), 14336, tied=False, scaled=True),
    "llama3/8b": _llama(32, 4096, (32, 8), 14336, tied=False, context=8192),
    "smollm2/135m": _llama(30, 576, (9, 3), 1536, vocabulary=49152, context=8192),
    "smollm2/360m": _llama(32, 960, (15, 5), 2560, vocabulary=49152, context=8192),
    "smollm2/1.7b": _llama(24, 2048, (32, 32), 8192, vocabulary=49152, context=8192),
    "bitnet/b1.58-2b-4t": Shape(
        architecture="bitnet", layers=30, hidden=2560, heads=20, kv_heads=5, head_size=128, feed_forward=6912,
        vocabulary=128256, context=4096,
    ),
    "all-minilm/22m": Shape(
        architecture="bert", layers=6, hidden=384, heads=12, kv_heads=12, head_size=32, feed_forward=1536,
        vocabulary=30522, context=512, published_as="F16",
    ),
}  # fmt: skip
"""By the folder of the entry, family and tag."""


def shapes_of(shape: Shape) -> Shapes:
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


def facts_of(shape: Shape) -> ModelFacts:
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
        trained_context=shape.context,
        tied_embeddings=shape.tied,
        causal=False if encoder else None,
        pooling=1 if encoder else None,  # the mean over all tokens
        kv_layers=(False,) if encoder else (True,),
        window=_window(shape),
        tensors=rows,
    )


def _window(shape: Shape) -> Window | None:
    if shape.window is None:
        return None
    return Window(size=shape.window, layers=shape.windowed_layers, head_size_k=None, head_size_v=None)


def _tensors(shapes: Iterable[tuple[str, tuple[int, ...]]], matrices: str) -> Iterable[TensorInfo]:
    for name, dims in shapes:
        exact = len(dims) == 1 or name in {"position_embd.weight", "token_types.weight"}
        kind = GGML_TYPES_BY_NAME["F32" if exact else matrices]
        size = math.prod(dims) // kind.block_size * kind.block_bytes
        yield TensorInfo(name=name, dims=dims, type=kind, offset=0, size_bytes=size)


def _llama_block(shape: Shape) -> Shapes:
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


def _qwen3_block(shape: Shape) -> Shapes:
    norms = dict.fromkeys(("attn_q_norm.weight", "attn_k_norm.weight"), (shape.head_size,))
    return _llama_block(shape) | norms


def _gemma3_block(shape: Shape) -> Shapes:
    norms = dict.fromkeys(("post_attention_norm.weight", "post_ffw_norm.weight"), (shape.hidden,))
    return _qwen3_block(shape) | norms


def _bitnet_block(shape: Shape) -> Shapes:
    norms = {"attn_sub_norm.weight": (shape.hidden,), "ffn_sub_norm.weight": (shape.feed_forward,)}
    return _llama_block(shape) | norms


def _phi3_block(shape: Shape) -> Shapes:
    return {
        "attn_norm.weight": (shape.hidden,),
        "attn_qkv.weight": (shape.hidden, shape.queries + 2 * shape.keys),
        "attn_output.weight": (shape.queries, shape.hidden),
        "ffn_norm.weight": (shape.hidden,),
        "ffn_up.weight": (shape.hidden, 2 * shape.feed_forward),  # gate and up in one
        "ffn_down.weight": (shape.feed_forward, shape.hidden),
    }


def _bert_block(shape: Shape) -> Shapes:
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


_BLOCKS: dict[str, Callable[[Shape], Shapes]] = {
    "bert": _bert_block,
    "bitnet": _bitnet_block,
    "gemma3": _gemma3_block,
    "llama": _llama_block,
    "phi3": _phi3_block,
    "qwen3": _qwen3_block,
}


def documents() -> dict[Path, str]:
    """The text of each facts.json; hello's is what our reader finds in the file that ships."""
    facts = {name: facts_of(shape) for name, shape in SHAPES.items()}
    with HELLO.open("rb") as stream:
        facts["hello/latest"] = facts_from_gguf([read_header(stream)])
    return {LIBRARY / name / "facts.json": _text(each) for name, each in facts.items()}


def _text(facts: ModelFacts) -> str:
    """JSON with one field, and one row of tensors, on a line."""
    fields = facts.to_json()
    rows = fields.pop("tensors")
    assert isinstance(rows, list)
    lines = [f'  "{name}": {json.dumps(value)},\n' for name, value in fields.items()]
    table = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    return "{\n" + "".join(lines) + f'  "tensors": [\n{table}\n  ]\n}}\n'


def main(arguments: list[str]) -> int:
    wanted = documents()
    if arguments == ["--check"]:
        return 0 if all(path.is_file() and path.read_text() == text for path, text in wanted.items()) else 1
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
