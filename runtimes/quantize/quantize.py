"""Quantizing a GGUF file: what each tensor becomes, the new header, and the child that makes the data.

`prepare` reads headers and the importance matrix, refuses what cannot be, and knows the result to the byte;
`write` makes it. The result is, byte for byte, what llama.cpp's llama-quantize writes (decision 34).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import MalformedFile, NotFound, UsageError
from registry.formats.ggml_types import BASE_TYPES, GgmlType
from registry.formats.gguf import GgufHeader, TensorInfo, read_header
from registry.formats.quote import quoted
from registry.formats.shards import check_shards
from runtimes.planning.mix_rules import Model
from runtimes.quantize.child import Job, run
from runtimes.quantize.header import changed_pairs, lay_out, raw_pairs
from runtimes.quantize.importance import ImportanceMatrix, read_importance
from runtimes.quantize.request import QuantizeRequest, file_type, quantization_label, tensor_type
from runtimes.quantize.tensor_types import (
    EMBEDDINGS,
    OUTPUT,
    Target,
    Wishes,
    in_order,
    needs_importance,
    targets,
    value_matrices,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A quantization that can be written.

    `size` is that of the file that will be, `source_bytes` how much of the source is read, both in bytes.
    `types` counts the matrices (what a recipe is asked about) by the type that they get, and `notes` are
    sentences for whoever quantizes. The rest is for `write`.
    """

    request: QuantizeRequest
    size: int
    source_bytes: int
    types: Mapping[str, int]
    notes: tuple[str, ...]
    header: bytes = field(repr=False)
    jobs: tuple[Job, ...] = field(repr=False)
    source_sizes: tuple[int, ...] = field(repr=False)
    matrix: ImportanceMatrix | None = field(repr=False)


def prepare(request: QuantizeRequest) -> Prepared:
    """Read the headers and decide what every tensor becomes; no weights are read, nothing is written.

    Raises UsageError for what is asked wrongly (an unknown type, one that needs an importance matrix, a
    source that is quantized already), MalformedFile for a source or a matrix that is broken, NotFound for one
    that cannot be opened.
    """
    label = quantization_label(request.quantization)
    wishes = _wishes(request)
    if request.threads is not None and request.threads < 1:
        raise UsageError(f"There cannot be {request.threads} threads.")
    matrix = read_importance(request.imatrix) if request.imatrix is not None else None
    headers, heads = _read_sources(request.sources)
    placed = {
        tensor.name: (number, header.data_offset + tensor.offset)
        for number, header in enumerate(headers)
        for tensor in header.tensors
    }
    tensors = in_order(tensor for header in headers for tensor in header.tensors)
    model = _model(headers[0], tensors, label, matrix is not None)
    decided = list(zip(tensors, targets(tensors, model, wishes), strict=True))
    _check(decided, label, matrix, request)
    layout = lay_out(
        changed_pairs(raw_pairs(heads[0]), file_type(label), matrix),
        [(tensor, target.type) for tensor, target in decided],
        headers[0].alignment,
    )
    jobs = tuple(
        Job(
            tensor=tensor,
            source=placed[tensor.name][0],
            source_offset=placed[tensor.name][1],
            made=target.type,
            offset=offset,
            importance=tensor.name if target.type != tensor.type and _has(matrix, tensor) else None,
        )
        for (tensor, target), offset in zip(decided, layout.offsets, strict=True)
    )
    return Prepared(
        request=request,
        size=layout.size,
        source_bytes=sum(tensor.size_bytes for tensor in tensors),
        types=_counted(decided),
        notes=tuple(_notes(decided, label, matrix, wishes)),
        header=layout.header,
        jobs=jobs,
        source_sizes=tuple(header.file_size for header in headers),
        matrix=matrix,
    )


def write(
    prepared: Prepared, path: Path, *, environ: Mapping[str, str], on_progress: Callable[[int], None]
) -> None:
    """Write the file to `path`, which is there and is overwritten; it is not synced, and stays if this fails.

    `on_progress` is told how many bytes of the source were read since it was last told; in the end they sum
    up to `prepared.source_bytes`. It is called by this thread, and what it raises ends the work, as Ctrl-C
    does: the child is gone when this is back, whatever happens. `environ` is what the child's environment is
    chosen from.

    Raises MalformedFile for a source that changed since or holds what are no numbers, EngineUnavailable
    without an engine that has kernels, EngineFailed or DoesNotFit where it dies; an OSError of writing
    passes through.
    """
    with ExitStack() as opened:
        output = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        opened.callback(os.close, output)
        sources = [
            _opened(each, size, opened)
            for each, size in zip(prepared.request.sources, prepared.source_sizes, strict=True)
        ]
        os.truncate(output, prepared.size)  # the padding between tensors is never written
        _write_all(output, prepared.header)
        run(
            prepared.jobs,
            sources=sources,
            output=output,
            matrix=prepared.matrix,
            threads=prepared.request.threads or _cores(),
            environ=environ,
            on_progress=on_progress,
        )


def _wishes(request: QuantizeRequest) -> Wishes:
    output, embedding = request.output_tensor_type, request.token_embedding_type
    return Wishes(
        tensor_types=tuple((pattern, tensor_type(kind)) for pattern, kind in request.tensor_types),
        output_tensor_type=tensor_type(output) if output is not None else None,
        token_embedding_type=tensor_type(embedding) if embedding is not None else None,
        pure=request.pure,
    )


