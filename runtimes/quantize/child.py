"""Running runtimes/workers/llamacpp_quantize.py: its document, its progress and its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import numpy as np

from registry.errors import EngineFailed, MalformedFile, OperationFailed
from registry.formats.ggml_types import GgmlType
from registry.formats.gguf import TensorInfo
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.environment import worker_environment
from runtimes.errors import EngineUnavailable
from runtimes.launch import worker_argv
from runtimes.launcher import launch
from runtimes.logtail import LogTail
from runtimes.quantize.importance import ImportanceMatrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A tensor to be written. `source` is the number of its file, `importance` the name of its weights.

    Offsets are in bytes from the beginning of the files.
    """

    tensor: TensorInfo
    source: int
    source_offset: int
    made: GgmlType
    offset: int
    importance: str | None


def run(
    jobs: Sequence[Job],
    *,
    sources: Sequence[int],
    output: int,
    matrix: ImportanceMatrix | None,
    threads: int,
    environ: Mapping[str, str],
    on_progress: Callable[[int], None],
) -> None:
    """Have all jobs done, from and to open files; raises as `quantize.write`, and leaves no child behind."""
    with contextlib.ExitStack() as opened:
        weights, places = None, {}
        if matrix is not None:
            stream = opened.enter_context(tempfile.TemporaryFile(prefix="slmctl-imatrix-"))
            places = _write_weights(stream, jobs, matrix)
            weights = stream.fileno() if places else None
        passed = [*sources, output, *([weights] if weights is not None else [])]
        document = {
            "parent": os.getpid(),
            "sources": list(sources),
            "output": output,
            "matrix": weights,
            "threads": threads,
            "types": _types(jobs),
            "tensors": [_row(job, places) for job in jobs],
        }
        child = _launched(environ, passed)
        try:
            said = _follow(child, document, on_progress)
        finally:
            _end(child)
    if child.returncode != 0:
        _raise(child.returncode, said, jobs)


def _launched(environ: Mapping[str, str], passed: Sequence[int]) -> subprocess.Popen[bytes]:
    try:
        return launch(worker_argv("llamacpp_quantize"), env=worker_environment(environ), pass_fds=passed)
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise EngineFailed(f"The program that quantizes cannot be run ({reason}).") from None


def _follow(
    child: subprocess.Popen[bytes], document: Mapping[str, Any], on_progress: Callable[[int], None]
) -> str:
    """Tell the child what to do and pass on how far it is, until it ends; gives its last words."""
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    log = LogTail([child.stderr])
    try:
        with contextlib.suppress(BrokenPipeError):  # what it died of is in its words
            _send(child.stdin, json.dumps(document).encode() + b"\n")
        read = 0
        with open(child.stdout.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # it was killed
                now = int(json.loads(line)["read"])
                if now > read:
                    on_progress(now - read)
                    read = now
        child.wait()
    except BaseException:
        child.kill()
        raise
    finally:
        log.finish()
    return log.text()


def _send(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()  # nothing, where it has ended
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _types(jobs: Sequence[Job]) -> dict[str, list[int]]:
    kinds = {kind for job in jobs for kind in (job.tensor.type, job.made)}
    return {kind.name: [kind.id, kind.block_size, kind.block_bytes] for kind in kinds}


def _row(job: Job, places: Mapping[str, int]) -> list[object]:
    columns, *others = job.tensor.dims
    return [
        job.source,
        job.source_offset,
        job.tensor.type.name,
        job.offset,
        job.made.name,
        columns,
        job.tensor.elements // columns,
        others[0] if others else 1,
        places.get(job.importance) if job.importance is not None else None,
    ]


def _write_weights(stream: IO[bytes], jobs: Sequence[Job], matrix: ImportanceMatrix) -> dict[str, int]:
    """The weights of all jobs that have some, one after the other: where each begins."""
    places = {}
    for name in (job.importance for job in jobs):
        if name is not None:
            places[name] = stream.tell()
            stream.write(np.ascontiguousarray(matrix.weights[name], "<f4").tobytes())
    stream.flush()
    return places


def _raise(status: int, said: str, jobs: Sequence[Job]) -> NoReturn:
    report = _report(said)
    message = str(report.get("message", ""))
    match report.get("kind"):
        case "data" | "range" as kind:
            number = report.get("tensor")
            name = jobs[number].tensor.name if isinstance(number, int) else "a tensor"
            sentence = f"The values of {name} cannot be quantized: {message}."
            if kind == "data":
                raise MalformedFile(sentence, hint="The source is damaged.")
            raise OperationFailed(sentence, hint="They are too large; BF16 and F32 hold larger ones.")
        case "source":
            raise MalformedFile(f"The source could not be read to its end: {message}.")
        case "output":
            code = report.get("errno")
            raise OSError(code if isinstance(code, int) else 0, message)
        case "build":
            raise EngineUnavailable(
                f"This build of xllamacpp is not one that slmctl can quantize with: {message}.",
                hint="Version 2026.10.11549 is.",
            )
    raise LLAMA_CPP.explain(status, said).as_error()


def _report(said: str) -> Mapping[str, Any]:
    """What the child said of its end, or nothing."""
    for line in reversed(said.splitlines()):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line)
            report = found.get("slmctl_worker_error") if isinstance(found, dict) else None
            if isinstance(report, dict):
                return report
    return {}
