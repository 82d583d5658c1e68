"""Whole files against `llama_model_quantize` of llama-cpp-python: byte for byte. `make compat` installs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.formats.ggml_types import GGML_TYPES_BY_NAME, file_type_number
from registry.formats.gguf import read_header
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write as write_conversion
from runtimes.planning.mix import NEEDS_IMPORTANCE_MATRIX
from runtimes.quantize.quantize import prepare, write
from runtimes.quantize.request import LABELS, TENSOR_TYPES, QuantizeRequest
from tests.compat import oracle
from tests.compat.test_convert import MODELS
from tests.runtimes.quantize.models import (
    CHUNKS,
    DATASET,
    Sizes,
    Values,
    importance,
    random_tensors,
    write_importance,
    write_model,
)

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.xdist_group("oracle")]

_PROGRAM = Path(__file__).parent / "quantize_oracle.py"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request and the weights that its importance matrix has."""

    request: QuantizeRequest
    weights: Mapping[str, Values] | None = None


def quantized(case: Case, folder: Path) -> bytes:
    path = folder / "ours.gguf"
    path.touch()
    prepared = prepare(case.request)
    read: list[int] = []
    write(prepared, path, environ=os.environ, on_progress=read.append)
    made = path.read_bytes()
    assert len(made) == prepared.size
    assert sum(read) == prepared.source_bytes
    return made


def by_llama_cpp(cases: Sequence[Case], folder: Path) -> list[bytes | None]:
    """What the original makes of each; None where it refuses."""
    oracle.require_quantizer()
    jobs = [_job(case, number, folder) for number, case in enumerate(cases)]
    child = subprocess.run(
        [str(oracle.PYTHON), "-P", str(_PROGRAM)],
        input=json.dumps({"jobs": jobs}).encode() + b"\n",
        capture_output=True,
        check=False,
    )
    answers = child.stdout.split()
    assert len(answers) == len(cases), child.stderr.decode(errors="replace")[-4000:]
    return [
        Path(str(job["output"])).read_bytes() if answer == b"0" else None
        for job, answer in zip(jobs, answers, strict=True)
    ]


def _job(case: Case, number: int, folder: Path) -> dict[str, object]:
    request = case.request
    files = []
    for index, (name, values) in enumerate((case.weights or {}).items()):
        path = folder / f"weights-{number}-{index}"
        values.tofile(path)
        files.append([name, str(path)])
    matrix: dict[str, object] = {}
    if request.imatrix is not None and case.weights is not None:
        matrix = {
            "strings": {
                "quantize.imatrix.file": request.imatrix.name,
                "quantize.imatrix.dataset": DATASET,
            },
            "numbers": {
                "quantize.imatrix.entries_count": len(case.weights),
                "quantize.imatrix.chunks_count": CHUNKS,
            },
        }
    return {
        "source": str(request.sources[0]),
        "output": str(folder / f"theirs-{number}.gguf"),
        "file_type": file_type_number(request.quantization),
        "importance": files,
        "strings": {},
        "numbers": {},
        **matrix,
        "tensor_types": [[pattern, GGML_TYPES_BY_NAME[kind].id] for pattern, kind in request.tensor_types],
        "output_tensor_type": _number(request.output_tensor_type),
        "token_embedding_type": _number(request.token_embedding_type),
        "pure": request.pure,
        "allow_requantize": request.allow_requantize,
        "threads": request.threads or 2,
    }


def _number(name: str | None) -> int | None:
    return None if name is None else GGML_TYPES_BY_NAME[name].id


def compare(cases: Sequence[Case], folder: Path, *, data: bool = True) -> None:
    """Whole files; without `data` headers and sizes alone, which takes no child for each."""
    for case, theirs in zip(cases, by_llama_cpp(cases, folder), strict=True):
        assert theirs is not None, f"llama.cpp refuses {case.request}"
        if not data:
            prepared = prepare(case.request)
            assert theirs.startswith(prepared.header), f"another header: {case.request}"
            assert len(theirs) == prepared.size
            continue
        ours = quantized(case, folder)
        _same_tables(folder / "ours.gguf", theirs, folder, case)
        assert ours == theirs, f"other bytes: {case.request}"


def _same_tables(path: Path, theirs: bytes, folder: Path, case: Case) -> None:
    """A difference in types says more than one in bytes."""
    other = folder / "theirs.gguf"
    other.write_bytes(theirs)
    tables = []
    for file in (path, other):
        with file.open("rb") as stream:
            tables.append([(tensor.name, tensor.type.name) for tensor in read_header(stream).tensors])
    assert tables[0] == tables[1], case.request


