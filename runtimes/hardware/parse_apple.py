"""What macOS says of a Mac, as values. Pure; odd content gives less, never an exception.

Formats: sysctl(8) (`name: value`), vm_stat(1) (pages, with the page size in its first line).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtimes.hardware.parse_memory import decimal

_ARM = {
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
_X86 = {
    "SSE3": "sse3",
    "SSSE3": "ssse3",
    "SSE4.1": "sse41",
    "SSE4.2": "sse42",
    "AVX1.0": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "BMI2": "bmi2",
    "AVX512F": "avx512f",
}
_PAGE_SIZE = re.compile(r"page size of (\d{3,6}) bytes")

_MEASURED = ((8, 5461), (16, 10923), (32, 21845), (64, 49152), (96, 73728))
"""recommendedMaxWorkingSetSize in MiB by the gigabytes of a Mac (fit.md 5.1): two thirds, three quarters
where there are more than 36. The engine's own word, where there is one, replaces it."""


def sysctl(text: str) -> Mapping[str, str]:
    """The names that sysctl knew, and their values."""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            found[name.strip()] = value.strip()
    return found


def number(values: Mapping[str, str], name: str) -> int | None:
    return decimal(values.get(name, ""))


def features(values: Mapping[str, str], *, arm: bool) -> tuple[str, ...]:
    """Instruction sets by our names."""
    if arm:
        found = {name for key, name in _ARM.items() if values.get(key) == "1"}
        return tuple(sorted(found | {"neon"}))
    words = f"{values.get('machdep.cpu.features', '')} {values.get('machdep.cpu.leaf7_features', '')}"
    return tuple(sorted({_X86[word] for word in words.split() if word in _X86}))


def available(vm_stat: str) -> int | None:
    """Bytes that can be had without swapping: free, speculative and inactive pages, as psutil counts them."""
    size = _PAGE_SIZE.search(vm_stat)
    if size is None:
        return None
    pages = {}
    for line in vm_stat.splitlines():
        name, colon, value = line.partition(":")
        if colon and (count := decimal(value.strip().rstrip("."))) is not None:
            pages[name.strip()] = count
    if "Pages free" not in pages:
        return None
    counted = ("Pages free", "Pages speculative", "Pages inactive")
    return sum(pages.get(name, 0) for name in counted) * int(size[1])


def working_set(total: int, wired_limit_mib: int | None) -> int:
    """What Metal lets a process hold, in bytes; `wired_limit_mib` is iogpu.wired_limit_mb, 0 by default."""
    if wired_limit_mib:
        return min(total, wired_limit_mib << 20)
    for gigabytes, mib in _MEASURED:
        if total == gigabytes << 30:
            return mib << 20
    return total * 3 // 4 if total > 36 << 30 else total * 2 // 3
