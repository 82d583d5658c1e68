"""The program that quantizes, when something is not as it should be."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from registry.errors import MalformedFile, SlmctlError
from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from registry.formats.gguf import TensorInfo
from runtimes.errors import EngineUnavailable
from runtimes.launch import worker_argv
from runtimes.quantize.child import Job, run

F16 = GGML_TYPES_BY_NAME["F16"]
Q8_0 = GGML_TYPES_BY_NAME["Q8_0"]
JOB = Job(
    tensor=TensorInfo(name="a.weight", dims=(32, 4), type=F16, offset=0, size_bytes=256),
    source=0,
    source_offset=0,
    made=Q8_0,
    offset=0,
    importance=None,
)


def do(
    job: Job,
    folder: Path,
    *,
    data: bytes = bytes(256),
    flags: int = os.O_RDWR,
    environ: Mapping[str, str] = os.environ,
) -> bytes:
    source, made = folder / "source", folder / "made"
    source.write_bytes(data)
    made.touch()
    descriptors = [os.open(source, os.O_RDONLY), os.open(made, flags)]
    try:
        run(
            [job],
            sources=descriptors[:1],
            output=descriptors[1],
            matrix=None,
            threads=2,
            environ=environ,
            on_progress=lambda _: None,
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return made.read_bytes()


def test_zeros_are_zeros(tmp_path: Path) -> None:
    assert do(JOB, tmp_path) == bytes(4 * 34)


@pytest.mark.parametrize(
    "change", [{"block_bytes": 36}, {"block_size": 16}, {"name": "Q8_2"}, {"id": 9}, {"id": 5}]
)
def test_another_build_of_a_type_is_refused(tmp_path: Path, change: dict[str, int | str]) -> None:
    strange = dataclasses.replace(Q8_0, **change)  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match="not one that slmctl can quantize with"):
        do(dataclasses.replace(JOB, made=strange), tmp_path)


def test_a_source_that_ends_too_early(tmp_path: Path) -> None:
    with pytest.raises(MalformedFile, match="could not be read to its end"):
        do(JOB, tmp_path, data=bytes(255))


def test_what_cannot_be_written_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        do(JOB, tmp_path, flags=os.O_RDONLY)
    assert not isinstance(caught.value, SlmctlError)
    assert caught.value.errno is not None


def test_without_the_engine_it_says_so() -> None:
    """As where xllamacpp has no wheel: the program finds no package at all."""
    python, *rest = worker_argv("llamacpp_quantize")
    document = f'{{"parent": {os.getpid()}, "sources": [], "output": 1, "types": {{}}, "tensors": [], '
    with subprocess.Popen(
        [python, "-S", *rest], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write((document + '"matrix": null, "threads": 1}\n').encode())
        child.stdin.flush()  # and stays open: its end would end the child
        said = child.stderr.read()
    assert child.returncode == 1
    assert b"No module named 'xllamacpp'" in said
    assert b"Traceback" not in said


_OTHER_STRUCTURE = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
import llamacpp_quantize as worker

class TypeTraits(ctypes.Structure):  # another function stands where the one that reads a type was
    _fields_ = [*worker.TypeTraits._fields_[:5], ("from_float_ref", ctypes.c_void_p), ("to_float", ctypes.c_void_p)]

types = {"F16": [1, 1, 2], "Q8_0": [8, 32, 34], "Q4_K": [12, 256, 144]}
worker.Ggml(types, set())
worker.TypeTraits = TypeTraits
for name, facts in types.items():
    try:
        worker.Ggml({name: facts}, set())
    except worker.Failure as failure:
        print(failure.document)
"""


def test_another_function_in_the_place_of_one_is_refused() -> None:
    """As a later ggml may have it: names and sizes are the same, and memory would be written over."""
    program = worker_argv("llamacpp_quantize")[-1]
    found = subprocess.run(
        [sys.executable, "-P", "-c", _OTHER_STRUCTURE, str(Path(program).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == [
        f"{{'kind': 'build', 'message': 'it reads {name} in a way that is not known'}}"
        for name in ("F16", "Q8_0", "Q4_K")
    ]


def test_it_ends_when_standard_input_does() -> None:
    child = subprocess.run(
        [sys.executable, *worker_argv("llamacpp_quantize")[1:]], input=b"", capture_output=True, check=False
    )
    assert child.returncode == 1
    assert b"no document" in child.stderr