def _read_sources(paths: Sequence[Path]) -> tuple[list[GgufHeader], list[bytes]]:
    headers, heads = [], []
    for path in paths:
        try:
            with path.open("rb") as stream:
                header = read_header(stream)
                stream.seek(0)
                heads.append(stream.read(header.data_offset))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "it cannot be read"
            raise NotFound(f"The file {quoted(path.name, 300)} cannot be read ({why}).") from None
        headers.append(header)
    check_shards(headers)
    if not any(header.tensors for header in headers):
        raise MalformedFile("There is nothing to quantize: the file has no tensors.")
    return headers, heads


def _model(header: GgufHeader, tensors: Sequence[TensorInfo], label: str, has_matrix: bool) -> Model:
    architecture = header.architecture
    layers = _number(header, "block_count")
    if architecture is None or not layers:
        raise MalformedFile("The file does not say how many layers the model has, so no recipe fits it.")
    heads = _number(header, "attention.head_count") or 0
    kv_heads = _number(header, "attention.head_count_kv")
    kv_heads = heads if kv_heads is None else kv_heads
    return Model(
        architecture=architecture,
        label=label,
        base=BASE_TYPES[label],
        layers=layers,
        value_matrices=value_matrices(tensors),
        heads_per_kv_head=heads // kv_heads if kv_heads else 0,
        experts=_number(header, "expert_count") or 0,
        tied=all(tensor.name != OUTPUT for tensor in tensors),
        importance_matrix=has_matrix,
    )


def _number(header: GgufHeader, key: str) -> int | None:
    """A number of the architecture's; where there is one for each layer, that of the first."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    if isinstance(value, tuple) and value:
        value = value[0]
    return value if type(value) is int and value >= 0 else None


_Decided = list[tuple[TensorInfo, Target]]


def _check(decided: _Decided, label: str, matrix: ImportanceMatrix | None, request: QuantizeRequest) -> None:
    for tensor, target in decided:
        if target.type == tensor.type:
            continue
        if tensor.type.quantized and not request.allow_requantize:
            raise UsageError(
                f"{tensor.name} is {tensor.type.name} already, and quantizing it again loses quality twice.",
                hint="Start from F16, BF16 or F32, or allow it (--allow-requantize).",
            )
        if not _is_float(tensor.type):
            raise MalformedFile(f"{tensor.name} holds {tensor.type.name}, which is not quantized.")
        if matrix is not None and tensor.name in matrix.weights and not _has(matrix, tensor):
            if tensor.name in EMBEDDINGS:
                continue  # it is looked up, not multiplied: matrices that have it count something else
            raise UsageError(
                f"The importance matrix has {matrix.weights[tensor.name].size} weights for {tensor.name}, "
                f"which takes {_weights(tensor)}.",
                hint="It was measured on another model.",
            )
        if needs_importance(tensor, target, label) and not _has(matrix, tensor):
            raise UsageError(
                f"{label} needs an importance matrix"
                + (f" that has {tensor.name}." if matrix is not None else f", for {tensor.name}."),
                hint="Give one with --imatrix; Q2_K and Q3_K_S are the smallest that need none.",
            )


def _is_float(kind: GgmlType) -> bool:
    return kind.quantized or kind.name in {"F32", "F16", "BF16"}


def _weights(tensor: TensorInfo) -> int:
    """How many an importance matrix must have: the child takes one row of them for each matrix of rows."""
    return tensor.dims[0] * math.prod(tensor.dims[2:])


def _has(matrix: ImportanceMatrix | None, tensor: TensorInfo) -> bool:
    return (
        matrix is not None
        and tensor.name in matrix.weights
        and matrix.weights[tensor.name].size == _weights(tensor)
    )


def _counted(decided: _Decided) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor, target in decided:
        if len(tensor.dims) > 1:
            counts[target.type.name] = counts.get(target.type.name, 0) + 1
    return dict(sorted(counts.items()))


def _notes(decided: _Decided, label: str, matrix: ImportanceMatrix | None, wishes: Wishes) -> Iterator[str]:
    instead: dict[tuple[str, str], int] = {}
    for _, target in decided:
        if target.instead_of is not None:
            pair = (target.instead_of, target.type.name)
            instead[pair] = instead.get(pair, 0) + 1
    for (wanted, got), count in sorted(instead.items()):
        yield f"{count} of {len(decided)} tensors are {got}: their rows are no multiple of {wanted}'s block."
    changed = [tensor.name for tensor, target in decided if target.type != tensor.type]
    if matrix is not None and (missing := [name for name in changed if name not in matrix.weights]):
        yield f"The importance matrix says nothing about {len(missing)} of {len(changed)} tensors."
    if wishes.tensor_types and label in {"F32", "F16", "BF16"}:
        yield f"Types by pattern are not looked at for {label}."


def _opened(path: Path, size: int, opened: ExitStack) -> int:
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "it cannot be read"
        raise NotFound(f"The file {quoted(path.name, 300)} cannot be read ({why}).") from None
    opened.callback(os.close, source)
    if os.fstat(source).st_size != size:
        raise MalformedFile(f"The file {quoted(path.name, 300)} changed while it was looked at.")
    return source


def _write_all(output: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(output, view) :]


def _cores() -> int:
    with contextlib.suppress(AttributeError, OSError):  # macOS has no such call
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
