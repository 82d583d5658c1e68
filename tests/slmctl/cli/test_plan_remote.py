"""`slmctl plan` of a model that lies elsewhere: what it costs to know, in bytes and requests.

One header is enough for all GGUF builds of a repository: quantizations of one model differ in their types alone,
those follow from the recipe that the label names, and the listing says how large each file is. A manifest of
slmctl's own has the facts in it, so that not even a header is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import FakeHub, serve_hub
from tests.fakes.registry import FakeRegistry, fake_registry
from tests.slmctl.cli.program import Program
from tools.random_build import make_random_build
from tools.random_model import Shape

SHAPE = Shape(layers=4, hidden=256, heads=4, kv_heads=2, head_size=64, feed_forward=768, vocabulary=32000)
LABELS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M")
MORE = ("Q5_K_S", "Q4_K_S", "Q4_0", "Q3_K_L", "Q3_K_S", "Q2_K", "IQ4_XS", "IQ4_NL", "Q5_0", "Q4_1")
HEADER_BYTES = 1 << 20
"""Room for the header of a vocabulary of 32,000: metadata, tokens, scores and the table of tensors."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("builds")
    for label in LABELS:
        make_random_build(folder / f"m-{label}.gguf", SHAPE, label)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def hub(files: dict[str, bytes], slmctl: Program) -> Iterator[FakeHub]:
    """Two repositories of the same model: one with six builds, one with sixteen."""
    # the others are listed under their labels, and never looked into
    more = files | {f"m-{label}.gguf": files["m-Q4_K_M.gguf"] + label.encode() for label in MORE}
    with serve_hub({"org/six-GGUF": files, "org/sixteen-GGUF": more}) as fake:
        slmctl.go_online()
        slmctl.environment["HF_ENDPOINT"] = fake.endpoint
        yield fake


def _tell(text: str) -> None:
    """A figure to look at, with `pytest -s`."""
    print(text)  # noqa: T201


def _plan(slmctl: Program, *arguments: str) -> dict[str, Any]:
    begin = time.perf_counter()
    done = slmctl("plan", *arguments, "--json")
    _tell(f"\nslmctl plan {' '.join(arguments)}: {time.perf_counter() - begin:.2f} s")
    assert done.code == 0, done.err
    return done.json


def test_a_repository_costs_one_header_however_many_builds_it_has(slmctl: Program, hub: FakeHub) -> None:
    costs = []
    for name in ("org/six-GGUF", "org/sixteen-GGUF"):
        hub.delivered.clear()
        hub.requests.clear()
        hub.cdn.requests.clear()
        planned = _plan(slmctl, f"hf.co/{name}", "--ctx", "2048")
        transferred = sum(size for _, size in hub.delivered)
        whole = sum(len(data) for data in hub.repositories[name].values())
        _tell(
            f"{transferred:,} of {whole:,} bytes in {len(hub.delivered)} ranges, {len(hub.requests)} questions"
        )
        assert {path for path, _ in hub.delivered} == {f"/{name}/m-Q4_K_M.gguf"}
        assert all("range" in request.headers for request in hub.cdn.requests)
        assert 0 < transferred <= HEADER_BYTES < whole / 40
        assert planned["verdict"] == "ok"
        assert not slmctl.store.exists() or not list((slmctl.store / "blobs").rglob("*"))
        costs.append((transferred, len(hub.delivered), len(hub.requests)))
    assert costs[0] == costs[1]


def test_a_build_that_is_named_costs_its_own_header(slmctl: Program, hub: FakeHub) -> None:
    planned = _plan(slmctl, "hf.co/org/six-GGUF:Q8_0")
    assert planned["choice"]["variant"] == "gguf-q8_0"
    assert {path for path, _ in hub.delivered} == {"/org/six-GGUF/m-Q8_0.gguf"}
    assert sum(size for _, size in hub.delivered) <= HEADER_BYTES


def test_the_sizes_from_one_header_are_those_of_the_builds(
    slmctl: Program, hub: FakeHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    """What was worked out from the header of Q4_K_M is what every other file really holds."""
    for label in LABELS:
        planned = _plan(slmctl, "hf.co/org/six-GGUF", "--variant", label, "--ctx", "2048", "--force")
        weights = sum(
            part["bytes"] for part in planned["memory"]["parts"] if part["name"].startswith("weights")
        )
        (tmp_path / "local.gguf").write_bytes(files[f"m-{label}.gguf"])
        local = _plan(slmctl, str(tmp_path / "local.gguf"), "--ctx", "2048", "--force")
        assert planned["choice"]["variant"] == local["choice"]["variant"]
        assert planned["memory"]["parts"] == local["memory"]["parts"]
        assert 0 < weights < len(files[f"m-{label}.gguf"])


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as fake:
        yield fake


@pytest.mark.parametrize(("dialect", "ranges"), [("modelpack", 0), ("ollama", 1), ("docker", 1)])
def test_a_registry_costs_its_manifests_and_a_header_where_they_have_no_facts(
    slmctl: Program,
    registry: FakeRegistry,
    files: dict[str, bytes],
    tmp_path: Path,
    dialect: str,
    ranges: int,
) -> None:
    (tmp_path / "m.gguf").write_bytes(files["m-Q6_K.gguf"])
    author = Program(tmp_path / "author", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    author.go_online()
    assert author("create", "m", "--from", str(tmp_path / "m.gguf")).code == 0
    place = f"{registry.server.place}/team/m:v1"
    pushed = author("push", "m", place, "--format", dialect)
    assert pushed.code == 0, pushed.err
    registry.requests.clear()
    slmctl.go_online()
    planned = _plan(slmctl, place)
    assert planned["choice"]["variant"] == "gguf-q6_k"
    weights = [
        request
        for request in registry.requests
        if "/blobs/" in request.path
        and len(registry.blobs["team/m", request.path.rpartition("/")[2]]) > HEADER_BYTES
    ]
    spans = [request.headers["range"].removeprefix("bytes=").split("-") for request in weights]
    transferred = sum(int(last) - int(first) + 1 for first, last in spans)
    _tell(f"{dialect}: {transferred:,} bytes of weights' headers, {len(registry.requests)} requests")
    assert (len(weights) > 0) == (ranges > 0)
    assert transferred <= HEADER_BYTES
