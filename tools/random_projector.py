"""Write a random projector ("mmproj"): what turns a picture into as many tokens as a model takes for it.

    python -m tools.random_projector OUT.gguf [--width N] [--seed N]

A CLIP of one layer and LLaVA's two-layer projection, with random weights: what a model makes of a picture
means nothing, but it is the same every time, and another picture gives something else. `width` is the hidden
size of the model that it stands beside (tools.random_model's TINY has 64).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

IMAGE = 28
"""Pixels of each side that a picture is brought to."""
PATCH = 14
HIDDEN = 32
FEED_FORWARD = 64
HEADS = 2
TOKENS = (IMAGE // PATCH) ** 2
"""Tokens that a picture takes in a prompt."""


def write_random_projector(path: Path, *, width: int = 64, seed: int = 0) -> None:
    """Write the projector, of about 0.1 MB, to `path`."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_string("general.type", "mmproj")
    writer.add_name("random projector")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    for name, size in (
        ("image_size", IMAGE),
        ("patch_size", PATCH),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", FEED_FORWARD),
        ("projection_dim", width),
        ("block_count", 1),
        ("attention.head_count", HEADS),
    ):
        writer.add_uint32(f"clip.vision.{name}", size)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    for name, value in (("image_mean", 0.5), ("image_std", 0.5)):
        writer.add_array(f"clip.vision.{name}", [value] * 3)
    for name, dimensions in _tensors(width).items():
        writer.add_tensor(name, _values(name, dimensions, seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(width: int) -> dict[str, tuple[int, ...]]:
    """Names and dimensions, rows first."""
    found: dict[str, tuple[int, ...]] = {
        "v.class_embd": (HIDDEN,),
        "v.patch_embd.weight": (HIDDEN, 3, PATCH, PATCH),
        "v.position_embd.weight": (TOKENS + 1, HIDDEN),
    }
    linear = {
        "v.blk.0.attn_q": (HIDDEN, HIDDEN),
        "v.blk.0.attn_k": (HIDDEN, HIDDEN),
        "v.blk.0.attn_v": (HIDDEN, HIDDEN),
        "v.blk.0.attn_out": (HIDDEN, HIDDEN),
        "v.blk.0.ffn_up": (FEED_FORWARD, HIDDEN),
        "v.blk.0.ffn_down": (HIDDEN, FEED_FORWARD),
        "mm.0": (width, HIDDEN),
        "mm.2": (width, width),
    }
    for name, (rows, columns) in linear.items():
        found |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    for name in ("v.pre_ln", "v.blk.0.ln1", "v.blk.0.ln2", "v.post_ln"):
        found |= {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}
    return found


def _values(name: str, dimensions: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    if "ln" in name:
        return np.full(dimensions, 1.0 if name.endswith("weight") else 0.0, np.float32)
    generator = np.random.default_rng([seed, *name.encode()])
    return generator.normal(0.0, 0.3, dimensions).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_random_projector(options.out, width=options.width, seed=options.seed)


if __name__ == "__main__":
    main()
