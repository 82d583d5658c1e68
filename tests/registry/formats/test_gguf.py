"""Valid headers, against what was written, against the `gguf` package, and against a model from outside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from registry.errors import MalformedFile
from registry.formats.gguf import ArraySummary, StringSummary, ValueType, read_header
from tests.gguf_bytes import ARRAY, F32, STRING, U32, array, minimal, string, tiny

STORIES = Path(__file__).parents[4] / "shared/models/stories260K/stories260K-f32.gguf"


class ShortReads(io.BytesIO):
    """A stream that gives less than it is asked for, as sockets and pipes do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 7) if size is not None and size > 0 else size)


@pytest.mark.parametrize("version", [2, 3])
def test_every_kind_of_value(version: int) -> None:
    made = tiny(version)
    header = read_header(io.BytesIO(made.build()))
    assert header.version == version
    assert header.alignment == 32
    assert header.architecture == "llama"
    assert header.data_offset == made.data_offset
    values = {key: value for key, value in header.metadata.items() if key.startswith("a.")}
    assert values == {
        "a.u8": 255,
        "a.i8": -1,
        "a.u16": 65535,
        "a.i16": -2,
        "a.i32": -3,
        "a.u64": 2**63,
        "a.i64": -4,
        "a.f64": 0.5,
        "a.yes": True,
        "a.no": False,
        "a.flags": (True, False, True),
        "a.empty": (),
    }
    assert values["a.yes"] is True
    assert list(header.metadata)[:2] == ["general.architecture", "general.name"]
    first = header.tensors[0]
    assert (first.name, first.dims, first.type.name, first.offset, first.size_bytes, first.elements) == (
        "token_embd.weight",
        (8, 16),
        "F32",
        0,
        512,
        128,
    )


def test_short_reads() -> None:
    data = tiny().build()
    assert read_header(ShortReads(data)) == read_header(io.BytesIO(data))


def test_licence_and_chat_template() -> None:
    header = read_header(io.BytesIO(tiny().build()))
    assert header.license == "mit"
    assert header.has_chat_template
    assert header.chat_template == "{{ messages }}"
    bare = read_header(io.BytesIO(minimal().build()))
    assert not bare.has_chat_template
    assert bare.chat_template is None
    assert bare.license is None


def test_large_values_are_walked_but_not_held() -> None:
    made = minimal().put_array("numbers", U32, range(8193)).put_array("kept", U32, range(8192))
    made.put_array("strings", STRING, ["x" * 300] * 1025).put_array("few", STRING, ["x"] * 1024)
    made.raw("tokens", ARRAY, array(STRING, [b"\xff", "ok"])).put("long", STRING, "y" * (1024 * 1024 + 1))
    made.put("after", U32, 7)
    metadata = read_header(io.BytesIO(made.build())).metadata
    assert metadata["numbers"] == ArraySummary(ValueType.UINT32, 8193)
    assert metadata["kept"] == tuple(range(8192))
    assert metadata["strings"] == ArraySummary(ValueType.STRING, 1025)
    assert metadata["few"] == ("x",) * 1024
    assert metadata["tokens"] == ArraySummary(ValueType.STRING, 2)
    assert metadata["long"] == StringSummary(1024 * 1024 + 1)
    assert metadata["after"] == 7


@pytest.mark.parametrize("alignment", [8, 64, 4096, 65_536])
def test_alignments(alignment: int) -> None:
    made = minimal().put("general.alignment", U32, alignment)
    made.alignment = alignment
    header = read_header(io.BytesIO(made.tensor("a", (1,)).tensor("b", (2,)).build()))
    assert header.alignment == alignment
    assert header.data_offset == made.data_offset
    assert [tensor.offset for tensor in header.tensors] == [0, alignment]


def test_a_later_part_of_a_set_needs_no_architecture() -> None:
    assert read_header(io.BytesIO(_part(1))).architecture is None
    with pytest.raises(MalformedFile, match=r"general\.architecture"):
        read_header(io.BytesIO(_part(0)))


def _part(number: int) -> bytes:
    made = minimal()
    made.pairs.clear()
    return made.put("split.no", U32, number).put("split.count", U32, 2).build()


def test_150_000_tokens_are_walked_and_not_kept() -> None:
    tokens = b"".join(string(f"token{index}".encode()) for index in range(150_000))
    merges = b"".join(string(f"tok en{index}".encode()) for index in range(150_000))
    made = minimal()
    made.raw("tokenizer.ggml.tokens", ARRAY, array(STRING, [], count=150_000) + tokens)
    made.raw("tokenizer.ggml.merges", ARRAY, array(STRING, [], count=150_000) + merges)
    made.put_array("tokenizer.ggml.scores", F32, [0.0] * 150_000)
    stream = io.BytesIO(made.build())
    header = read_header(stream)
    assert header.metadata["tokenizer.ggml.tokens"] == ArraySummary(ValueType.STRING, 150_000)


def _oracle(path: Path) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], str, int, int]], int]:
    """The same header as the `gguf` package reads it; tensor offsets from the start of the file."""
    reader = gguf.GGUFReader(path)
    fields = {name: item.contents() for name, item in reader.fields.items() if not name.startswith("GGUF.")}
    tensors = [
        (
            tensor.name,
            tuple(int(dim) for dim in tensor.shape),
            tensor.tensor_type.name,
            int(tensor.data_offset),
            int(tensor.n_bytes),
        )
        for tensor in reader.tensors
    ]
    return fields, tensors, int(reader.data_offset)


def _assert_equal_to_oracle(path: Path) -> None:
    with path.open("rb") as stream:
        header = read_header(stream)
    fields, tensors, data_offset = _oracle(path)
    assert list(header.metadata) == list(fields)
    for key, value in header.metadata.items():
        if isinstance(value, ArraySummary):
            assert value.count == len(fields[key])
        else:
            assert (list(value) if isinstance(value, tuple) else value) == fields[key]
    found = [
        (entry.name, entry.dims, entry.type.name, header.data_offset + entry.offset, entry.size_bytes)
        for entry in header.tensors
    ]
    assert found == tensors
    assert header.data_offset == data_offset
    assert header.file_size == path.stat().st_size


WRITTEN_TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K"]
WRITTEN_TYPES += ["Q6_K", "IQ4_NL", "IQ4_XS", "IQ2_XXS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "I8", "I64"]


@pytest.mark.parametrize("alignment", [32, 256])
def test_equal_to_the_gguf_package(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    writer.add_block_count(2)
    writer.add_head_count_kv([2, 4])
    writer.add_layer_norm_rms_eps(0.5)
    writer.add_sliding_window_pattern([True, False])
    writer.add_token_list([f"token {index}" for index in range(2000)])
    writer.add_token_scores([0.5] * 2000)
    writer.add_chat_template("{{ x }}")
    for index, name in enumerate(WRITTEN_TYPES):
        kind = gguf.GGMLQuantizationType[name]
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        row_bytes = 256 // block * block_bytes
        data = np.zeros((3 + index, row_bytes), dtype=np.uint8)
        writer.add_tensor(f"blk.{index}.attn_q.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _assert_equal_to_oracle(path)


@pytest.mark.skipif(not STORIES.exists(), reason="the stories260K model is not in ../shared")
def test_a_model_that_nobody_here_made() -> None:
    _assert_equal_to_oracle(STORIES)
