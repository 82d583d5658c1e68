"""An estimate with the engine's own figures in the place of the formulas'."""

from __future__ import annotations

from dataclasses import replace

from runtimes.planning.buffer_lines import Buffers
from runtimes.planning.memory import HOST, ORACLE_MARGIN
from runtimes.planning.values import Need, Part

_SOURCE = "llama.cpp's own figure"
_ON_HOST = ("CPU", "_Host")


def measured_need(need: Need, buffers: Buffers) -> Need:
    """`need` with caches and buffers as llama.cpp said that it would make them.

    It says where compute buffers lie; the caches' total is split over the pools as the estimate has it. What
    it does not plan (weights, the process, what is loaded beside the model) stays as estimated.
    """
    device = next((part.pool for part in need.parts if part.kind == "device"), None)
    kept = [part for part in need.parts if part.name not in {"compute", "output", "kv", "state"}]
    parts = [*kept, *_split(need, "kv", buffers.kv), *_split(need, "state", buffers.state)]
    for name in ("compute", "output"):
        sizes = {True: 0, False: 0}
        for buffer, size in buffers.by_buffer.get(name, {}).items():
            sizes[buffer.startswith(_ON_HOST[0]) or buffer.endswith(_ON_HOST[1])] += size
        parts.append(Part(name=name, pool=HOST, bytes=sizes[True], kind="anon", source=_SOURCE))
        if device is not None:
            parts.append(Part(name=name, pool=device, bytes=sizes[False], kind="device", source=_SOURCE))
    return Need(parts=tuple(part for part in parts if part.bytes), method="oracle", margin=ORACLE_MARGIN)


def _split(need: Need, name: str, total: int | None) -> list[Part]:
    """The estimate's parts of this name, made to sum up to the engine's total."""
    parts = [part for part in need.parts if part.name == name]
    if total is None:
        return parts
    if not parts:
        return [Part(name=name, pool=HOST, bytes=total, kind="anon", source=_SOURCE)]
    estimated = sum(part.bytes for part in parts)
    sizes = [total * part.bytes // estimated for part in parts]
    sizes[0] += total - sum(sizes)
    return [replace(part, bytes=size, source=_SOURCE) for part, size in zip(parts, sizes, strict=True)]
