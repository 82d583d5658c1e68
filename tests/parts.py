"""GGUF files that are part of a model: adapters and projectors, made here."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_adapter(
    path: Path,
    base: Path,
    *,
    strength: float,
    kind: str = "lora",
    names: tuple[str, ...] = ("ffn_down", "attn_q"),
) -> Path:
    """A LoRA of rank 4 for the model in `base`, random, and without any effect where `strength` is 0."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", 4.0)
    random = np.random.default_rng(0)
    for tensor in gguf.GGUFReader(base).tensors:
        if tensor.name.endswith(tuple(f"{name}.weight" for name in names)):
            columns, rows = (int(size) for size in tensor.shape)
            first = random.standard_normal((4, columns)) * strength
            second = random.standard_normal((rows, 4)) * strength
            writer.add_tensor(f"{tensor.name}.lora_a", first.astype(np.float32))
            writer.add_tensor(f"{tensor.name}.lora_b", second.astype(np.float32))
    return _write(writer, path)


def write_projector(path: Path) -> Path:
    """What llama.cpp calls an mmproj, by its header; no engine would load it."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_string("general.type", "mmproj")
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), dtype=np.float32))
    return _write(writer, path)


def _write(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
