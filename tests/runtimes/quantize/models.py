"""Small GGUF files with random weights, of any architecture's layout, to be quantized; and importance matrices.

The weights are PCG64's, so the same arguments give the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a model. `experts` of 0 is a dense one; `fused` has queries, keys and values in one matrix.

    Matrices have so many `rows`, whatever fits with each other: nobody runs these models, and kernels take
    rows one by one.
    """

    architecture: str = "llama"
    layers: int = 2
    hidden: int = 256
    feed_forward: int = 512
    heads: int = 4
    kv_heads: int = 4
    vocabulary: int = 48
    experts: int = 0
    tied: bool = False
    fused: bool = False
    bert: bool = False
    rows: int = 16

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and dimensions, rows' length last, in an order that is none."""
        made: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocabulary, self.hidden)}
        if not self.tied:
            made["output.weight"] = (self.vocabulary, self.hidden)
        made["output_norm.weight"] = (self.hidden,)
        if self.bert:
            made["position_embd.weight"] = (16, self.hidden)
            made["token_types.weight"] = (2, self.hidden)
        for layer in reversed(range(self.layers)):
            made |= {f"blk.{layer}.{name}": shape for name, shape in self._layer().items()}
        return made

    def _layer(self) -> dict[str, tuple[int, ...]]:
        deep = (self.experts,) if self.experts else ()
        suffix = "_exps" if self.experts else ""
        row = (self.rows, self.hidden)
        attention = {f"attn_{part}.weight": row for part in ("qkv" if self.fused else "q k v").split()}
        layer = {
            "attn_norm.weight": (self.hidden,),
            **attention,
            "attn_output.weight": row,
            "attn_output.bias": (self.hidden,),
            "ffn_norm.weight": (self.hidden,),
            f"ffn_gate{suffix}.weight": (*deep, *row),
            f"ffn_up{suffix}.weight": (*deep, *row),
            f"ffn_down{suffix}.weight": (*deep, self.rows, self.feed_forward),
        }
        if self.experts:
            layer["ffn_gate_inp.weight"] = (self.experts, self.hidden)
        return layer


def write_model(
    path: Path,
    sizes: Sizes,
    *,
    kind: str = "F32",
    seed: int = 7,
    values: Mapping[str, Values] | None = None,
) -> None:
    """Write the model; matrices are of `kind` (F32, F16 or BF16), all else is F32. `values` go over random ones."""
    writer = gguf.GGUFWriter(path, sizes.architecture)
    _add_keys(writer, sizes)
    for name, tensor in random_tensors(sizes, seed).items():
        tensor = (values or {}).get(name, tensor)
        if kind == "F32" or tensor.ndim < 2:
            writer.add_tensor(name, tensor)
        else:
            made = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(tensor, made), raw_dtype=made)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_tensors(sizes: Sizes, seed: int) -> dict[str, Values]:
    """The weights by name: of a normal distribution, some of them far outside it, as in real models."""
    generator = np.random.Generator(np.random.PCG64(seed))
    made = {}
    for name, shape in sizes.tensors().items():
        uniform = generator.random((4, *shape), np.float32)
        tensor = (uniform.sum(axis=0, dtype=np.float32) - np.float32(2)) / np.float32(8)
        tensor.reshape(-1)[::97] *= np.float32(6)
        made[name] = tensor
    return made


def _add_keys(writer: gguf.GGUFWriter, sizes: Sizes) -> None:
    writer.add_uint32("general.quantization_version", 2)  # moves to the end
    writer.add_string("general.name", "random")
    writer.add_uint32("general.file_type", 0)
    writer.add_block_count(sizes.layers)
    writer.add_context_length(64)
    writer.add_embedding_length(sizes.hidden)
    writer.add_feed_forward_length(sizes.feed_forward)
    writer.add_head_count(sizes.heads)
    if sizes.kv_heads != sizes.heads:
        writer.add_head_count_kv(sizes.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_rope_dimension_count(sizes.hidden // sizes.heads)
    if sizes.bert:
        writer.add_causal_attention(False)
    if sizes.experts:
        writer.add_expert_count(sizes.experts)
        writer.add_expert_used_count(min(2, sizes.experts))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{number}" for number in range(sizes.vocabulary)])
    writer.add_token_scores([0.0] * sizes.vocabulary)


def importance(sizes: Sizes, *, without: frozenset[str] = frozenset()) -> dict[str, Values]:
    """Weights for every matrix but the embedding, which llama-imatrix does not measure either."""
    generator = np.random.Generator(np.random.PCG64(99))
    return {
        name: generator.random(shape[-1] * (shape[0] if len(shape) > 2 else 1), np.float32)
        for name, shape in sizes.tensors().items()
        if len(shape) > 1 and name != "token_embd.weight" and name not in without
    }


CHUNKS = 8
DATASET = "random.txt"


def write_importance(path: Path, weights: Mapping[str, Values], sizes: Sizes) -> None:
    """As llama-imatrix writes it: sums of squares and counts; counts are powers of two, so nothing is rounded."""
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [DATASET, "other.txt"])
    writer.add_uint32("imatrix.chunk_count", CHUNKS)
    writer.add_uint32("imatrix.chunk_size", 512)
    shapes = sizes.tensors()
    for name, values in weights.items():
        rows = shapes[name][0] if len(shapes[name]) > 2 else 1
        counts = np.full((rows, 1), 4096, np.float32)
        writer.add_tensor(f"{name}.in_sum2", values.reshape(rows, -1) * counts)
        writer.add_tensor(f"{name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
