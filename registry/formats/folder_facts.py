"""Facts of safetensors and MLX folders: config.json and the headers of the weight files together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts, TensorRow
from registry.formats.hf_config import HfConfig, declared_quantization
from registry.formats.hf_tensors import mlx_rows, plain_rows
from registry.formats.mlx import mlx_modules, mlx_setting
from registry.formats.quote import quoted
from registry.formats.safetensors import SafetensorsHeader


def facts_from_folder(
    config: Mapping[str, object], headers: Sequence[SafetensorsHeader], *, mlx: bool = False
) -> ModelFacts:
    """The facts of a folder: its parsed config.json, and the headers of all its weight files.

    `mlx` says that the folder is one of MLX's though nothing in it is quantized. Raises MalformedFile.
    """
    setting = mlx_setting(config)
    packed = setting is None and isinstance(config.get("quantization_config"), dict)
    tensors = [tensor for header in headers for tensor in header.tensors]
    names = Counter(tensor.name for tensor in tensors)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise MalformedFile(f"Two files hold the tensor {quoted(twice)}.")
    rows = mlx_rows(tensors, mlx_modules(config), setting) if setting else plain_rows(tensors)
    shape = HfConfig(config).facts("mlx" if mlx or setting else "safetensors")
    tied = shape.tied_embeddings
    if any(row.tensor_class == "token_embd" for row in rows):
        tied = not any(row.tensor_class == "output" for row in rows)
    return replace(
        shape,
        quantization=setting[1] if setting else declared_quantization(config) if packed else _most(rows),
        parameters=None if packed else sum(row.elements for row in rows) or None,
        tied_embeddings=tied,
        tensors=rows,
    )


def _most(rows: Sequence[TensorRow]) -> str | None:
    """The type that holds most elements."""
    held: Counter[str] = Counter()
    for row in rows:
        held[row.type] += row.elements
    return max(held, key=lambda name: (held[name], name)) if held else None
