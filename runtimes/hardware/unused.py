"""What it costs that an engine's build leaves instruction sets of the CPU unused. Pure.

The figures are priors: the share of the speed that is left, for decoding and for reading prompts (prefill),
each from the comparison that its source names. Decoding waits for memory on most machines, so that little is
lost there as long as the kernels keep up; prefill computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtimes.hardware.machine import Cpu, EngineBuild


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """`features` that the CPU has and the build does not use; shares of speed that are left, above 0 to 1."""

    features: tuple[str, ...]
    decode: float
    prefill: float
    source: str

    @property
    def sentence(self) -> str:
        """For people: what is unused, and about what that costs."""
        losses = [("decoding", self.decode), ("reading prompts", self.prefill)]
        words = [f"about {round((1 - left) * 100)} % of {what}" for what, left in losses if left < 0.995]
        cost = f", which costs {' and '.join(words)}" if words else ""
        return f"it leaves {', '.join(self.features)} unused{cost}."


_PRIORS: tuple[tuple[frozenset[str], float, float, str], ...] = (
    (
        frozenset({"dotprod"}),
        0.65,
        0.30,
        (
            "llama.cpp#23358 (Snapdragon 7 Gen 3, NEON against NEON with dotprod: decoding 0.59 and 0.72,"
            " prefill 0.58) and llama.cpp#17494 (the repacking that needs dotprod: prefill 1.9 times)"
        ),
    ),
    (
        frozenset({"i8mm"}),
        1.0,
        0.50,
        (
            "llama.cpp#18096, #17494 (repacked Q8_0 and Q4_K: prefill 3.6 times with i8mm, 1.9 with dotprod;"
            " decoding the same)"
        ),
    ),
    (frozenset({"amxint8"}), 1.0, 0.30, "a guess: fit.md 2.1 lists the types that AMX has kernels for"),
    (
        frozenset({"avx512f", "avx512vnni"}),
        1.0,
        0.75,
        "ik_llama.cpp#54 and llama.cpp#933 (Zen 4 and Tiger Lake: prefill 1.2 to 1.35 times with AVX-512)",
    ),
    (
        frozenset({"avxvnni"}),
        1.0,
        0.90,
        "ik_llama.cpp#1991 (Q5_0: prefill 91 to 102 tokens/s, decoding same)",
    ),
    (
        frozenset({"avx2", "fma"}),
        0.60,
        0.35,
        "a guess: kernels of half the width, without fused multiplication",
    ),
)
"""Features, decoding, prefill, source; of several that apply, each figure is the lowest."""


def what_is_unused(cpu: Cpu, features: Iterable[str] | None) -> Unused | None:
    """What a build made for `features` leaves unused of this CPU, where that costs anything.

    None too where the build picks by itself (`features` None).
    """
    if features is None:
        return None
    spare = frozenset(cpu.features) - frozenset(features)
    rules = [rule for rule in _PRIORS if rule[0] & spare and not rule[0] & frozenset(features)]
    if not rules:
        return None
    return Unused(
        features=tuple(sorted(frozenset().union(*(rule[0] for rule in rules)) & spare)),
        decode=min(rule[1] for rule in rules),
        prefill=min(rule[2] for rule in rules),
        source="; ".join(rule[3] for rule in rules),
    )


def counted(cpu: Cpu, engine: EngineBuild) -> frozenset[str]:
    """The instruction sets that count: the build's, as far as the CPU has them (DESIGN.md, section 6)."""
    if engine.features is None:
        return frozenset(cpu.features)
    return frozenset(engine.features) & frozenset(cpu.features)
