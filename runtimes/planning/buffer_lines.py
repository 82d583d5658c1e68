"""What llama.cpp itself says about its memory while it loads, and how far an estimate was from that.

The lines are llama.cpp's (b11549; src/llama-model.cpp, llama-context.cpp, llama-kv-cache.cpp,
llama-memory-recurrent.cpp, common/fit.cpp), written at verbosity 4:

    print_info: file size   = 372.65 MiB (5.25 BPW)
    load_tensors:   CPU_Mapped model buffer size =   372.65 MiB
    load_tensors:   CPU_REPACK model buffer size =   204.75 MiB
    llama_kv_cache:        CPU KV buffer size =   448.00 MiB
    llama_kv_cache: size =  448.00 MiB (  4096 cells,  28 layers,  1/1 seqs), K (f16): ...
    llama_memory_recurrent:        CPU RS buffer size =     6.15 MiB
    sched_reserve:        CPU compute buffer size =    32.02 MiB
    llama_context:        CPU  output buffer size =     0.58 MiB
    load_tensors: offloaded 29/29 layers to GPU
    using device CUDA0 (NVIDIA ...) (0000:01:00.0) - 11524 MiB free

Where nothing is allocated (the oracle) the model and cache buffers are 0; then the file's size counts, which
is that of its tensors, and the caches' `size`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from runtimes.planning.values import Need

_MIB = 2**20
_BUFFER = re.compile(r"(\S+)\s+(model|KV|compute|output|RS)\s+buffer size\s*=\s*([\d.]+)\s*MiB")
_CACHE = re.compile(r"(llama_kv_cache\w*|llama_memory_recurrent\w*): size =\s*([\d.]+)\s*MiB")
_FILE = re.compile(r"print_info: file size\s*=\s*([\d.]+) (MiB|GiB)")
_DEVICE = re.compile(r"using device (\S+)\s+\(.*\)\s+-\s+(\d+)\s+MiB free")
_OFFLOADED = re.compile(r"offloaded\s+(\d+)/(\d+)\s+layers")
_NAMES = {"model": "weights", "KV": "kv", "RS": "state", "compute": "compute", "output": "output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """The engine's own figures, bytes (it prints MiB with two digits), by component and its buffer's name.

    Components are `weights`, `kv`, `state`, `compute`, `output`; buffers are such as `CPU_Mapped`,
    `CPU_REPACK`, `CUDA0`, `CUDA_Host`. `weights`, `kv` and `state` are what was allocated; where nothing was,
    what would be. `offloaded` is how many layers of how many are on a device, the output counted as one;
    `free` is what devices had free before. `complete` says that the load came to its end.
    """

    by_buffer: Mapping[str, Mapping[str, int]]
    weights: int | None
    kv: int | None
    state: int | None
    offloaded: tuple[int, int] | None
    free: Mapping[str, int]
    complete: bool

    def total(self, component: str) -> int | None:
        """Bytes of a component in all buffers; None where the engine said nothing of it."""
        if component in {"kv", "state", "weights"}:
            return {"kv": self.kv, "state": self.state, "weights": self.weights}[component]
        buffers = self.by_buffer.get(component)
        return None if buffers is None else sum(buffers.values())


def parse(text: str) -> Buffers:
    """The figures in a log of one load. Total: lines that are not there give None, foreign lines nothing."""
    by_buffer: dict[str, Counter[str]] = {}
    for name, kind, size in _BUFFER.findall(text):
        by_buffer.setdefault(_NAMES[kind], Counter())[name] += _bytes(size)
    planned: Counter[str] = Counter()
    for cache, size in _CACHE.findall(text):
        planned["kv" if cache.startswith("llama_kv_cache") else "state"] += _bytes(size)
    if found := _FILE.search(text):
        planned["weights"] = _bytes(found[1]) * (1024 if found[2] == "GiB" else 1)
    offloaded = _OFFLOADED.search(text)
    held = {name: sum(by_buffer.get(name, {}).values()) for name in ("weights", "kv", "state")}
    if _is_rearranged(by_buffer.get("weights", {})):
        held["weights"] = (
            0  # what is mapped and what is copied out of it overlap: the file's size is what is right
        )
    return Buffers(
        by_buffer={name: dict(buffers) for name, buffers in by_buffer.items()},
        weights=held["weights"] or planned.get("weights"),
        kv=held["kv"] or planned.get("kv"),
        state=held["state"] or planned.get("state"),
        offloaded=None if offloaded is None else (int(offloaded[1]), int(offloaded[2])),
        free={name: int(free) * _MIB for name, free in _DEVICE.findall(text)},
        complete="compute" in by_buffer,
    )


def compare(need: Need, buffers: Buffers) -> dict[str, float]:
    """How far each component was estimated from the engine's figure: 0.05 is 5 percent too high.

    Components that the engine did not name, or that it has nothing of, are left out. `total` is all of those
    that were compared.
    """
    errors, said, estimated = {}, 0, 0
    for name in ("weights", "kv", "state", "compute", "output"):
        size = buffers.total(name)
        if size:
            ours = sum(part.bytes for part in need.parts if re.split(r"\W", part.name)[0] == name)
            errors[name] = ours / size - 1
            said, estimated = said + size, estimated + ours
    return errors | ({"total": estimated / said - 1} if said else {})


def _is_rearranged(weights: Mapping[str, int]) -> bool:
    return any(name.endswith("_REPACK") for name in weights) and all(
        name.startswith("CPU") for name in weights
    )


def _bytes(mebibytes: str) -> int:
    return round(float(mebibytes) * _MIB)
