"""What a build's quantization loses, and the tier that puts it in.

The figures stand in `quality.json`, each with its source; fit.md 3.3 is the model: the loss of Llama 3 8B,
more for smaller models, times what is known of the producer, and a little more for a quantized cache. A
divergence that somebody measured wins.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtimes.planning.values import Build, Quality

TIERS = ("near-lossless", "balanced", "compact", "floor")
"""Best first; worse than the floor is `none`."""

NO_TIER = "none"


def quality(build: Build, cache_type: str = "f16") -> Quality:
    """The loss of this build with such a KV cache (ggml's names), and what it rests on."""
    loss, basis = _weights_loss(build)
    extra = _table()["cache"]["values"].get(cache_type, 0.012)
    return Quality(loss=loss + extra, tier=tier_of(loss + extra), basis=basis)


def tier_of(loss: float) -> str:
    return next((name for name in TIERS if loss <= limit(name)), NO_TIER)


def limit(tier: str) -> float:
    """The largest loss of a tier."""
    value: float = _table()["tiers"]["values"][tier]
    return value


def is_cache_safe(build: Build, cache_type: str) -> bool:
    """Whether such a cache may be chosen without being asked for: f16 always, q8_0 for some models, no other.

    vLLM's fp8 is held to the same rule as q8_0.
    """
    if cache_type in ("f16", "bf16", "f32"):
        return True
    if cache_type not in ("q8_0", "fp8"):
        return False
    rule, head = _table()["cache_safety"], build.facts.head_size_k
    large = (build.facts.parameters or 0) >= rule["parameters"]
    return large and head is not None and head % rule["head_size_multiple"] == 0


def _weights_loss(build: Build) -> tuple[float, str]:
    if build.divergence is not None:
        return build.divergence, "measured"
    label = build.quantization or build.facts.quantization or ""
    prior, reference, basis = _prior(build, label)
    billions = (build.facts.parameters or 0) / 1e9
    scale = max(1.0, reference / billions) ** _table()["reference"]["exponent"] if billions else 1.0
    factor, producer = _producer(build, label)
    said = f"prior: {basis}" + (f" x ({reference:g}/{billions:.2f})^.22" if scale > 1 else "")
    return prior * scale * factor, said + (f" x {factor:g} ({producer})" if factor != 1 else "")


def _prior(build: Build, label: str) -> tuple[float, float, str]:
    """The loss at the reference's size, that size in billions of parameters, and its name."""
    tables, billions = _table(), float(_table()["reference"]["billions"])
    kind = build.facts.format
    if kind == "gguf":
        name = _known(label)
        entry = tables["gguf"]["values"].get(name)
        if entry is not None:
            plain = _has_matrix(build) or "static" not in entry
            return entry["loss" if plain else "static"], billions, f"Llama 3 8B {name}"
        native = tables["native"]["values"].get(name)
        if native is not None:
            at_home = build.facts.architecture in tables["native"]["architectures"][name]
            return native["loss" if at_home else "elsewhere"], billions, f"{name}, the model's own type"
    elif kind in tables:
        value = _by_prefix(tables[kind]["values"], label.lower())
        if value is not None:
            return value, float(tables[kind].get("billions", billions)), f"{kind} {label.lower()}"
    return _by_bits(build), billions, "by bits per weight"


def _by_prefix(values: Mapping[str, float], label: str) -> float | None:
    """The figure of the longest name that the label begins with: ONNX labels end in their provider."""
    fitting = [name for name in values if label == name or label.startswith(f"{name}-")]
    return values[max(fitting, key=len)] if fitting else None


def _known(label: str) -> str:
    """`UD-Q4_K_XL` is Q4_K_M with some tensors better; what it takes is read from its table of tensors."""
    return label.upper().removeprefix("UD-").replace("_K_XL", "_K_M")


def _producer(build: Build, label: str) -> tuple[float, str]:
    factors = _table()["producers"]
    values = _table()["gguf"]["values"]
    if build.facts.format != "gguf":
        return 1.0, ""
    if build.quantization_aware:
        return factors["quantization_aware"]["factor"], "trained for it"
    if label.upper().startswith("UD-"):
        return factors["dynamic"]["factor"], "dynamic"
    entry = values.get(_known(label))
    if entry is None or _has_matrix(build) or "static" in entry or _known(label) in _FULL:
        return 1.0, ""
    return factors["static"]["factor"], "no importance matrix"


def _has_matrix(build: Build) -> bool:
    """Whether an importance matrix went into it: as the file says, else by what its producer does."""
    if build.importance_matrix is not None:
        return build.importance_matrix
    known: Mapping[str, bool] = _table()["producers"]["known"]["names"]
    return known.get((build.producer or "").lower(), False)


_FULL = frozenset({"F32", "F16", "BF16"})


def _by_bits(build: Build) -> float:
    points = _table()["by_bits"]["values"]
    elements = sum(row.elements for row in build.facts.tensors) or build.facts.parameters or 0
    size = build.facts.tensor_bytes or build.size
    bits = 8 * size / elements if elements else points[-1][0]
    if bits <= points[0][0]:
        return float(points[0][1])
    for (low, worse), (high, better) in itertools.pairwise(points):
        if bits <= high:
            share = (bits - low) / (high - low)
            return math.exp(math.log(worse) * (1 - share) + math.log(better) * share)
    return float(points[-1][1])


@functools.cache
def _table() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(__file__).with_name("quality.json").read_text("utf-8"))
    return document
