"""Write a random reranker: a small BERT whose header says that it ranks, as bge-reranker's does.

    python -m tools.random_reranker OUT.gguf [--seed N]

Its scores mean nothing, but they are the same every time and differ from document to document.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from tools.random_model import WORDS

HIDDEN = 64
FEED_FORWARD = 128
HEADS = 4
LAYERS = 2
CONTEXT = 256

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_random_reranker(path: Path, *, context: int = CONTEXT, seed: int = 0) -> None:
    """Write the model, of about 0.4 MB, to `path`. `context` is what it was trained for, in tokens."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    begins = [f"\u2581{text}" for text in (*WORDS, *letters, *"0123456789.,?!")]
    tokens = [*_SPECIAL, *dict.fromkeys(begins), *letters]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("random reranker")
    writer.add_block_count(LAYERS)
    writer.add_context_length(context)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(_SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(_SPECIAL))
    )
    writer.add_token_type_count(2)
    for name in ("pad", "unk", "sep", "mask"):
        getattr(writer, f"add_{name}_token_id")(_SPECIAL.index(f"[{name.upper()}]"))
    writer.add_bos_token_id(_SPECIAL.index("[CLS]"))
    writer.add_eos_token_id(_SPECIAL.index("[SEP]"))
    for name, dimensions in _tensors(len(tokens), context).items():
        writer.add_tensor(name, _values(name, dimensions, seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(vocabulary: int, context: int) -> dict[str, tuple[int, ...]]:
    """Names and dimensions, rows first."""
    square: dict[str, tuple[int, ...]] = {"weight": (HIDDEN, HIDDEN), "bias": (HIDDEN,)}
    norm: dict[str, tuple[int, ...]] = {"weight": (HIDDEN,), "bias": (HIDDEN,)}
    parts: dict[str, dict[str, tuple[int, ...]]] = {
        "token_embd": {"weight": (vocabulary, HIDDEN)},
        "token_types": {"weight": (2, HIDDEN)},
        "position_embd": {"weight": (context, HIDDEN)},
        "token_embd_norm": norm,
        "cls": square,
        "cls.output": {"weight": (1, HIDDEN), "bias": (1,)},
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            parts[f"{block}.{name}"] = square
        parts[f"{block}.attn_output_norm"] = norm
        parts[f"{block}.ffn_up"] = {"weight": (FEED_FORWARD, HIDDEN), "bias": (FEED_FORWARD,)}
        parts[f"{block}.ffn_down"] = {"weight": (HIDDEN, FEED_FORWARD), "bias": (HIDDEN,)}
        parts[f"{block}.layer_output_norm"] = norm
    return {f"{name}.{kind}": shape for name, kinds in parts.items() for kind, shape in kinds.items()}


def _values(name: str, dimensions: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    if "norm" in name:
        return np.full(dimensions, 1.0 if name.endswith("weight") else 0.0, np.float32)
    generator = np.random.default_rng([seed, *name.encode()])
    return generator.normal(0.0, 0.3, dimensions).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_random_reranker(options.out, seed=options.seed)


if __name__ == "__main__":
    main()
