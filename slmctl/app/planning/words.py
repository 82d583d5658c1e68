"""A plan in one line, as several commands say it."""

from __future__ import annotations

import re

from runtimes.hardware.known_engines import xllamacpp_for
from runtimes.hardware.machine import Hardware
from runtimes.planning.values import Evaluated, Plan

CPU = "cpu"

_BUILD_FOR = re.compile(r"a build of [\w.-]+ for (?P<api>cuda|rocm|vulkan|metal|sycl)")


def mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def place_words(evaluated: Evaluated) -> str:
    candidate = evaluated.candidate
    shape, layers = candidate.shape, (candidate.build.facts.layers or 0) + 1
    if candidate.place == CPU:
        return "on the CPU"
    share = f" ({shape.gpu_layers} of {layers} layers)" if 0 < shape.gpu_layers < layers else ""
    return f"on {candidate.place} by {candidate.api}{share}"


def speed_words(evaluated: Evaluated) -> str:
    """`about 4.5 tokens/s (2.7 to 6.3; prior)`"""
    speed = evaluated.speed
    if speed is None:
        return "speed unknown"
    digits = 0 if speed.expected >= 20 else 1
    low, high = f"{speed.low:.{digits}f}", f"{speed.high:.{digits}f}"
    return f"about {speed.expected:.{digits}f} tokens/s ({low} to {high}; {speed.basis})"


def choice_line(evaluated: Evaluated, plan: Plan | None = None) -> str:
    """Which build runs how: `qwen3:4b gguf-q4_k_m by llama.cpp on the CPU, 4,096 tokens of context, ...`"""
    candidate, shape = evaluated.candidate, evaluated.candidate.shape
    words = [
        f"{candidate.build.model} {candidate.build.variant} by {candidate.runtime} {place_words(evaluated)}",
        f"{shape.context:,} tokens of context",
        f"{shape.type_k} KV cache",
    ]
    if shape.parallel > 1:
        words.append(f"{shape.parallel} at once")
    if plan is not None and plan.launch is not None:
        words.append(f"{plan.launch.threads} thread{'' if plan.launch.threads == 1 else 's'}")
    if plan is None:
        words.append(need_words(evaluated))
        if evaluated.speed is not None:
            words.append(f"{evaluated.speed.expected:.3g} tokens/s")
    elif "SLOW" in plan.flags:
        words.append("slow")
    return ", ".join(words)


def need_words(evaluated: Evaluated) -> str:
    """`2,772 of 2,900 MiB`: of the memory that has least to spare."""
    pool = tightest(evaluated)
    need = int(evaluated.need.of(pool) * evaluated.need.margin)
    return f"{need / 2**20:,.0f} of {mib(evaluated.budget[pool])}"


def tightest(evaluated: Evaluated) -> str:
    """The pool that the choice fills most."""
    used = [pool for pool in evaluated.budget if evaluated.need.of(pool)]
    return max(
        used or evaluated.budget,
        key=lambda pool: (evaluated.need.of(pool) / max(1, evaluated.budget[pool]), pool),
    )


def nofit_line(plan: Plan, name: str) -> str:
    """Why nothing fits, with the number."""
    bound = plan.binding
    slow = [each for each in (bound, *plan.rejected) if each is not None and each.code == "SPEED_FLOOR"]
    if slow:
        return f"{name} is too slow here: {slow[0].variant}: {slow[0].detail}"
    if bound is None:
        return f"{name} does not fit here."
    if bound.need is None or bound.budget is None:
        return f"{name} cannot run here: {bound.detail}"
    build = " ".join(filter(None, (bound.variant, f"with {bound.kv_type} KV" if bound.kv_type else "")))
    needed = f"{build or 'it'} needs {mib(bound.need)}, and {mib(bound.budget)} are there"
    return f"{name} does not fit here: {needed}."


def unused_gpu(plan: Plan, hardware: Hardware) -> str | None:
    """One line about a GPU that the installed build cannot use: what it would bring, and the command."""
    for condition, gain in plan.would_change:
        found = _BUILD_FOR.fullmatch(condition)
        if found is None:
            continue
        api = found["api"]
        commands = (command for what, command in hardware.missing if f"({api})" in what.lower())
        return (
            f"{condition[0].upper()}{condition[1:]} would bring {gain}: {next(commands, xllamacpp_for(api))}"
        )
    return None
