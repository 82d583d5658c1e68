"""Builds for plans to choose among: what could be made of the models whose facts ship with slmctl."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from pathlib import Path

import jsonschema

import modelfiles
from registry.formats.facts import ModelFacts
from runtimes.hardware.machine import EngineBuild, Hardware
from runtimes.planning.memory import process_bytes
from runtimes.planning.mix import quantized
from runtimes.planning.values import Build, Evaluated, Plan

MIB = 2**20

LABELS = (
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"),
    *("Q8_0", "BF16"),
)
"""What publishers of GGUFs usually offer."""


def less(model: str) -> float:
    """By how many MiB the process is smaller than in the text's sums, where P is 60 MiB and 0.35 KiB a token:
    measured it is less (docs/decisions/0024)."""
    known = facts(model)
    return (60 * MIB + 0.35 * 1024 * (known.vocabulary or 0) - process_bytes(known)) / MIB


@functools.cache
def facts(model: str) -> ModelFacts:
    """The facts of `family:tag` in full precision."""
    family, tag = model.split(":")
    path = Path(modelfiles.__file__).parent / "library" / family / tag / "facts.json"
    return ModelFacts.from_json(json.loads(path.read_text("utf-8")))


def ggufs(*models: str, labels: Iterable[str] = LABELS) -> list[Build]:
    """GGUF builds of the models, with an importance matrix as most publishers use one."""
    return [_gguf(model, label) for model in models for label in labels]


@functools.cache
def _gguf(model: str, label: str) -> Build:
    made = quantized(facts(model), label, importance_matrix=True)
    return Build(
        model=model,
        variant=f"gguf-{label.lower()}",
        facts=made,
        size=made.tensor_bytes,
        quantization=label,
        importance_matrix=True,
    )


def folder(model: str, kind: str, label: str, size: int) -> Build:
    """A build that is no GGUF (`mlx`, `onnx`, `safetensors`), of so many bytes."""
    bare = dataclasses.replace(facts(model), format=kind, quantization=label, tensors=())
    return Build(model=model, variant=f"{kind}-{label}", facts=bare, size=size, quantization=label)


def with_engine(
    hardware: Hardware, name: str, *apis: str, installed: bool = True, **fields: object
) -> Hardware:
    """The machine with this engine, instead of the one of that name that it may have had."""
    others = [each for each in hardware.engines if each.name != name]
    engine = EngineBuild(name=name, installed=installed, apis=apis, source="the test")
    engine = dataclasses.replace(engine, **fields)  # type: ignore[arg-type]
    return dataclasses.replace(hardware, engines=(*others, engine))


def chosen(plan: Plan) -> Evaluated:
    assert plan.chosen is not None, plan.binding
    return plan.chosen


def codes(plan: Plan, *, variant: str | None = None, runtime: str | None = None) -> set[str]:
    """The reason codes of what was turned down."""
    return {
        each.code
        for each in plan.rejected
        if variant in (None, each.variant) and runtime in (None, each.runtime)
    }


def mib(size: float) -> int:
    return round(size / MIB)


@functools.cache
def plan_schema() -> jsonschema.Draft202012Validator:
    """What a plan's document must be, an error aside."""
    path = Path(__file__).parents[3] / "docs" / "schemas" / "plan-1.json"
    schema = json.loads(path.read_text("utf-8"))
    return jsonschema.Draft202012Validator({"$defs": schema["$defs"], **schema["oneOf"][0]})