SHAPES = {
    "tied-256": Sizes(tied=True, layers=3),
    "untied-256": Sizes(kv_heads=1, layers=3),
    "tied-288": Sizes(tied=True, hidden=288, feed_forward=512, heads=3, kv_heads=3),
    "untied-320": Sizes(hidden=320, feed_forward=784, heads=5, kv_heads=1),
    "tied-192": Sizes(tied=True, hidden=192, feed_forward=768, heads=3, kv_heads=1),
    "untied-264": Sizes(hidden=264, feed_forward=528, heads=3, kv_heads=3),  # not even by 32
}
NEED = NEEDS_IMPORTANCE_MATRIX


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_every_file_type(tmp_path: Path, shape: str, kind: str) -> None:
    sizes = SHAPES[shape]
    source = tmp_path / "source.gguf"
    write_model(source, sizes, kind=kind)
    cases = [
        Case(request=QuantizeRequest(sources=(source,), quantization=label))
        for label in LABELS
        if label not in NEED and (label != "Q1_0" or sizes.hidden % 128 == 0 == sizes.feed_forward % 128)
    ]
    assert len(cases) >= 25
    compare(cases, tmp_path)


@pytest.mark.parametrize(
    ("shape", "experts"),
    [*((shape, 0) for shape in SHAPES), ("untied-256", 4), ("untied-256", 8), ("tied-288", 8)],
)
def test_every_file_type_with_an_importance_matrix(tmp_path: Path, shape: str, experts: int) -> None:
    base = SHAPES[shape]
    sizes = Sizes(
        **{**{name: getattr(base, name) for name in Sizes.__dataclass_fields__}, "experts": experts}
    )
    source, matrix = tmp_path / "source.gguf", tmp_path / "matrix.gguf"
    write_model(source, sizes, kind="F16")
    weights = importance(sizes)
    write_importance(matrix, weights, sizes)
    cases = [
        Case(
            request=QuantizeRequest(sources=(source,), quantization=label, imatrix=matrix),
            weights=weights,
        )
        for label in LABELS
        if label != "Q1_0" or sizes.hidden % 128 == 0 == sizes.feed_forward % 128
    ]
    compare(cases, tmp_path)


