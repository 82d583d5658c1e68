"""Real loads by the worker: that its log has the engine's figures, and that an estimate is compared with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from runtimes.client import Client
from runtimes.engines.base import LaunchRequest
from runtimes.planning.buffer_lines import Buffers, compare, parse
from runtimes.planning.memory import llamacpp_need
from runtimes.planning.values import Build, Need, Shape
from runtimes.process import Worker
from runtimes.protocol import completion_request
from runtimes.sampling import Sampling
from tests.processes import until
from tests.runtimes.launches import llama_worker
from tests.runtimes.planning.blocks import dense
from tests.runtimes.planning.headers import read
from tools.random_model import Shape as ModelShape
from tools.random_model import write_random_model

MIB = 2**20


def figures(worker: Worker) -> Buffers:
    """What the worker's log says, which llama.cpp writes from a thread of its own."""
    until(lambda: parse(worker.stderr_tail).complete or None)
    return parse(worker.stderr_tail)


def need_of(path: Path, shape: Shape, features: frozenset[str] = frozenset()) -> Need:
    facts = read(path)
    build = Build(model="m", variant="v", facts=facts, size=facts.tensor_bytes)
    return llamacpp_need(build, shape, device_pool=None, unified=False, features=features)


def test_the_figures_of_a_load_are_read_back(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "random.gguf"
    write_random_model(path, shape=ModelShape(layers=3, feed_forward=768), tensor_type="Q8_0")
    request = LaunchRequest(
        model="", context_length=1024, parallel=2, threads=1, batch_threads=1, micro_batch=256,
        cache_type_k="q8_0", cache_type_v="q8_0", flash_attention=True, cache_ram_mib=0,
    )  # fmt: skip
    need = need_of(path, Shape(context=1024, parallel=2, micro_batch=256, type_k="q8_0", type_v="q8_0"))
    with llama_worker(base, path, request) as worker:
        errors = compare(need, figures(worker))
        list(Client(worker.endpoint, worker).stream(completion_request("tree", Sampling(num_predict=3))))
        log = worker.stderr_tail
    assert set(errors) == {"weights", "kv", "compute", "output", "total"}
    assert all(abs(error) < 0.02 for name, error in errors.items() if name != "output"), errors
    # which is 0.01 MiB, the least that the engine prints
    assert errors["output"] == pytest.approx(0.0, abs=0.3)
    assert "sampler params" not in log  # the level of the load is not that of the requests


@pytest.mark.parametrize(
    ("matrices", "tied"), [("Q4_0", False), ("Q4_K", False), ("Q6_K", False), ("Q4_0", True), ("Q6_K", True)]
)
def test_what_the_engine_rearranges(base: Path, tmp_path: Path, matrices: str, *, tied: bool) -> None:
    header = dense("llama", (2, 512, 8, 4, 64, 1536), tied=tied, matrices=matrices)
    path = header.write(tmp_path / "hole.gguf")
    request = LaunchRequest(
        model="", context_length=256, threads=1, batch_threads=1, warmup=False, cache_ram_mib=0
    )
    with llama_worker(base, path, request) as worker:
        found = figures(worker)
        log = worker.stderr_tail
    features = frozenset(name for name in ("avx2", "dotprod", "i8mm") if f"{name.upper()} = 1" in log)
    need = need_of(path, dataclasses.replace(Shape(context=256), repack=True), features)
    copied = sum(each.bytes for each in need.parts if each.name.endswith(", rearranged"))
    assert found.by_buffer["weights"].get("CPU_REPACK", 0) / MIB == pytest.approx(copied / MIB, abs=0.1)
    assert compare(need, found)["weights"] == pytest.approx(0.0, abs=0.005)
    assert ("avx2" in features and matrices != "Q6_K") <= (copied > 3 * MIB)
