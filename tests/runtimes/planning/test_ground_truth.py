"""What we say that a load takes, held against what llama.cpp says of the same load.

Every model is a header and a hole (`models`). The engine plans its buffers for it in a child process and
prints them: what the tests compare with is its own figures, not ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from registry.formats.facts import ModelFacts
from runtimes.oracle import Place, ask, measure
from runtimes.planning.buffer_lines import Buffers, parse
from runtimes.planning.compute import is_covered
from runtimes.planning.memory import ORACLE_MARGIN, PARAMETERS_MARGIN, llamacpp_need
from runtimes.planning.values import Build, Need, Shape
from tests.runtimes.planning.headers import read
from tests.runtimes.planning.models import MODELS

MIB = 2**20

pytestmark = pytest.mark.xdist_group("ground truth")  # the loads are one fixture

SHAPES: dict[str, Shape] = {
    "4k": Shape(context=4096),
    "32k": Shape(context=32768),
    "odd": Shape(context=5001),
    "two slots": Shape(context=4096, parallel=2),
    "seven slots": Shape(context=1000, parallel=7),
    "small batches": Shape(context=4096, micro_batch=128),
    "large batches": Shape(context=8192, micro_batch=2048),
    "q8_0": Shape(context=4096, type_k="q8_0", type_v="q8_0"),
    "q4_0, two slots": Shape(context=8192, type_k="q4_0", type_v="q4_0", parallel=2),
    "mixed types": Shape(context=4096, type_k="q8_0", type_v="f16"),
    "no flash attention": Shape(context=4096, flash_attention=False),
}

NOT_COVERED = {
    *("qwen3moe", "olmoe", "mamba", "mamba2", "granitehybrid", "jamba", "deepseek2", "gemma3n", "qwen35"),
    *("gpt-oss", "falcon-h1", "lfm2moe"),
}
NOT_COVERED_WITHOUT_FLASH_ATTENTION = NOT_COVERED | {
    *(
        "phi3",
        "gemma2",
        "gemma3",
        "starcoder2",
        "gptneox",
        "bert",
        "olmo2",
        "exaone4",
        "lfm2",
        "gemma",
        "mistral3",
    ),
}

HEADER_BYTES = 128 * 1024  # all that a model takes on the disk; most take less than 16 KiB

REFUSED = {
    ("deepseek2", "mixed types"): "could not make a context",  # latent attention has one cache for both
    ("bert", "seven slots"): "its check",  # the mean over tokens: slots must divide the batch, or it aborts
}

Loads = Mapping[tuple[str, str], Buffers]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("headers")
    return {
        name: header.write(folder / f"{number}.gguf") for number, (name, header) in enumerate(MODELS.items())
    }


@pytest.fixture(scope="module")
def facts(files: dict[str, Path]) -> dict[str, ModelFacts]:
    return {name: read(path) for name, path in files.items()}


@pytest.fixture(scope="module")
def loads(files: dict[str, Path]) -> Loads:
    """What the engine says of every model in every shape."""
    cases = [(name, shape) for name in MODELS for shape in SHAPES]
    questions = [(files[name], shape_of(name, shape)) for name, shape in cases]
    answers = ask(questions, Place(), environ=os.environ)
    return {case: parse(log) for case, (_, log) in zip(cases, answers, strict=True)}


def shape_of(name: str, shape: str) -> Shape:
    found = SHAPES[shape]
    if name == "bert":
        return Shape(**{field: getattr(found, field) for field in found.__slots__} | {"embedding": True})
    return found


def need_of(facts: ModelFacts, shape: Shape) -> Need:
    build = Build(model="m", variant="v", facts=facts, size=facts.tensor_bytes)
    return llamacpp_need(build, shape, device_pool=None, unified=False, features=frozenset())


def part(need: Need, name: str) -> int:
    return sum(each.bytes for each in need.parts if each.name == name)


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in MODELS for shape in SHAPES if (name, shape) not in REFUSED]
)
def test_the_estimate_is_the_engines_own(
    name: str, shape: str, loads: Loads, facts: dict[str, ModelFacts]
) -> None:
    said, need = loads[name, shape], need_of(facts[name], shape_of(name, shape))
    assert said.complete
    for component in ("weights", "kv", "state", "output"):
        assert part(need, component) / MIB == pytest.approx((said.total(component) or 0) / MIB, abs=0.1), (
            component
        )
    compute = said.total("compute")
    assert compute
    not_covered = NOT_COVERED if SHAPES[shape].flash_attention else NOT_COVERED_WITHOUT_FLASH_ATTENTION
    if name in not_covered:
        assert (need.method, need.margin) == ("parameters", PARAMETERS_MARGIN)
    else:
        assert need.method == "header"
        assert part(need, "compute") == pytest.approx(compute, rel=0.02)


def test_the_models_are_headers_and_holes(files: dict[str, Path]) -> None:
    for path in files.values():
        assert path.stat().st_blocks * 512 <= HEADER_BYTES < path.stat().st_size / 50


@pytest.mark.parametrize(("name", "shape"), REFUSED)
def test_the_oracle_tells_what_the_engine_refuses(
    name: str, shape: str, files: dict[str, Path], facts: dict[str, ModelFacts]
) -> None:
    build = Build(model=name, variant="v", facts=facts[name], size=files[name].stat().st_size)
    (found,) = measure(build, [shape_of(name, shape)], files[name], environ=os.environ)
    assert found.need is None
    assert found.refusal
    assert REFUSED[name, shape] in found.refusal.sentence


@pytest.mark.parametrize("name", sorted(NOT_COVERED))
def test_the_oracle_knows_what_the_formula_does_not(
    name: str, files: dict[str, Path], facts: dict[str, ModelFacts], loads: Loads
) -> None:
    path = files[name]
    build = Build(model=name, variant="v", facts=facts[name], size=path.stat().st_size)
    header = path.read_bytes()[: 256 * 1024]
    wanted = ("4k", "two slots")
    found = measure(build, [SHAPES[shape] for shape in wanted], header, environ=os.environ)
    for shape, measurement in zip(wanted, found, strict=True):
        assert not is_covered(facts[name], SHAPES[shape])
        assert measurement.refusal is None
        assert measurement.need
        assert (measurement.need.method, measurement.need.margin) == ("oracle", ORACLE_MARGIN)
        said = loads[name, shape]
        for component in ("kv", "state", "compute", "output"):
            assert part(measurement.need, component) == (said.total(component) or 0), component
