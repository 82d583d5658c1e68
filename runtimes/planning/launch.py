"""The flags that a choice is launched with, all of them: the engine has nothing to guess (fit.md 6.4)."""

from __future__ import annotations

import math

from runtimes.engines.paper import CPU
from runtimes.hardware.machine import Cpu
from runtimes.planning.assess import Assessor, needed
from runtimes.planning.budget import HOST, MIB, binding_limits
from runtimes.planning.choose import Decision
from runtimes.planning.kv_cache import checkpoint_bytes
from runtimes.planning.speed import threads_to_decode
from runtimes.planning.values import Evaluated, Launch

_CACHE_RAM = 2048 * MIB  # llama-server takes 8192 when nobody says (fit.md 2.3)
_SMALL_CGROUP = 4096 * MIB
_CHECKPOINTS = 32  # llama-server's own number


def launch_of(decision: Decision, assessor: Assessor) -> Launch:
    """How llama.cpp is started for it; other engines take of it what they have a word for."""
    evaluated = decision.evaluated
    shape, cpu = evaluated.candidate.shape, assessor.hardware.cpu
    spare = max(0, evaluated.budget[HOST] - needed(evaluated, HOST))
    cache_ram = _cache_ram(spare, assessor)
    return Launch(
        context=shape.context,
        parallel=shape.parallel,
        threads=threads_to_decode(assessor.hardware),
        batch_threads=_all_cores(cpu),
        batch=shape.batch,
        micro_batch=shape.micro_batch,
        gpu_layers=shape.gpu_layers,
        type_k=shape.type_k,
        type_v=shape.type_v,
        flash_attention=shape.flash_attention,
        cache_ram=cache_ram,
        context_checkpoints=_checkpoints(evaluated, (spare - cache_ram) // 2),
        mmap=spare >= _rearranged(evaluated),
        repack=shape.repack,
        device=None if evaluated.candidate.place == CPU else evaluated.candidate.place,
    )


def server_flags(launch: Launch) -> list[str]:
    """The same as llama-server's flags. `--fit off`: else it may change the context by itself."""
    flags = [
        *("-c", str(launch.context * launch.parallel), "-np", str(launch.parallel)),
        *("-b", str(launch.batch), "-ub", str(launch.micro_batch), "-ngl", str(launch.gpu_layers)),
        *("-fa", "on" if launch.flash_attention else "off"),
        *("--cache-type-k", launch.type_k, "--cache-type-v", launch.type_v),
        *("--threads", str(launch.threads), "--threads-batch", str(launch.batch_threads)),
        *("--cache-ram", str(launch.cache_ram // MIB)),
        *("--ctx-checkpoints", str(launch.context_checkpoints), "--fit", "off"),
    ]
    flags += [] if launch.mmap else ["--no-mmap"]
    return flags if launch.repack else [*flags, "--no-repack"]


def _cache_ram(spare: int, assessor: Assessor) -> int:
    """What the server may keep of earlier prompts: never in a small cgroup, where it got servers killed."""
    small = any(each.limit < _SMALL_CGROUP for each in binding_limits(assessor.hardware))
    if small or assessor.request.embedding:
        return 0
    return min(spare // 2, _CACHE_RAM) // MIB * MIB


def _rearranged(evaluated: Evaluated) -> int:
    """Bytes that are there twice while weights are copied into another layout."""
    return sum(
        part.bytes
        for part in evaluated.need.parts
        if part.kind == "anon" and part.name.endswith("rearranged")
    )


def _checkpoints(evaluated: Evaluated, spare: int) -> int:
    """Copies of what windows and recurrent layers remember, each for a place in a prompt to come back to."""
    facts, shape = evaluated.candidate.build.facts, evaluated.candidate.shape
    if facts.window is None and facts.recurrent is None:
        return 0
    one = checkpoint_bytes(facts, shape) * shape.parallel
    return min(_CHECKPOINTS, max(0, spare) // max(1, one)) if one else 0


def _all_cores(cpu: Cpu) -> int:
    """Prefill takes every core within the budget, slow ones too."""
    cores = cpu.physical or cpu.logical
    return max(1, math.floor(min(cores, cpu.affinity or cores, cpu.quota or cores)))