LAYOUTS = {
    "llama-70b": Sizes(layers=80, hidden=256, feed_forward=256, heads=8, kv_heads=2, vocabulary=8),
    "llama-65b": Sizes(layers=80, hidden=256, feed_forward=256, vocabulary=8),
    "qwen2-72b": Sizes(architecture="qwen2", layers=80, feed_forward=256, kv_heads=2, vocabulary=8),
    "olmo-80": Sizes(architecture="olmo", layers=80, feed_forward=256, vocabulary=8),
    "layers-33": Sizes(layers=33, feed_forward=256, kv_heads=1, vocabulary=8),
    "mixtral": Sizes(layers=9, experts=8, kv_heads=1),
    "experts-3": Sizes(layers=17, experts=3, feed_forward=256),
    "falcon": Sizes(architecture="falcon", layers=17, fused=True, kv_heads=1),
    "gpt2-fused": Sizes(architecture="gpt2", layers=5, fused=True, tied=True),
    "bert": Sizes(architecture="bert", layers=3, hidden=384, feed_forward=1536, tied=True, bert=True),
    "qwen3": Sizes(architecture="qwen3", layers=11, kv_heads=1, tied=True),
    "gemma3": Sizes(architecture="gemma3", layers=8, hidden=1152, feed_forward=1152, kv_heads=1, tied=True),
    "phi3": Sizes(architecture="phi3", layers=9, fused=True),
    "bitnet": Sizes(architecture="bitnet", layers=4, tied=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("measured", [False, True])
def test_every_layout(tmp_path: Path, layout: str, measured: bool) -> None:
    """What each tensor gets, in the order of the walk; what kernels then make of it is above."""
    sizes = LAYOUTS[layout]
    source, matrix = tmp_path / "source.gguf", tmp_path / "matrix.gguf"
    write_model(source, sizes)
    weights = importance(sizes) if measured else None
    if weights is not None:
        write_importance(matrix, weights, sizes)
    cases = [
        Case(
            request=QuantizeRequest(
                sources=(source,), quantization=label, imatrix=matrix if measured else None
            ),
            weights=weights,
        )
        for label in LABELS
        if (measured or label not in NEED) and (label != "Q1_0" or sizes.hidden % 128 == 0)
    ]
    compare(cases, tmp_path, data=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    oracle.require()
    folder = tmp_path_factory.mktemp("models")
    oracle.make_models(folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_as_it_is_converted(tmp_path: Path, folders: Path, name: str) -> None:
    """The models that test_convert.py converts, in every file type that needs no importance matrix."""
    source = tmp_path / "source.gguf"
    write_conversion(convert(SourceFiles.of_folder(folders / name), "F16"), source, lambda _: None)
    cases = [
        Case(request=QuantizeRequest(sources=(source,), quantization=label))
        for label in LABELS
        if label not in NEED and label != "Q1_0"
    ]
    compare(cases, tmp_path)


WISHES: dict[str, dict[str, object]] = {
    "pure": {"pure": True},
    "output": {"output_tensor_type": "Q8_0"},
    "embedding": {"token_embedding_type": "Q5_1"},
    "both": {"output_tensor_type": "F16", "token_embedding_type": "Q2_K"},
    "patterns": {"tensor_types": (("ffn_down", "Q6_K"), (r"blk\.[02]\.attn_v", "Q8_0"), ("attn", "IQ4_NL"))},
    "first-counts": {"tensor_types": (("attn_v", "F16"), ("attn", "Q4_1"))},
    "everything": {"tensor_types": ((".*", "Q5_0"),), "output_tensor_type": "BF16"},
    "not-divisible": {"tensor_types": (("ffn_down", "Q6_K"),), "pure": True},
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("shape", ["tied-256", "untied-256", "untied-320"])
def test_wishes(tmp_path: Path, wish: str, shape: str) -> None:
    sizes = SHAPES[shape]
    if "token_embedding_type" in WISHES[wish] and wish == "both" and sizes.hidden % 256:
        pytest.skip("llama.cpp's kernels end the process at rows that their block does not divide")
    source = tmp_path / "source.gguf"
    write_model(source, sizes, kind="F16")
    compare(
        [
            Case(
                request=QuantizeRequest(sources=(source,), quantization=label, **WISHES[wish]),  # type: ignore[arg-type]
            )
            for label in ("Q4_K_M", "Q3_K_L", "Q8_0", "IQ4_XS", "Q4_0", "F16")
        ],
        tmp_path,
    )


@pytest.mark.parametrize("kind", [kind for kind in TENSOR_TYPES if kind not in ("F32", "F16", "BF16")])
def test_a_quantized_source(tmp_path: Path, kind: str) -> None:
    """ggml's own way back to numbers, of every type that has one."""
    sizes = SHAPES["untied-256"]
    source, first, matrix = tmp_path / "source.gguf", tmp_path / "first.gguf", tmp_path / "matrix.gguf"
    write_model(source, sizes)
    write_importance(matrix, importance(sizes), sizes)
    first.touch()
    every = QuantizeRequest(
        sources=(source,), quantization="Q4_0", imatrix=matrix, tensor_types=((".", kind),)
    )
    write(prepare(every), first, environ=os.environ, on_progress=lambda _: None)
    compare(
        [
            Case(
                request=QuantizeRequest(sources=(first,), quantization=label, allow_requantize=True),
            )
            for label in ("Q4_K_M", "Q8_0", "F16", "F32")
        ],
        tmp_path,
    )


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_any_number_of_threads(tmp_path: Path, threads: int) -> None:
    sizes = Sizes(
        layers=2, hidden=768, feed_forward=3072, heads=12, kv_heads=12, vocabulary=1024, experts=4, rows=500
    )
    source, matrix = tmp_path / "source.gguf", tmp_path / "matrix.gguf"
    write_model(source, sizes, kind="BF16")
    weights = importance(sizes)
    write_importance(matrix, weights, sizes)
    compare(
        [
            Case(
                request=QuantizeRequest(
                    sources=(source,), quantization=label, imatrix=matrix, threads=threads
                ),
                weights=weights,
            )
            for label in ("Q4_K_M", "IQ2_M", "Q5_0")
        ],
        tmp_path,
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_by_both(tmp_path: Path, bad: float) -> None:
    sizes = SHAPES["tied-256"]
    values = random_tensors(sizes, 7)["blk.1.ffn_up.weight"]
    values[3, 5] = bad
    source = tmp_path / "source.gguf"
    write_model(source, sizes, values={"blk.1.ffn_up.weight": values})
    case = Case(request=QuantizeRequest(sources=(source,), quantization="Q4_K_M"))
    assert by_llama_cpp([case], tmp_path) == [None]
    with pytest.raises(Exception, match="no number"):
        quantized(case, tmp_path)
