"""What quantization is said to lose: the table of fit.md 3.1 and the scaling of 3.3."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import runtimes.planning
from runtimes.planning.quality import is_cache_safe, quality, tier_of
from runtimes.planning.values import Build
from tests.runtimes.planning.library import folder, ggufs


def one(model: str, label: str, **changed: Any) -> Build:
    (build,) = ggufs(model, labels=(label,))
    return dataclasses.replace(build, **changed)


@pytest.mark.parametrize(
    ("model", "label", "loss", "tier"),
    [
        ("llama3.1:8b", "Q4_K_M", 0.0282, "balanced"),
        ("qwen3:4b", "Q4_K_M", 0.0327, "balanced"),  # .02815 x (8 / 4.02)^.22
        ("llama3.2:3b", "Q4_K_M", 0.0344, "balanced"),
        ("qwen3:1.7b", "Q4_K_M", 0.0395, "compact"),
        ("qwen3:1.7b", "Q5_K_M", 0.0151, "balanced"),
        ("smollm2:360m", "Q6_K", 0.0108, "balanced"),
        ("qwen3:0.6b", "Q6_K", 0.0096, "near-lossless"),
        ("qwen3:4b", "Q3_K_M", 0.0982, "compact"),
        ("llama3.1:8b", "Q2_K", 0.3314, "floor"),
        ("qwen3:1.7b", "Q2_K", 0.4647, "floor"),
        ("llama3.1:8b", "BF16", 0.0, "near-lossless"),
    ],
)
def test_a_smaller_model_loses_more(model: str, label: str, loss: float, tier: str) -> None:
    found = quality(one(model, label))
    assert found.loss == pytest.approx(loss, abs=0.0001)
    assert found.tier == tier
    assert found.basis.startswith("prior")


def test_what_somebody_measured_wins() -> None:
    found = quality(one("qwen3:0.6b", "Q4_0", divergence=0.0087))
    assert (found.loss, found.tier, found.basis) == (0.0087, "near-lossless", "measured")


def test_a_quantized_cache_costs_a_little() -> None:
    build = one("qwen3:4b", "Q4_K_S")
    assert quality(build, "q8_0").loss == pytest.approx(quality(build).loss + 0.001)


def test_who_made_it_matters() -> None:
    with_matrix = one("llama3.1:8b", "Q4_K_M")
    without = dataclasses.replace(with_matrix, importance_matrix=False)
    unknown = dataclasses.replace(with_matrix, importance_matrix=None)
    assert quality(without).loss == pytest.approx(0.03127)
    assert quality(unknown).loss == quality(without).loss
    assert quality(dataclasses.replace(unknown, producer="bartowski")).loss == quality(with_matrix).loss
    # trained for four bits, it beats all that was quantized afterwards
    trained = one("gemma3:1b", "Q4_0", quantization_aware=True)
    assert quality(trained).loss < quality(one("gemma3:1b", "Q4_K_M")).loss
    dynamic = one("llama3.1:8b", "Q4_K_M", quantization="UD-Q4_K_XL")
    assert quality(dynamic).loss == pytest.approx(0.02815 * 0.8)


def test_a_type_that_a_model_was_trained_in_loses_nothing_there() -> None:
    assert quality(one("bitnet:b1.58-2b-4t", "TQ2_0")).tier == "near-lossless"
    assert quality(one("llama3.2:3b", "TQ2_0")).tier == "none"


def test_a_label_that_no_table_has_is_judged_by_its_bits() -> None:
    strange = one("llama3.1:8b", "Q4_K_M", quantization="my-mix")
    assert quality(strange).loss == pytest.approx(0.028, rel=0.1)
    assert "bits" in quality(strange).basis


@pytest.mark.parametrize(
    ("kind", "label", "loss"),
    [
        ("mlx", "q4-g64", 0.06),
        ("mlx", "q6-g64", 0.006),
        ("onnx", "int4-cpu", 0.0719 * (8 / 4.0225) ** 0.22),
        ("safetensors", "awq-q4-g128", 0.05 * (8 / 4.0225) ** 0.22),
        ("safetensors", "bf16", 0.0),
    ],
)
def test_other_formats(kind: str, label: str, loss: float) -> None:
    assert quality(folder("qwen3:4b", kind, label, 10**9)).loss == pytest.approx(loss, rel=0.001)


def test_caches_are_quantized_unasked_only_where_that_is_safe() -> None:
    assert is_cache_safe(one("qwen3:1.7b", "Q4_K_M"), "q8_0")
    assert not is_cache_safe(one("qwen3:1.7b", "Q4_K_M"), "q4_0")
    assert not is_cache_safe(one("qwen3:0.6b", "Q4_K_M"), "q8_0")
    odd = one("qwen3:4b", "Q4_K_M")
    odd = dataclasses.replace(odd, facts=dataclasses.replace(odd.facts, head_size_k=80))
    assert not is_cache_safe(odd, "q8_0")
    assert is_cache_safe(odd, "f16")


def test_tiers_have_sharp_edges() -> None:
    assert [tier_of(loss) for loss in (0.010, 0.0101, 0.035, 0.12, 0.5, 0.51)] == [
        "near-lossless",
        "balanced",
        "balanced",
        "compact",
        "floor",
        "none",
    ]


@pytest.mark.parametrize("name", ["quality.json", "speed.json"])
def test_every_figure_has_a_source(name: str) -> None:
    document = json.loads((Path(runtimes.planning.__path__[0]) / name).read_text("utf-8"))

    def check(value: object, place: str, sourced: bool) -> None:
        if isinstance(value, dict):
            sourced = sourced or "source" in value
            for key, below in value.items():
                check(below, f"{place}.{key}", sourced)
        elif isinstance(value, list):
            for number, below in enumerate(value):
                check(below, f"{place}[{number}]", sourced)
        elif isinstance(value, int | float):
            assert sourced, f"{place} has no source"

    check(document, name, sourced=False)
