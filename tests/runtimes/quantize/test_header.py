"""Headers: keys are copied as bytes, whatever they hold."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import gguf
import numpy as np

from registry.formats.ggml_types import GGML_TYPES_BY_NAME
from registry.formats.gguf import read_header
from runtimes.quantize.header import changed_pairs, lay_out, raw_pairs
from runtimes.quantize.importance import ImportanceMatrix
from tests import gguf_bytes
from tests.gguf_bytes import Builder

VALUES: dict[int, list[float | str | bytes]] = {
    gguf_bytes.U8: [255, 0],
    gguf_bytes.I8: [-1],
    gguf_bytes.U16: [65535],
    gguf_bytes.I16: [-2],
    gguf_bytes.U32: [1, 2, 3],
    gguf_bytes.I32: [-3],
    gguf_bytes.F32: [float("nan"), 1.5],
    gguf_bytes.BOOL: [1, 0, 1],
    gguf_bytes.STRING: ["a", "", "\0é", b"\xff\xfe"],
    gguf_bytes.U64: [2**64 - 1],
    gguf_bytes.I64: [-(2**63)],
    gguf_bytes.F64: [0.1],
}


def _file() -> bytes:
    builder = Builder()
    builder.raw("general.architecture", gguf_bytes.STRING, gguf_bytes.string("llama"))
    builder.raw("general.file_type", gguf_bytes.U32, struct.pack("<I", 1))
    builder.raw("split.count", gguf_bytes.U16, struct.pack("<H", 1))
    for kind, values in VALUES.items():
        if kind != gguf_bytes.STRING:
            builder.raw(f"x.{kind}", kind, gguf_bytes.scalar(kind, values[0]))
        builder.raw(f"x.array.{kind}", gguf_bytes.ARRAY, gguf_bytes.array(kind, values))
        builder.raw(f"x.empty.{kind}", gguf_bytes.ARRAY, gguf_bytes.array(kind, []))
    builder.tensors.append(gguf_bytes.Tensor("blk.0.a.weight", (256, 2, 1, 1)))
    return builder.build()


def test_every_kind_of_value_is_copied_byte_for_byte() -> None:
    whole = _file()
    header = read_header(io.BytesIO(whole))
    pairs = raw_pairs(whole[: header.data_offset])
    assert [key for key, _ in pairs] == list(header.metadata)
    assert whole[24 : 24 + sum(len(raw) for _, raw in pairs)] == b"".join(raw for _, raw in pairs)

    changed = changed_pairs(pairs, 15, None)
    kind = GGML_TYPES_BY_NAME["Q4_K"]
    layout = lay_out(changed, [(header.tensors[0], kind)], 32)
    made = read_header(io.BytesIO(layout.header), size=layout.size)
    assert made.data_offset == len(layout.header) == layout.offsets[0]
    assert made.file_size == made.data_offset + 288
    assert made.tensors[0].dims == (256, 2)  # as ggml counts them
    kept = [key for key in header.metadata if key not in ("general.file_type", "split.count")]
    assert list(made.metadata) == [*kept, "general.quantization_version", "general.file_type"]
    again = dict(raw_pairs(layout.header))
    assert all(again[key] == raw for key, raw in pairs if key in kept)


def test_what_an_importance_matrix_leaves_in_the_header() -> None:
    matrix = ImportanceMatrix(
        file_name="é" * 64,  # 128 bytes, one more than llama.cpp has room for
        weights={"a": np.ones(1, np.float32)},
        dataset=None,
        chunks=7,
    )
    pairs = changed_pairs([("quantize.imatrix.dataset", b"of before"), ("a", b"b")], 2, matrix)
    assert [key for key, _ in pairs] == [
        "quantize.imatrix.dataset", "a", "general.quantization_version", "general.file_type",
        "quantize.imatrix.file", "quantize.imatrix.entries_count", "quantize.imatrix.chunks_count",
    ]  # fmt: skip
    assert dict(pairs)["quantize.imatrix.file"].endswith("é".encode() * 63)
    assert len(dict(pairs)["quantize.imatrix.file"]) == 8 + 21 + 4 + 8 + 126


def test_an_alignment_of_its_own_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(256)
    for name in ("a.weight", "b.weight"):
        writer.add_tensor(name, np.ones((1, 256), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with path.open("rb") as stream:
        header = read_header(stream)
    kind = GGML_TYPES_BY_NAME["Q8_0"]
    layout = lay_out(
        changed_pairs(raw_pairs(path.read_bytes()), 7, None),
        [(each, kind) for each in header.tensors],
        header.alignment,
    )
    assert [offset % 256 for offset in layout.offsets] == [0, 0]
    made = read_header(io.BytesIO(layout.header), size=layout.size)
    assert [each.offset for each in made.tensors] == [0, 512]
