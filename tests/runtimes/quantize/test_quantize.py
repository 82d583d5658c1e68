"""Whole quantizations, with the engine's kernels: what llama-cpp-python made of the same, and what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from registry.errors import MalformedFile, NotFound, OperationFailed, UsageError
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from runtimes.planning.mix import is_exact, quantized_bytes
from runtimes.quantize.quantize import Prepared, prepare, write
from runtimes.quantize.request import QuantizeRequest
from tests.processes import children, until, wait_until_gone
from tests.runtimes.quantize.golden import EVERY, MODELS, every_type, golden, requests
from tests.runtimes.quantize.models import (
    Sizes,
    importance,
    random_tensors,
    write_importance,
    write_model,
)

REPOSITORY = Path(__file__).parents[3]
SIZES = Sizes()


def made(request: QuantizeRequest, path: Path) -> bytes:
    path.touch()
    write(prepare(request), path, environ=os.environ, on_progress=lambda _: None)
    return path.read_bytes()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.gguf"
    write_model(path, SIZES)
    return path


def test_every_header_is_llama_quantizes(tmp_path: Path) -> None:
    """Types, offsets and keys of every file type, with and without an importance matrix."""
    recorded = golden()
    seen = 0
    for model, label, request, _, _ in requests(tmp_path):
        prepared = prepare(request)
        assert hashlib.sha256(prepared.header).hexdigest() == recorded[model][label][0], (model, label)
        seen += 1
    assert seen == sum(map(len, recorded.values())) > 150


def test_the_plan_foresees_every_byte(tmp_path: Path) -> None:
    """What `mix` says of a model's facts, before there is a file, is what its tensors then take."""
    for _, label, request, _, _ in requests(tmp_path):
        if label == EVERY:
            continue
        with request.sources[0].open("rb") as stream:
            facts = facts_from_gguf([read_header(stream)])
        assert is_exact(facts)
        foreseen = quantized_bytes(facts, request.quantization, importance_matrix=request.imatrix is not None)
        prepared = prepare(request)
        made = read_header(io.BytesIO(prepared.header), size=prepared.size)
        assert sum(tensor.size_bytes for tensor in made.tensors) == foreseen, label


