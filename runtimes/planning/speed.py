"""How fast a candidate would decode: two parameters for each engine at each place (fit.md section 4).

    t = c * layers + bytes read per token / (efficiency * bandwidth)

Priors by device class and instruction set stand in `speed.json`, each with its source. What the machine's
own figures say (`Hardware.speeds`: a calibration, served requests, a profile) wins over them, and a bandwidth
that was measured here wins over the data sheet's. The answer is a range.
"""

from __future__ import annotations

import functools
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.formats.facts import ModelFacts
from runtimes.hardware.machine import Device, EngineBuild, Hardware, SpeedFigure
from runtimes.hardware.unused import what_is_unused
from runtimes.planning.kv_cache import per_layer, remembered
from runtimes.planning.values import Shape, Speed

TYPICAL_FILL = 512
"""Tokens in the cache when a speed is stated: what the figures of fit.md 6.8 are for."""

_GB = 1e9
SATURATES = 12 * _GB
"""Bytes per second that one decoding thread is good for, to count threads (7950X: 61 GB/s with 4 or 5)."""
_NOT_READ = frozenset({"vision", "audio", "projector", "position_embd", "token_types"})
_EXPERTS = re.compile(r"_(ch)?exps$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast one engine decodes at one place: seconds per layer, and bytes per second that it reaches."""

    overhead: float
    bandwidth: float
    basis: str
    source: str


def cpu_features(hardware: Hardware, engine: EngineBuild | None) -> frozenset[str]:
    """The instruction sets that count: the CPU's, and of them those that the engine's build was made for."""
    here = frozenset(hardware.cpu.features)
    return here if engine is None or engine.features is None else here & frozenset(engine.features)


def threads_to_decode(hardware: Hardware) -> int:
    """Threads that saturate the memory: 8 do but where its bandwidth wants more (fit.md 4.3)."""
    memory = hardware.memory.bandwidth
    enough = max(8, math.ceil(memory / SATURATES)) if memory else 8
    return min(hardware.cpu.threads, enough)


def cpu_rate(hardware: Hardware, engine: str, features: frozenset[str]) -> Rate:
    """The rate on the CPU: a figure of the machine's own, else the probe's bandwidth, else a prior."""
    memory = hardware.memory
    known = _known(hardware, engine, "cpu")
    if known is not None and memory.bandwidth:
        rate = _of(known, memory.bandwidth)
        # a prior is of builds that use all of the CPU
        spare = what_is_unused(hardware.cpu, features) if known.basis == "prior" else None
        return rate if spare is None else replace(rate, bandwidth=rate.bandwidth * spare.decode)
    row = _cpu_row(features)
    by_threads = row["thread_gbps"] * _GB * threads_to_decode(hardware)
    if memory.bandwidth is None:
        reached = by_threads
    elif memory.bandwidth_measured:
        # the probe reads with as many threads; what the instructions cannot keep up with stays lost
        best = _cpu_row(frozenset(_FAST))["efficiency"]
        reached = memory.bandwidth * _table()["probe"]["efficiency"] * min(1.0, row["efficiency"] / best)
    else:
        reached = min(memory.bandwidth * row["efficiency"], by_threads)
    factor = _table()["unmeasured_engines"]["values"].get(engine, 1.0)
    return Rate(
        overhead=row["overhead_us"] / 1e6, bandwidth=reached * factor, basis="prior", source=row["source"]
    )


def device_rate(hardware: Hardware, engine: str, device: Device, api: str) -> Rate:
    """The rate on a device: a figure of its own, else the prior of its class; a unified one has the host's
    bandwidth where its own is not known."""
    bandwidth = device.bandwidth or (hardware.memory.bandwidth if device.unified else None)
    known = _known(hardware, engine, device.id)
    if known is not None and bandwidth:
        return _of(known, bandwidth)
    row = _device_row("mlx" if engine == "mlx" else api, device.name)
    factor = _table()["unmeasured_engines"]["values"].get(engine, 1.0)
    assumed = bandwidth or 50 * _GB
    return Rate(
        overhead=row["overhead_us"] / 1e6,
        bandwidth=assumed * row["efficiency"] * factor,
        basis="prior",
        source=row["source"] if bandwidth else f"bandwidth not known, 50 GB/s assumed; {row['source']}",
    )


def decode_speed(layers: float, bytes_read: float, rate: Rate) -> Speed:
    """Tokens per second of reading so many bytes through so many layers."""
    return _speed(layers * rate.overhead + bytes_read / rate.bandwidth, rate)


def split_speed(layers: int, bytes_read: float, on_device: float, device: Rate, cpu: Rate) -> Speed:
    """Tokens per second when a share of layers and bytes (`on_device`, 0 to 1) is the device's."""
    seconds = layers * (on_device * device.overhead + (1 - on_device) * cpu.overhead)
    seconds += bytes_read * (on_device / device.bandwidth + (1 - on_device) / cpu.bandwidth)
    return _speed(seconds, device if device.basis == "prior" else cpu)


def waits_for_threads(hardware: Hardware) -> bool:
    """Whether decoding on the CPU waits for its few threads to compute, and not for the memory: then types
    differ in what a byte of them costs. Only of a machine that was measured."""
    few: int = _table()["type_cost_of_few_threads"]["most_threads"]
    avx2 = "avx2" in hardware.cpu.features
    return avx2 and hardware.memory.bandwidth_measured and threads_to_decode(hardware) <= few


def weight_bytes_read(facts: ModelFacts, size: int, *, cpu: bool, few_threads: bool = False) -> float:
    """Bytes of weights that one token reads, types that are slow for their size counted for more.

    `size` stands in where the tensors are not known. An untied embedding is a look-up, not a read.
    `few_threads` is what `waits_for_threads` says.
    """
    if not facts.tensors:
        return float(size)
    costs = _table()["type_cost"]["values"]
    if cpu:
        costs = costs | _table()["type_cost_without_repack"]["values"]
    if cpu and few_threads:
        costs = costs | _table()["type_cost_of_few_threads"]["values"]
    share = 1.0
    if facts.experts is not None and facts.experts.used and facts.experts.count:
        share = facts.experts.used / facts.experts.count
    read = 0.0
    for row in facts.tensors:
        looked_up = row.tensor_class == "token_embd" and not facts.tied_embeddings
        if not looked_up and row.tensor_class not in _NOT_READ:
            used = share if _EXPERTS.search(row.tensor_class) else 1.0
            read += row.bytes * costs.get(row.type, 1.0) * used
    return read


def cache_bytes_read(facts: ModelFacts, shape: Shape, *, few_threads: bool = False) -> int:
    """Bytes of the KV cache that one token reads when as much is filled as usually is.

    Where few threads compute, a position costs each head as much as reading so many bytes of weights does.
    """
    filled = min(shape.context, TYPICAL_FILL)
    one = Shape(
        context=filled,
        type_k=_ggml(shape.type_k),
        type_v=_ggml(shape.type_v),
        micro_batch=max(1, min(filled, 512)),
    )
    layers = remembered(facts, one)
    cache = sum(layer.kv for layer in layers)
    if few_threads:
        heads = sum(per_layer(facts.heads, at) or 0 for at, layer in enumerate(layers) if layer.kv)
        cache = max(cache, heads * filled * int(_table()["attention_of_few_threads"]["bytes"]))
    return cache + sum(layer.state for layer in layers)


def spread(basis: str) -> float:
    """By how much a figure of this basis may be off, as a share."""
    values = _table()["ranges"]["values"]
    return float(values.get(basis, values["prior"]))


_FAST = ("avx512vnni",)


def _ggml(cache_type: str) -> str:
    """ggml's type of that size: it has no fp8, vLLM has."""
    return "i8" if cache_type == "fp8" else cache_type


def _speed(seconds: float, rate: Rate) -> Speed:
    expected, off = 1 / seconds, spread(rate.basis)
    return Speed(
        low=expected * (1 - off),
        expected=expected,
        high=expected * (1 + off),
        basis=rate.basis,
        overhead=rate.overhead,
        bandwidth=rate.bandwidth,
    )


def _known(hardware: Hardware, engine: str, place: str) -> SpeedFigure | None:
    fitting = [each for each in hardware.speeds if each.place == place and each.engine in (engine, None)]
    return next((each for each in fitting if each.engine == engine), fitting[0] if fitting else None)


def _of(figure: SpeedFigure, bandwidth: int) -> Rate:
    return Rate(
        overhead=figure.overhead,
        bandwidth=figure.efficiency * bandwidth,
        basis=figure.basis,
        source=figure.source,
    )


def _cpu_row(features: frozenset[str]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = _table()["cpus"]
    return next(row for row in rows if features.issuperset(row["features"]))


def _device_row(api: str, name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = _table()["devices"]
    return next(row for row in rows if row["api"] in (api, "") and re.search(row["match"], name))


@functools.cache
def _table() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(__file__).with_name("speed.json").read_text("utf-8"))
    return document
