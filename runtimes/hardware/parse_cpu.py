"""What a processor is, from texts and words of the kernel. Pure; odd content gives less, never an exception.

Formats: /proc/cpuinfo of x86 and arm64 (proc_cpuinfo(5)), the auxiliary vector (getauxval(3)), lists of CPUs
(`0-3,8`: Documentation/admin-guide/cputopology.rst in the Linux kernel).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

_X86 = {
    "pni": "sse3",
    "ssse3": "ssse3",
    "sse4_1": "sse41",
    "sse4_2": "sse42",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi2": "bmi2",
    "avx_vnni": "avxvnni",
    "avx_vnni_int8": "avxvnniint8",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vbmi": "avx512vbmi",
    "avx512_vnni": "avx512vnni",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "amx_tile": "amxtile",
    "amx_int8": "amxint8",
    "amx_bf16": "amxbf16",
}
"""What of Linux's flags ggml has kernels for (ggml/src/ggml-cpu/CMakeLists.txt), by our name."""

_ARM = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
_HWCAP = {1: "neon", 10: "fp16", 20: "dotprod", 22: "sve"}
_HWCAP2 = {1: "sve2", 13: "i8mm", 14: "bf16", 23: "sme"}
"""Bits of AT_HWCAP and AT_HWCAP2 (Linux, arch/arm64/include/uapi/asm/hwcap.h)."""

_AT_HWCAP, _AT_HWCAP2 = 16, 26

_ARM_PARTS: Mapping[tuple[int | None, int | None], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x51, 0x001): "Oryon",
}
"""Implementer and part of MIDR_EL1: Arm's own (0x41) from their Technical Reference Manuals, Qualcomm's
(0x51) from Linux, arch/arm64/include/asm/cputype.h."""


def first_processor(cpuinfo: str) -> Mapping[str, str]:
    """The lines about the first processor, by their names; the last one may be cut."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            if found:
                break
            continue
        found.setdefault(name.strip(), value.strip())
    return found


def model(cpuinfo: str, board: str | None = None) -> str | None:
    """What to call the processor; `board` is the device tree's model, where there is one.

    An Arm system with several kinds of cores is called by all of them, the last ones first: those are the
    fast ones.
    """
    name = first_processor(cpuinfo).get("model name")
    if not name:
        lines = [line.partition(":") for line in cpuinfo.splitlines()]
        makers = [_hexadecimal(value) for key, _, value in lines if key.strip() == "CPU implementer"]
        parts = [_hexadecimal(value) for key, _, value in lines if key.strip() == "CPU part"]
        known = [_ARM_PARTS.get(pair) for pair in zip(makers, parts, strict=False)]
        name = " and ".join(dict.fromkeys(each for each in reversed(known) if each))
    if name and board:
        return f"{name[:100]} ({board[:100]})"
    return (name or board or "")[:200] or None


def x86_features(flags: str) -> tuple[str, ...]:
    """Of /proc/cpuinfo's `flags`."""
    return tuple(sorted({_X86[flag] for flag in flags.split() if flag in _X86}))


def arm_features(words: str) -> tuple[str, ...]:
    """Of /proc/cpuinfo's `Features`."""
    return tuple(sorted({_ARM[word] for word in words.split() if word in _ARM}))


def hwcap_features(auxiliary: bytes) -> tuple[str, ...] | None:
    """Of arm64's auxiliary vector (/proc/self/auxv, pairs of 64-bit words); None where it has no AT_HWCAP.

    These are what the kernel lets this process use, in an emulator too.
    """
    whole = auxiliary[: len(auxiliary) // 16 * 16]
    words = dict(struct.iter_unpack("<QQ", whole))
    if _AT_HWCAP not in words:
        return None
    found = {name for bit, name in _HWCAP.items() if words[_AT_HWCAP] >> bit & 1}
    found |= {name for bit, name in _HWCAP2.items() if words.get(_AT_HWCAP2, 0) >> bit & 1}
    return tuple(sorted(found))


def cpu_list(text: str | None) -> frozenset[int]:
    """`0-3,8,10-11` as numbers; parts of another form are left out, and so is what no machine has."""
    found: set[int] = set()
    for part in (text or "").strip().split(","):
        first, dash, last = part.strip().partition("-")
        if first.isascii() and first.isdigit() and len(first) < 6:
            if not dash:
                found.add(int(first))
            elif last.isascii() and last.isdigit() and len(last) < 6 and int(last) < 1 << 14:
                found.update(range(int(first), int(last) + 1))
    return frozenset(found)


def cores(siblings: Mapping[int, frozenset[int]], allowed: Iterable[int]) -> int:
    """How many cores the CPUs of `allowed` belong to; `siblings` are the CPUs of each one's core."""
    return len({min(siblings.get(cpu) or {cpu}) for cpu in allowed})


FAST_SHARE = 0.7
"""A core counts as fast from this share of the fastest one's capacity: in a prime-big-little system
(1024, 870, 300) two kinds do, beside a Cortex-A76 (1024) the Cortex-A55 (530) does not."""


def fast(capacities: Mapping[int, int]) -> frozenset[int]:
    """CPUs of the fast kind by cpu_capacity; empty where all are of one kind, or nothing is known."""
    if not capacities or min(capacities.values()) >= FAST_SHARE * max(capacities.values()):
        return frozenset()
    bound = FAST_SHARE * max(capacities.values())
    return frozenset(cpu for cpu, capacity in capacities.items() if capacity >= bound)


def cores_of_cpuinfo(cpuinfo: str) -> Mapping[int, tuple[str, str]]:
    """Each processor's package and core, where /proc/cpuinfo says both: for systems without a topology."""
    found: dict[int, tuple[str, str]] = {}
    for block in cpuinfo.split("\n\n"):
        lines = first_processor(block)
        number, package, core = lines.get("processor"), lines.get("physical id"), lines.get("core id")
        if number is not None and number.isascii() and number.isdigit() and package and core:
            found[int(number[:6])] = (package, core)
    return found


def _hexadecimal(text: str | None) -> int | None:
    try:
        return int(text or "", 16)
    except ValueError:
        return None