@pytest.mark.parametrize(
    ("model", "label"),
    [
        pytest.param("even", EVERY, marks=pytest.mark.compat),  # ggml builds tables for seconds first
        ("even", "IQ2_M measured"),
        ("odd", "Q4_K_M"),
        ("odd", "IQ4_XS measured"),
        ("experts", "Q3_K_M measured"),
    ],
)
def test_the_data_is_llama_quantizes(tmp_path: Path, model: str, label: str) -> None:
    """Every kernel there is, rows that do not divide, and experts with weights of their own."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("other compilers fuse multiplications and additions")
    source, matrix = tmp_path / "source.gguf", tmp_path / "even-matrix.gguf"
    write_model(source, MODELS[model], kind="BF16")
    matrix = tmp_path / f"{model}-matrix.gguf"
    write_importance(matrix, importance(MODELS[model]), MODELS[model])
    plain, _, measured = label.partition(" ")
    request = every_type(source, matrix)
    if label != EVERY:
        request = QuantizeRequest(
            sources=(source,), quantization=plain, imatrix=matrix if measured else None, threads=3
        )
    file = made(request, tmp_path / "made.gguf")
    start = len(prepare(request).header)
    assert hashlib.sha256(file[start:]).hexdigest() == golden()[model][label][1]


def test_progress_adds_up_to_the_source(source: Path, tmp_path: Path) -> None:
    prepared = prepare(QuantizeRequest(sources=(source,), quantization="Q4_K_M"))
    path = tmp_path / "made.gguf"
    path.write_bytes(b"something else")
    told: list[int] = []
    write(prepared, path, environ=os.environ, on_progress=told.append)
    with source.open("rb") as stream:
        assert sum(told) == prepared.source_bytes == sum(t.size_bytes for t in read_header(stream).tensors)
    assert min(told) > 0
    assert path.stat().st_size == prepared.size
    with path.open("rb") as stream:
        header = read_header(stream)
    assert header.metadata["general.file_type"] == 15
    assert [tensor.name for tensor in header.tensors][:4] == [
        "output.weight", "output_norm.weight", "token_embd.weight", "blk.0.attn_k.weight",
    ]  # fmt: skip


def test_values_come_back(source: Path, tmp_path: Path) -> None:
    made(QuantizeRequest(sources=(source,), quantization="Q8_0"), tmp_path / "made.gguf")
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "made.gguf").tensors}
    for name, values in random_tensors(SIZES, 7).items():
        back = gguf.quants.dequantize(found[name].data, found[name].tensor_type)
        assert np.abs(back.reshape(values.shape) - values).max() <= np.abs(values).max() / 120


def test_parts_become_one_file(source: Path, tmp_path: Path) -> None:
    parts = _split(source, tmp_path)
    request = QuantizeRequest(sources=parts, quantization="Q5_K_M")
    whole = QuantizeRequest(sources=(source,), quantization="Q5_K_M")
    assert made(request, tmp_path / "a.gguf") == made(whole, tmp_path / "b.gguf")
    with pytest.raises(MalformedFile, match="in 3 files"):
        prepare(QuantizeRequest(sources=parts[:2], quantization="Q5_K_M"))


def _split(source: Path, folder: Path) -> tuple[Path, ...]:
    """The model in three files, as gguf-split writes them."""
    values = random_tensors(SIZES, 7)
    names = [list(values)[start::3] for start in range(3)]
    reader = gguf.GGUFReader(source)
    parts = []
    for number, members in enumerate(names):
        path = folder / f"part-{number + 1:05d}-of-00003.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            for key, field in reader.fields.items():
                if not key.startswith(("GGUF.", "general.architecture")):
                    kind = field.types[0]
                    writer.add_key_value(
                        key, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None
                    )
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 3)
        writer.add_int32("split.tensors.count", len(values))
        for name in members:
            writer.add_tensor(name, values[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(path)
    return tuple(parts)


def test_a_quantized_source_needs_a_word(source: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.gguf"
    made(QuantizeRequest(sources=(source,), quantization="Q8_0"), first)
    with pytest.raises(UsageError, match="is Q8_0 already") as caught:
        prepare(QuantizeRequest(sources=(first,), quantization="Q4_0"))
    assert caught.value.hint is not None
    assert "--allow-requantize" in caught.value.hint
    prepare(QuantizeRequest(sources=(first,), quantization="Q8_0"))  # nothing is done twice
    again = QuantizeRequest(sources=(first,), quantization="Q4_0", allow_requantize=True)
    assert len(made(again, tmp_path / "again.gguf")) < first.stat().st_size


@pytest.mark.parametrize("label", ["IQ2_XXS", "IQ3_XXS", "Q2_K_S", "IQ1_M"])
def test_what_needs_an_importance_matrix_says_so(source: Path, tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match=f"{label} needs an importance matrix"):
        prepare(QuantizeRequest(sources=(source,), quantization=label))
    matrix = tmp_path / "matrix.gguf"
    missing = "blk.1.ffn_up.weight"
    write_importance(matrix, importance(SIZES, without=frozenset({missing})), SIZES)
    with pytest.raises(UsageError, match=rf"that has {missing}"):
        prepare(QuantizeRequest(sources=(source,), quantization=label, imatrix=matrix))


def test_the_matrix_of_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.gguf"
    other = Sizes(hidden=512)
    write_importance(matrix, importance(other), other)
    with pytest.raises(UsageError, match=r"512 weights for \S+, which takes 256"):
        prepare(QuantizeRequest(sources=(source,), quantization="Q4_K_M", imatrix=matrix))


def test_a_matrix_never_has_fewer_weights_than_are_read(tmp_path: Path) -> None:
    """A tensor of four dimensions, which no model has, and weights for its third only."""
    name = "blk.0.ffn_up.weight"
    write_model(tmp_path / "deep.gguf", SIZES, values={name: np.ones((3, 2, 4, 256), np.float32)})
    matrix = tmp_path / "matrix.gguf"
    write_importance(matrix, {name: np.ones(512, np.float32)}, SIZES)
    request = QuantizeRequest(sources=(tmp_path / "deep.gguf",), quantization="Q4_0", imatrix=matrix)
    with pytest.raises(UsageError, match=rf"512 weights for {name}, which takes 1536"):
        prepare(request)


def test_a_matrix_that_says_little_is_noted(source: Path, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.gguf"
    some = {name: values for name, values in importance(SIZES).items() if "ffn_down" in name}
    write_importance(matrix, some, SIZES)
    prepared = prepare(QuantizeRequest(sources=(source,), quantization="Q4_K_M", imatrix=matrix))
    assert prepared.notes == ("The importance matrix says nothing about 14 of 16 tensors.",)


def test_fallbacks_are_noted(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    write_model(source, Sizes(hidden=320, heads=5, kv_heads=5, layers=1))
    prepared = prepare(QuantizeRequest(sources=(source,), quantization="Q4_K_M"))
    assert prepared.notes == (
        "6 of 13 tensors are Q5_0: their rows are no multiple of Q4_K's block.",
        "1 of 13 tensors are Q8_0: their rows are no multiple of Q6_K's block.",
    )
    assert prepared.types == {"Q5_0": 6, "Q6_K": 1, "Q8_0": 2}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    values = random_tensors(SIZES, 7)["blk.1.ffn_up.weight"]
    values[3, 5] = bad
    source = tmp_path / "source.gguf"
    write_model(source, SIZES, values={"blk.1.ffn_up.weight": values})
    with pytest.raises(MalformedFile, match=r"values of blk\.1\.ffn_up\.weight cannot be quantized"):
        made(QuantizeRequest(sources=(source,), quantization="Q4_K_M"), tmp_path / "made.gguf")


def test_numbers_that_are_too_large_for_a_type_are_no_damage(tmp_path: Path) -> None:
    values = random_tensors(SIZES, 7)["blk.1.ffn_up.weight"]
    values[3, 5] = 1e6
    source = tmp_path / "source.gguf"
    write_model(source, SIZES, values={"blk.1.ffn_up.weight": values})
    made(QuantizeRequest(sources=(source,), quantization="BF16"), tmp_path / "made.gguf")
    with pytest.raises(OperationFailed, match="cannot be quantized: F16 cannot hold its values") as refused:
        made(QuantizeRequest(sources=(source,), quantization="F16"), tmp_path / "made.gguf")
    assert "BF16" in str(refused.value.hint)


def test_a_source_that_is_cut_meanwhile_is_refused(source: Path, tmp_path: Path) -> None:
    prepared = prepare(QuantizeRequest(sources=(source,), quantization="Q4_K_M"))
    os.truncate(source, source.stat().st_size - 1)
    path = tmp_path / "made.gguf"
    path.touch()
    with pytest.raises(MalformedFile, match="changed while it was looked at"):
        write(prepared, path, environ=os.environ, on_progress=lambda _: None)
    with pytest.raises(MalformedFile, match="ends at byte"):
        prepare(QuantizeRequest(sources=(source,), quantization="Q4_K_M"))
    source.unlink()
    with pytest.raises(NotFound, match=r"source\.gguf"):
        write(prepared, path, environ=os.environ, on_progress=lambda _: None)


def test_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "projector.gguf"
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(MalformedFile, match="how many layers"):
        prepare(QuantizeRequest(sources=(path,), quantization="Q8_0"))


def test_whole_numbers_are_not_quantized(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "numbers.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("blk.0.table.weight", np.zeros((4, 256), np.int32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(MalformedFile, match=r"blk\.0\.table\.weight holds I32"):
        prepare(QuantizeRequest(sources=(path,), quantization="Q8_0"))


class Enough(Exception):
    pass


def test_no_child_outlives_what_the_caller_raises(tmp_path: Path) -> None:
    prepared = _long(tmp_path)
    path = tmp_path / "made.gguf"
    path.touch()
    before = children(os.getpid())

    def stop(_: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        write(prepared, path, environ=os.environ, on_progress=stop)
    assert children(os.getpid()) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.skipif(sys.platform != "linux", reason="watches processes with pidfds")
def test_the_child_dies_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    _long(tmp_path)
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from runtimes.quantize.quantize import prepare, write\n"
        "from runtimes.quantize.request import QuantizeRequest\n"
        "request = QuantizeRequest(sources=(Path(sys.argv[1]),), quantization='Q3_K_L', threads=1)\n"
        "path = Path(sys.argv[1] + '.made')\npath.touch()\n"
        "write(prepare(request), path, environ=os.environ, on_progress=lambda n: print(n, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "long.gguf")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # it is at work
        (child,) = until(lambda: children(parent.pid) or None)
        parent.send_signal(how)
        assert wait_until_gone(child, 60.0)
        assert parent.wait() != 0


def _long(folder: Path) -> Prepared:
    """Some seconds of work for one thread."""
    source = folder / "long.gguf"
    write_model(source, Sizes(layers=8, hidden=1024, feed_forward=2048, rows=1024), kind="F16")
    return prepare(QuantizeRequest(sources=(source,), quantization="Q3_K_L", threads=1))
