"""Asking llama.cpp itself what a model would take, from the header of its file: before there are weights.

The engine plans all of its buffers and allocates none (`no_alloc`), in a child process: it costs a third of a
second and some 60 MB, for a file that may be a header and a hole. Method: fit.md 2.5; the child is
runtimes/workers/llamacpp_oracle.py. Only GGUF in one file.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import EngineFailed, StoreUnusable
from runtimes.engines.base import Explanation
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.environment import worker_environment
from runtimes.errors import EngineUnavailable
from runtimes.planning.buffer_lines import parse
from runtimes.planning.measured import measured_need
from runtimes.planning.memory import llamacpp_need
from runtimes.planning.values import Build, Need, Shape

_PROGRAM = Path(__file__).parent / "workers" / "llamacpp_oracle.py"
_START_SECONDS = 30.0  # to start Python and import the engine, on a slow disk
_MEMORY = 4 * 2**30  # a vocabulary of a million tokens takes less


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it would run, as in `llamacpp_need`; `main_gpu` is the device's number in the engine's list."""

    device_pool: str | None = None
    unified: bool = False
    features: frozenset[str] = frozenset()
    api: str = "cpu"
    main_gpu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the engine said of one shape: what it needs, or why it will not load the model like this."""

    shape: Shape
    need: Need | None
    refusal: Explanation | None


def measure(
    build: Build,
    shapes: Sequence[Shape],
    model: Path | bytes,
    *,
    environ: Mapping[str, str],
    place: Place | None = None,
    seconds: float = 20.0,
) -> tuple[Measurement, ...]:
    """What `build` takes in each of the shapes. `model` is its file, or the bytes of its GGUF header.

    `seconds` is for each shape; one that takes longer is a refusal. `environ` is what the child's environment
    is chosen from. The model's file is not changed. Raises EngineUnavailable where there is no engine to ask,
    EngineFailed where the child fails, StoreUnusable where no temporary file can be written.
    """
    if not isinstance(model, bytes):
        return _measure(build, shapes, model, environ, place or Place(), seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="slmctl-header-") as folder:
            path = Path(folder) / "model.gguf"
            _write_with_hole(path, model, max(build.size, len(model)))
            return _measure(build, shapes, path, environ, place or Place(), seconds)
    except (OSError, OverflowError) as error:  # a size that is none
        why = os.strerror(getattr(error, "errno", None) or errno.EFBIG)
        raise StoreUnusable(
            f"The header of {build.model} cannot be written to a temporary file ({why})."
        ) from None


def oracle_flags(shape: Shape, place: Place) -> dict[str, object]:
    """The flags that memory depends on, as the worker would get them."""
    flags: dict[str, object] = {
        "n_ctx": shape.context * shape.parallel,
        "n_parallel": shape.parallel,
        "n_batch": shape.batch,
        "n_ubatch": shape.micro_batch,
        "n_gpu_layers": shape.gpu_layers if place.device_pool is not None else 0,
        "cache_type_k": shape.type_k,
        "cache_type_v": shape.type_v,
        "flash_attention": shape.flash_attention,
    }
    if place.main_gpu is not None:
        flags["main_gpu"] = place.main_gpu
    if shape.embedding:
        flags["embedding"] = True
    return flags


def ask(
    questions: Sequence[tuple[Path, Shape]],
    place: Place,
    *,
    environ: Mapping[str, str],
    seconds: float = 20.0,
) -> list[tuple[int, str]]:
    """For each file and shape how the load ended (0 or a signal, negative) and all that the engine wrote.

    One child answers all questions. Raises as `measure`.
    """
    document = {
        "parent": os.getpid(),
        "seconds": seconds,
        "memory": _MEMORY,
        "measurements": [
            {"model": str(path.absolute()), "flags": oracle_flags(shape, place)} for path, shape in questions
        ],
    }
    try:
        child = subprocess.run(
            [sys.executable, "-P", str(_PROGRAM)],
            input=json.dumps(document).encode() + b"\n",
            capture_output=True,
            env=worker_environment(environ),
            timeout=_START_SECONDS + seconds * len(questions),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineFailed("llama.cpp took too long to say what the model needs.") from None
    answers = _answers(child.stdout)
    if child.returncode != 0 or answers is None or len(answers) != len(questions):
        explanation = LLAMA_CPP.explain(child.returncode, child.stderr.decode(errors="replace"))
        raise (EngineUnavailable if explanation.error is EngineUnavailable else EngineFailed)(
            explanation.sentence, hint=explanation.hint
        )
    return answers


def _answers(stdout: bytes) -> list[tuple[int, str]] | None:
    """What the child answered, a line each; None where a line is something else."""
    try:
        found = [json.loads(line) for line in stdout.splitlines()]
        answers = [(answer["status"], answer["log"]) for answer in found]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    if not all(isinstance(status, int) and isinstance(log, str) for status, log in answers):
        return None
    return answers


def _measure(
    build: Build,
    shapes: Sequence[Shape],
    path: Path,
    environ: Mapping[str, str],
    place: Place,
    seconds: float,
) -> tuple[Measurement, ...]:
    answers = ask([(path, shape) for shape in shapes], place, environ=environ, seconds=seconds)
    return tuple(_said(build, shape, place, *answer) for shape, answer in zip(shapes, answers, strict=True))


def _said(build: Build, shape: Shape, place: Place, status: int, log: str) -> Measurement:
    buffers = parse(log)
    if not buffers.complete:
        return Measurement(shape=shape, need=None, refusal=LLAMA_CPP.explain(status, log))
    need = llamacpp_need(
        build,
        shape,
        device_pool=place.device_pool,
        unified=place.unified,
        features=place.features,
        api=place.api,
    )
    return Measurement(shape=shape, need=measured_need(need, buffers), refusal=None)


def _write_with_hole(path: Path, header: bytes, size: int) -> None:
    """A file of this size that begins with the header; the rest takes no room on the disk."""
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(size)
