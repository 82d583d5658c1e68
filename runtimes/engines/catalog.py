"""The engines that slmctl knows, in order of preference."""

from __future__ import annotations

from runtimes.engines.base import Engine
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.errors import EngineUnavailable

ENGINES: tuple[Engine, ...] = (LLAMA_CPP,)


def engine_for(model_format: str, architecture: str | None) -> Engine:
    """The first engine that can run such a model; raises EngineUnavailable with the engines' reasons."""
    reasons = []
    for engine in ENGINES:
        reason = engine.supports(model_format, architecture)
        if reason is None:
            return engine
        reasons.append(reason)
    raise EngineUnavailable(
        f"No engine can run this model: {' '.join(reasons)}",
        hint="Look for a GGUF build of it: 'slmctl search', or 'slmctl tags hf.co/ORG/REPO'; of safetensors"
        " 'slmctl quantize' makes one.",
    )


def engine_named(name: str) -> Engine:
    """The engine of that name; raises EngineUnavailable when there is none."""
    for engine in ENGINES:
        if engine.name == name:
            return engine
    raise EngineUnavailable(f"There is no engine {name!r:.60}.")


def engine_name(model_format: str, architecture: str | None) -> str | None:
    """The name of the engine that would run such a model; None when there is none."""
    try:
        return engine_for(model_format, architecture).name
    except EngineUnavailable:
        return None
