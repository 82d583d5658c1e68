"""A Llama as its paper has it, in numpy and double precision: what an engine's logits are held against.

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023 (RMSNorm before each block, SwiGLU,
rotary positions), with grouped queries; the pairs that positions turn lie beside each other, as in GGUF files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize

Floats = npt.NDArray[np.float64]


class NumpyLlama:
    """The model in one GGUF file, computed from its tensors alone."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self._tensors: dict[str, Floats] = {
            each.name: dequantize(each.data, each.tensor_type).astype(np.float64).reshape(each.shape[::-1])
            for each in reader.tensors
        }
        self._fields: dict[str, Any] = {
            name.removeprefix("llama."): field.contents()
            for name, field in reader.fields.items()
            if name.startswith("llama.")
        }

    def logits(self, tokens: npt.NDArray[np.int32]) -> Floats:
        """For each token of one sequence, what the model makes of the next: (tokens, vocabulary)."""
        state = self._tensors["token_embd.weight"][tokens]
        for layer in range(self._fields["block_count"]):
            state = state + self._attention(f"blk.{layer}.", state)
            state = state + self._feed_forward(f"blk.{layer}.", state)
        last = self._tensors.get("output.weight", self._tensors["token_embd.weight"])
        return self._normed("output_norm", state) @ last.T

    def _attention(self, prefix: str, state: Floats) -> Floats:
        heads, kv_heads = self._fields["attention.head_count"], self._fields["attention.head_count_kv"]
        normed = self._normed(f"{prefix}attn_norm", state)
        count = len(state)
        queries, keys, values = (
            (normed @ self._tensors[f"{prefix}attn_{name}.weight"].T).reshape(count, number, -1)
            for name, number in (("q", heads), ("k", kv_heads), ("v", kv_heads))
        )
        queries, keys = self._turned(queries), self._turned(keys)
        keys, values = (each.repeat(heads // kv_heads, axis=1) for each in (keys, values))
        scores = np.einsum("qhd,khd->hqk", queries, keys) / np.sqrt(queries.shape[-1])
        scores += np.triu(np.full((count, count), -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed: Floats = np.einsum("hqk,khd->qhd", weights, values).reshape(count, -1)
        made: Floats = mixed @ self._tensors[f"{prefix}attn_output.weight"].T
        return made

    def _feed_forward(self, prefix: str, state: Floats) -> Floats:
        normed = self._normed(f"{prefix}ffn_norm", state)
        gate, up = (normed @ self._tensors[f"{prefix}ffn_{name}.weight"].T for name in ("gate", "up"))
        made: Floats = (gate / (1 + np.exp(-gate)) * up) @ self._tensors[f"{prefix}ffn_down.weight"].T
        return made

    def _normed(self, name: str, state: Floats) -> Floats:
        epsilon = self._fields["attention.layer_norm_rms_epsilon"]
        scale = np.sqrt((state**2).mean(-1, keepdims=True) + epsilon)
        made: Floats = state / scale * self._tensors[f"{name}.weight"]
        return made

    def _turned(self, heads: Floats) -> Floats:
        size = heads.shape[-1]
        base = self._fields.get("rope.freq_base", 10000.0)
        angles = np.arange(len(heads))[:, None] * base ** (-np.arange(0, size, 2) / size)
        sine, cosine = np.sin(angles)[:, None], np.cos(angles)[:, None]
        even, odd = heads[..., 0::2], heads[..., 1::2]
        return np.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).reshape(heads.shape)
