"""GGUF files made byte by byte, valid and hostile, without the `gguf` package and without our reader's rules.

Source: the GGUF specification, ggml/docs/gguf.md. `Builder` writes exactly what it is told: a count that is
a lie, a type that does not exist, an offset past the end. It notes where each field ends (`boundaries`), so
that tests can cut there.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)

_LETTERS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B"}
_LETTERS |= {U64: "Q", I64: "q", F64: "d"}


def string(value: str | bytes, *, length: int | None = None) -> bytes:
    """A string with its length, or with a false one."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def scalar(kind: int, value: float | str | bytes) -> bytes:
    """The bytes of one value of a kind, without its type."""
    if kind == STRING:
        assert isinstance(value, str | bytes)
        return string(value)
    return struct.pack("<" + _LETTERS[kind], value)


def array(kind: int, values: Sequence[float | str | bytes], *, count: int | None = None) -> bytes:
    """The bytes of an array value: element type, count (or a false one), elements."""
    head = struct.pack("<IQ", kind, len(values) if count is None else count)
    return head + b"".join(scalar(kind, value) for value in values)


@dataclass
class Tensor:
    """One entry of the tensor table. `data` is its content; `offset` None means behind the tensor before."""

    name: str | bytes
    dims: tuple[int, ...]
    type: int = 0
    data: bytes | None = None
    offset: int | None = None
    n_dims: int | None = None
    name_length: int | None = None

    def content(self) -> bytes:
        """The data, zeros of F32 size where none were given."""
        if self.data is not None:
            return self.data
        count = 1
        for dim in self.dims:
            count *= dim
        return bytes(4 * count)


@dataclass
class Builder:
    """A GGUF file in the making; `build` gives its bytes and notes the end of every field in `boundaries`."""

    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    key_count: int | None = None
    tensor_count: int | None = None
    pairs: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    data_offset: int = 0

    def raw(self, key: str | bytes, kind: int, value: bytes, *, key_length: int | None = None) -> Builder:
        """Add a pair whose value bytes are given."""
        self.pairs.append((string(key, length=key_length), kind, value))
        return self

    def put(self, key: str | bytes, kind: int, value: float | str | bytes) -> Builder:
        """Add a scalar."""
        return self.raw(key, kind, scalar(kind, value))

    def put_array(
        self, key: str, kind: int, values: Sequence[float | str | bytes], *, count: int | None = None
    ) -> Builder:
        """Add an array."""
        return self.raw(key, ARRAY, array(kind, values, count=count))

    def tensor(self, name: str | bytes, dims: tuple[int, ...], type: int = 0, **rest: object) -> Builder:  # noqa: A002
        """Add a tensor; `rest` are further fields of `Tensor`."""
        self.tensors.append(Tensor(name, dims, type, **rest))  # type: ignore[arg-type]
        return self

    def build(self) -> bytes:
        """The file: header, padding, and each tensor's data padded to the alignment."""
        out = bytearray()
        self.boundaries = []

        def add(piece: bytes) -> None:
            out.extend(piece)
            self.boundaries.append(len(out))

        add(self.magic)
        add(struct.pack("<I", self.version))
        add(struct.pack("<Q", len(self.tensors) if self.tensor_count is None else self.tensor_count))
        add(struct.pack("<Q", len(self.pairs) if self.key_count is None else self.key_count))
        for key, kind, value in self.pairs:
            add(key)
            add(struct.pack("<I", kind))
            add(value)
        data = bytearray()
        for tensor in self.tensors:
            content = tensor.content()
            add(string(tensor.name, length=tensor.name_length))
            add(struct.pack("<I", len(tensor.dims) if tensor.n_dims is None else tensor.n_dims))
            add(struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims))
            add(struct.pack("<I", tensor.type))
            add(struct.pack("<Q", len(data) if tensor.offset is None else tensor.offset))
            data += content + bytes(-len(content) % self.alignment)
        self.data_offset = len(out) + -len(out) % self.alignment
        if self.tensors:
            out.extend(bytes(self.data_offset - len(out)))
        return bytes(out + data)


def tiny(version: int = 3) -> Builder:
    """A valid model of two layers, of a few KB: every scalar kind, arrays, a tokenizer, tied embeddings."""
    made = Builder(version=version)
    made.put("general.architecture", STRING, "llama").put("general.name", STRING, "tiny")
    made.put("general.file_type", U32, 0).put("general.license", STRING, "mit")
    for name, value in {
        "context_length": 128,
        "embedding_length": 8,
        "block_count": 2,
        "feed_forward_length": 16,
        "attention.head_count": 2,
        "attention.head_count_kv": 1,
    }.items():
        made.put(f"llama.{name}", U32, value)
    made.put("llama.rope.freq_base", F32, 10000.0).put("a.u8", U8, 255).put("a.i8", I8, -1)
    made.put("a.u16", U16, 65535).put("a.i16", I16, -2).put("a.i32", I32, -3).put("a.u64", U64, 2**63)
    made.put("a.i64", I64, -4).put("a.f64", F64, 0.5).put("a.yes", BOOL, 1).put("a.no", BOOL, 0)
    made.put_array("a.flags", BOOL, [1, 0, 1]).put_array("a.empty", I32, [])
    made.put_array("tokenizer.ggml.tokens", STRING, [f"t{index}" for index in range(16)])
    made.put_array("tokenizer.ggml.scores", F32, [0.0] * 16)
    made.put("tokenizer.chat_template", STRING, "{{ messages }}")
    made.tensor("token_embd.weight", (8, 16)).tensor("output_norm.weight", (8,))
    for layer in range(2):
        made.tensor(f"blk.{layer}.attn_q.weight", (8, 8)).tensor(f"blk.{layer}.attn_k.weight", (8, 4))
        made.tensor(f"blk.{layer}.ffn_down.weight", (16, 8)).tensor(f"blk.{layer}.attn_norm.weight", (8,))
    return made


def minimal(architecture: str = "llama") -> Builder:
    """The smallest header that is accepted: an architecture and nothing else."""
    return Builder().put("general.architecture", STRING, architecture)
