"""What the parts of a need add up to: against fit.md's tables, and where they lie."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from runtimes.planning.budget import UTILIZATION
from runtimes.planning.compute import compute_bytes, output_bytes
from runtimes.planning.kv_cache import checkpoint_bytes, remembered, total_remembered
from runtimes.planning.memory import llamacpp_need
from runtimes.planning.mix import quantized
from runtimes.planning.mlx_memory import mlx_need
from runtimes.planning.onnx_memory import onnx_need
from runtimes.planning.values import Build, Need, Shape
from runtimes.planning.vllm_memory import bytes_per_token, vllm_need
from runtimes.planning.weights import placed
from tests.runtimes.planning.library import less

LIBRARY = Path(__file__).parents[3] / "modelfiles" / "library"
MIB = 2**20

# fit.md 2.6: MiB of the KV cache in F16 at 4k, 8k, 32k and 128k
KV = """
qwen3/0.6b     448  896 3584     -
qwen3/1.7b     448  896 3584     -
qwen3/4b       576 1152 4608     -
qwen3/8b       576 1152 4608     -
phi4-mini/3.8b 512 1024 4096 16384
gemma3/1b       38   54  150     -
gemma3/4b      254  334  814  2734
llama3.1/8b    512 1024 4096 16384
llama3.2/1b    128  256 1024  4096
llama3.2/3b    448  896 3584 14336
bitnet/b1.58-2b-4t 300 -   -     -
smollm2/135m    90  180    -     -
smollm2/360m   160  320    -     -
smollm2/1.7b   768 1536    -     -
"""
KV_CELLS = [
    (row.split()[0], context, int(value))
    for row in KV.split("\n")[1:-1]
    for context, value in zip((4096, 8192, 32768, 131072), row.split()[1:], strict=True)
    if value != "-"
]


def facts(entry: str, label: str | None = None, *, matrix: bool = True) -> ModelFacts:
    found = ModelFacts.from_json(json.loads((LIBRARY / entry / "facts.json").read_text()))
    return found if label is None else quantized(found, label, importance_matrix=matrix)


def build(model: ModelFacts, **more: object) -> Build:
    made = Build(model="m", variant="v", facts=model, size=model.tensor_bytes)
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def on_cpu(model: ModelFacts, shape: Shape, features: frozenset[str] = frozenset()) -> Need:
    return llamacpp_need(build(model), shape, device_pool=None, unified=False, features=features)


def mib(need: Need, name: str, pool: str = "host") -> float:
    return round(sum(part.bytes for part in need.parts if (part.name, part.pool) == (name, pool)) / MIB, 1)


@pytest.mark.parametrize(("entry", "context", "size"), KV_CELLS)
def test_the_cache_is_that_of_the_table(entry: str, context: int, size: int) -> None:
    assert total_remembered(facts(entry), Shape(context=context)).kv == size * MIB


@pytest.mark.parametrize(
    ("entry", "parallel", "size"), [("gemma3/1b", 1, 54), ("gemma3/4b", 1, 334), ("qwen3/0.6b", 4, 3584)]
)
def test_every_slot_has_its_cells(entry: str, parallel: int, size: int) -> None:
    shape = Shape(context=8192, parallel=parallel)
    assert total_remembered(facts(entry), shape).kv == size * MIB
    assert (
        total_remembered(facts(entry), dataclasses.replace(shape, parallel=2)).kv
        == 2 * size * MIB // parallel
    )


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        ("qwen3/0.6b", 32.0), ("qwen3/4b", 86.0), ("qwen3/8b", 116.0), ("llama3.1/8b", 128.0), ("llama3.2/1b", 72.0),
        ("gemma3/1b", 56.8), ("gemma3/4b", 90.5), ("smollm2/135m", 18.6),
    ],
)  # fmt: skip
def test_compute_buffers_are_those_of_fit_md(entry: str, size: float) -> None:
    model = facts(entry)
    assert compute_bytes(model, Shape(context=4096)) / MIB == pytest.approx(size, abs=0.1)
    assert compute_bytes(model, Shape(context=4096, micro_batch=128)) == pytest.approx(
        size * MIB / 4, rel=0.2
    )


def test_without_flash_attention_all_scores_are_held() -> None:
    found = compute_bytes(facts("qwen3/8b"), Shape(context=8192, flash_attention=False))
    assert found / MIB == pytest.approx(580, abs=2)


@pytest.mark.parametrize(
    ("entry", "label", "matrix", "shape", "total"),
    [  # the sums of fit.md 6.8, on the CPU
        ("qwen3/1.7b", "Q5_K_M", True, Shape(context=4096), 1815),
        ("llama3.2/3b", "Q4_K_M", True, Shape(context=4096), 2553),
        ("llama3.1/8b", "Q4_K_M", True, Shape(context=8192), 5946),
        ("qwen3/4b", "Q4_K_S", True, Shape(context=4096, type_k="q8_0", type_v="q8_0"), 2772),
        ("qwen3/0.6b", "Q5_K_M", True, Shape(context=4096), 1011),
        ("smollm2/360m", "Q5_K_M", True, Shape(context=4096), 540),
        ("gemma3/4b", "Q6_K", True, Shape(context=131072), 6136),
    ],
)  # fmt: skip
def test_sums_are_those_of_the_scenarios(
    entry: str, label: str, matrix: bool, shape: Shape, total: int
) -> None:
    need = on_cpu(facts(entry, label, matrix=matrix), shape)
    assert need.total / MIB == pytest.approx(total - less(entry.replace("/", ":")), abs=2)
    assert (need.method, need.margin) == ("header", 1.03)


def test_what_the_cpu_rearranges_is_its_own_and_counts_once() -> None:
    model = facts("qwen3/0.6b", "Q4_K_M")
    shape = Shape(context=4096, repack=True)
    need = on_cpu(model, shape, frozenset({"avx2"}))
    assert mib(need, "weights, rearranged") == pytest.approx(204.75, abs=0.1)  # fit.md 2.1, measured
    assert {part.kind for part in need.parts if part.name == "weights"} == {"file"}
    assert need.total == on_cpu(model, Shape(context=4096)).total
    on_arm = on_cpu(model, shape, frozenset({"neon", "dotprod"}))
    assert mib(on_arm, "weights, rearranged") > mib(need, "weights, rearranged")  # Q6_K too
    assert mib(on_cpu(model, shape, frozenset({"sse42"})), "weights, rearranged") == 0


def test_a_device_gets_all_but_the_embedding() -> None:
    model = facts("llama3.1/8b", "Q6_K")
    need = llamacpp_need(
        build(model),
        Shape(context=8192, gpu_layers=99),
        device_pool="gpu0",
        unified=False,
        features=frozenset(),
    )
    assert mib(need, "weights") == pytest.approx(411, abs=1)  # fit.md 6.8 (19)
    assert mib(need, "weights on the device", "gpu0") + mib(need, "weights") == pytest.approx(6283, abs=1)
    assert mib(need, "kv", "gpu0") == 1024
    assert mib(need, "compute", "gpu0") == pytest.approx(132, abs=0.1)
    assert need.of("host") < 600 * MIB


def test_a_tied_embedding_is_held_on_both_sides() -> None:
    model = facts("phi4-mini/3.8b", "Q4_K_M")
    shape = Shape(context=4096, gpu_layers=33)
    need = llamacpp_need(build(model), shape, device_pool="gpu0", unified=False, features=frozenset())
    assert mib(need, "weights") == pytest.approx(481, abs=1)  # fit.md 6.8 (25)
    assert need.of("gpu0") / MIB == pytest.approx(2965, abs=2)
    unified = llamacpp_need(build(model), shape, device_pool="gpu0", unified=True, features=frozenset())
    assert unified.of("host") == unified.total == need.total
    metal = llamacpp_need(
        build(model), shape, device_pool="gpu0", unified=True, features=frozenset(), api="metal"
    )
    assert need.total - metal.total == pytest.approx(
        481 * MIB, rel=0.01
    )  # Metal reads the mapped file itself


def test_the_output_is_the_first_layer_that_goes_to_the_device() -> None:
    model = facts("llama3.1/8b", "Q8_0")
    output = next(row.bytes for row in model.tensors if row.tensor_class == "output")
    places = [placed(model, layers, repack=False, features=frozenset()) for layers in (0, 1, 2, 32, 33, 99)]
    assert [place.device for place in places[:2]] == [0, output]
    assert all(place.device + place.mapped == model.tensor_bytes for place in places)
    assert places[3].device < places[4].device == places[5].device
    caches = [
        mib(
            llamacpp_need(
                build(model), Shape(context=4096, gpu_layers=layers), device_pool="g", unified=False, features=frozenset()
            ),
            "kv",
            "g",
        )
        for layers in (1, 2, 17, 33)
    ]  # fmt: skip
    assert caches == [0, 16, 256, 512]


def test_what_is_loaded_beside_the_model_counts() -> None:
    model, small = facts("qwen3/4b", "Q4_K_M"), facts("qwen3/0.6b", "Q8_0")
    shape = Shape(context=4096, draft_tokens=16)
    together = build(model, projector_bytes=600 * MIB, adapter_bytes=30 * MIB, draft=small)
    need = llamacpp_need(together, shape, device_pool=None, unified=False, features=frozenset())
    alone = llamacpp_need(build(model), shape, device_pool=None, unified=False, features=frozenset())
    assert need.total - alone.total - 630 * MIB == pytest.approx(
        small.tensor_bytes + (448 + 32) * MIB, rel=0.03
    )  # its own weights, cache and buffers
    assert output_bytes(model, shape) == 17 * output_bytes(model, Shape(context=4096))


def test_a_checkpoint_copies_windows_and_states_only() -> None:
    shape = Shape(context=32768, parallel=4)
    assert checkpoint_bytes(facts("gemma3/1b"), shape) == 22 * MIB
    assert checkpoint_bytes(facts("qwen3/4b"), shape) == 0


def test_an_encoder_remembers_nothing() -> None:
    need = on_cpu(facts("all-minilm/22m"), Shape(context=512, embedding=True))
    assert "kv" not in {part.name for part in need.parts}
    assert need.method == "header"


def test_guessed_facts_have_the_wide_margin() -> None:
    model, shape = facts("qwen3/4b", "Q4_K_M"), Shape(context=4096)
    known, guessed = (
        llamacpp_need(
            build(model, guessed=flag), shape, device_pool=None, unified=False, features=frozenset()
        )
        for flag in (False, True)
    )
    assert known.parts == guessed.parts
    assert (known.method, known.margin) == ("header", 1.03)
    assert (guessed.method, guessed.margin) == ("parameters", 1.12)


def test_vllm_shares_a_reservation() -> None:
    """The sums of fit.md 6.8 (22) and (23)."""
    model = facts("llama3.1/8b")
    need = vllm_need(build(model), Shape(context=4096, parallel=16), device_pool="gpu0")
    assert mib(need, "weights", "gpu0") == pytest.approx(15317, abs=1)
    room = UTILIZATION * 24564 * MIB - need.of("gpu0") + mib(need, "kv", "gpu0") * MIB
    assert room / MIB == pytest.approx(5255, abs=2)
    assert room / bytes_per_token(model, "f16") == pytest.approx(42036, rel=0.001)
    assert bytes_per_token(model, "fp8") == 64 * 1024


def test_mlx_and_onnx_count_their_own_caches() -> None:
    model = facts("qwen3/4b")
    mlx = mlx_need(build(model), Shape(context=4096), device_pool=None)
    assert (mib(mlx, "kv"), mlx.method, mlx.margin) == (576, "parameters", 1.12)
    assert mib(mlx, "compute") * MIB == pytest.approx(1e9, rel=0.001)
    onnx = onnx_need(build(model), Shape(context=4096, type_k="f32", type_v="f32"), device_pool=None)
    assert mib(onnx, "kv") == 1152  # F32
    on_gpu = onnx_need(build(model), Shape(context=4096), device_pool="gpu0")
    assert mib(on_gpu, "kv", "gpu0") == 576


@pytest.mark.parametrize("missing", ["layers", "kv_heads", "head_size_k", "hidden"])
def test_facts_without_a_size_are_refused(missing: str) -> None:
    model = dataclasses.replace(facts("qwen3/0.6b"), **{missing: None})  # type: ignore[arg-type]
    with pytest.raises(MalformedFile):
        on_cpu(model, Shape(context=4096))


SHAPES = st.builds(
    Shape,
    context=st.integers(2, 200_000),
    parallel=st.integers(1, 16),
    micro_batch=st.sampled_from([64, 512, 2048]),
    type_k=st.sampled_from(["f16", "q8_0", "q4_0"]),
    type_v=st.sampled_from(["f16", "q8_0", "q4_0"]),
    flash_attention=st.booleans(),
    gpu_layers=st.integers(0, 60),
    repack=st.booleans(),
)
ENTRIES = st.sampled_from(["qwen3/0.6b", "gemma3/1b", "llama3.1/8b", "phi4-mini/3.8b", "all-minilm/22m"])


@given(entry=ENTRIES, shape=SHAPES, unified=st.booleans())
def test_more_of_anything_never_needs_less(entry: str, shape: Shape, unified: bool) -> None:
    model = facts(entry)

    def need(**change: int) -> Need:
        changed = dataclasses.replace(shape, **change)  # type: ignore[arg-type]
        return llamacpp_need(
            build(model), changed, device_pool="gpu0", unified=unified, features=frozenset({"avx2"})
        )

    here = need()
    assert here.total == sum(here.of(pool) for pool in {part.pool for part in here.parts})
    assert all(part.bytes > 0 for part in here.parts)
    assert need(context=shape.context + 1000).total >= here.total
    assert need(parallel=shape.parallel + 1).total >= here.total
    if not unified:
        assert need(gpu_layers=shape.gpu_layers + 1).of("gpu0") >= here.of("gpu0")
    assert sum(layer.kv for layer in remembered(model, shape)) == total_remembered(model, shape).kv
