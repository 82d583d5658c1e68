"""Asking the engine what a header would take: what is asked, and what comes of bad headers and no time."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import EngineFailed, MalformedFile, StoreUnusable
from runtimes.engines.base import LaunchRequest
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.errors import EngineUnavailable
from runtimes.oracle import Place, measure, oracle_flags
from runtimes.planning.values import Build, Shape
from tests.runtimes.planning.headers import read
from tests.runtimes.planning.models import MODELS

SHAPE = Shape(context=4096)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS["qwen3"].write(tmp_path_factory.mktemp("oracle") / "qwen3.gguf")


def build_of(path: Path) -> Build:
    return Build(model="qwen3", variant="v", facts=read(path), size=path.stat().st_size)


def test_it_asks_for_what_the_worker_would_load() -> None:
    shape = Shape(
        context=3000, parallel=3, batch=1024, micro_batch=256, type_k="q8_0", type_v="f16", gpu_layers=7, embedding=True
    )  # fmt: skip
    request = LaunchRequest(
        model="m", context_length=3000, parallel=3, batch=1024, micro_batch=256, cache_type_k="q8_0", cache_type_v="f16",
        flash_attention=True, gpu_layers=7, main_gpu=1, embedding=True,
    )  # fmt: skip
    asked = oracle_flags(shape, Place(device_pool="gpu1", main_gpu=1))
    flags = LLAMA_CPP.command(request)["flags"]
    assert isinstance(flags, dict)
    assert asked.items() <= flags.items()
    assert {name for name in flags if name not in asked} <= {
        "cache_ram_mib", "mmap", "mlock", "warmup", "n_predict", "draft_tokens", "no_repack", "ctx_checkpoints", "repack",
        "context_checkpoints",
    }  # fmt: skip


def test_a_header_says_as_much_as_the_file(model: Path, tmp_path: Path) -> None:
    build = build_of(model)
    header = model.read_bytes()[: 64 * 1024]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    (of_file,) = measure(build, [SHAPE], model, environ=environ)
    (of_header,) = measure(build, [SHAPE], header, environ=environ)
    assert of_file == of_header
    assert of_header.need
    assert of_header.need.method == "oracle"
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_not_changed(model: Path) -> None:
    before = model.stat()
    measure(build_of(model), [SHAPE], model, environ=os.environ)
    after = model.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_one_answer_for_each_shape_in_their_order(model: Path) -> None:
    shapes = [Shape(context=context, parallel=parallel) for context in (8192, 512) for parallel in (2, 1)]
    found = measure(build_of(model), shapes, model, environ=os.environ)
    assert [each.shape for each in found] == shapes
    totals = [each.need.total for each in found if each.need]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda raw: b"GGUF" + bytes(4000), MalformedFile),
        (lambda raw: raw[: len(raw) // 20], MalformedFile),
        (lambda raw: raw.replace(b"qwen3", b"qwex3"), EngineUnavailable),
        (lambda raw: raw[:8] + struct.pack("<Q", 2**62) + raw[16:], MalformedFile),
    ],
    ids=["nothing in it", "cut short", "another architecture", "endless tensors"],
)
def test_what_is_no_model_is_a_refusal(model: Path, damage: object, error: type[Exception]) -> None:
    assert callable(damage)
    header = damage(model.read_bytes()[: 64 * 1024])
    (found,) = measure(build_of(model), [SHAPE], header, environ=os.environ)
    assert found.need is None
    assert found.refusal
    assert found.refusal.error is error


def test_an_engine_that_takes_long_is_ended(model: Path) -> None:
    begin = time.monotonic()
    found = measure(build_of(model), [SHAPE] * 3, model, environ=os.environ, seconds=0.0)
    assert [each.need for each in found] == [None] * 3
    assert time.monotonic() - begin < 20  # and not until somebody interrupts


def test_a_folder_that_cannot_be_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "is" / "not" / "there"))
    with pytest.raises(StoreUnusable, match="temporary file"):
        measure(build_of(model), [SHAPE], b"GGUF", environ=os.environ)


@pytest.mark.parametrize(
    "line", ["{", "a driver's greeting", "[]", "{}", '{"status": "", "log": 1}', "[" * 9999]
)
def test_what_a_library_prints_among_the_answers_is_a_child_that_failed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    program = tmp_path / "child.py"
    program.write_text(f"print({line!r})\n")
    monkeypatch.setattr("runtimes.oracle._PROGRAM", program)
    with pytest.raises(EngineFailed):
        measure(build_of(model), [SHAPE], model, environ=os.environ)


def test_a_size_that_no_file_has(model: Path) -> None:
    build = replace(build_of(model), size=2**70)
    with pytest.raises(StoreUnusable, match="temporary file"):
        measure(build, [SHAPE], model.read_bytes()[: 64 * 1024], environ=os.environ)
