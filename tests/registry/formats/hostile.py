"""Hostile headers: a file for each row of reference/serving.md 5A that concerns a header, and more."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    I32,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Builder,
    array,
    minimal,
    string,
    tiny,
)


@dataclass(frozen=True)
class Case:
    """A file that must be refused: `says` is part of the message; `size` pretends that more follows the bytes."""

    name: str
    make: Callable[[], bytes]
    says: str
    size: int | None = None


def _count(**counts: int) -> Callable[[], bytes]:
    def make() -> bytes:
        made = minimal()
        made.key_count = counts.get("keys", made.key_count)
        made.tensor_count = counts.get("tensors", made.tensor_count)
        return made.build()

    return make


def _key(key: str | bytes, kind: int, value: bytes, *, key_length: int | None = None) -> Callable[[], bytes]:
    return lambda: minimal().raw(key, kind, value, key_length=key_length).build()


def _tensor(
    name: str | bytes = "t", dims: tuple[int, ...] = (32,), type_id: int = 0, **rest: object
) -> Callable[[], bytes]:
    return lambda: minimal().tensor(name, dims, type_id, **({"data": b""} | rest)).build()


def _alignment(value: int) -> Callable[[], bytes]:
    return lambda: minimal().put("general.alignment", U32, value).build()


def _version(version: int) -> Callable[[], bytes]:
    return lambda: tiny(version).build()


def _big_endian() -> bytes:
    return b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + bytes(64)


def _end_of_file(change: int) -> Callable[[], bytes]:
    """The valid file, its last tensor `change` bytes too long for it."""

    def make() -> bytes:
        made = tiny()
        whole = made.build()
        last = made.tensors[-1]
        padding = -len(last.content()) % made.alignment
        return whole[: len(whole) - padding - change]

    return make


def _overlap() -> bytes:
    made = minimal()
    return made.tensor("a", (64,)).tensor("b", (64,), offset=128).build()


def _padded_sum() -> bytes:
    """Tensors of 2^61 bytes each, at the offsets that they need: the fourth passes 2^63."""
    made = minimal()
    for index in range(5):
        made.tensor(f"t{index}", (2**30, 2**29), data=b"", offset=index * 2**61)
    return made.build()


def _pretended_tensors() -> bytes:
    made = minimal()
    made.tensor_count = 300_000
    return made.build()


def _scores(count: int) -> Callable[[], bytes]:
    def make() -> bytes:
        made = minimal().put_array("tokenizer.ggml.tokens", STRING, ["a", "b", "c"])
        return made.put_array("tokenizer.ggml.scores", F32, [0.0] * count).build()

    return make


def _many_keys() -> bytes:
    made = minimal()
    for index in range(100):
        made.put(f"{index:05d}" + "k" * 60_000, U8, 0)
    return made.build()


def _wrong_type(key: str, kind: int, value: float | str) -> Callable[[], bytes]:
    def make() -> bytes:
        made = Builder() if key == "general.architecture" else minimal()
        return made.put(key, kind, value).build()

    return make


HUGE = 1 << 40

CORPUS: tuple[Case, ...] = (
    # counts and lengths that are trusted (CVE-2024-21802, -21825, -21836, -23496, -23605)
    Case("keys 2^32-1", _count(keys=2**32 - 1), "4294967295 keys"),
    Case("keys 2^64-1", _count(keys=2**64 - 1), "keys; at most"),
    Case("keys 2^32-1 in a large file", _count(keys=2**32 - 1), "4294967295 keys", HUGE),
    Case("more keys than bytes", _count(keys=8000), "8000 keys, but only"),
    Case("tensors 2^64-1", _count(tensors=2**64 - 1), "tensors; at most"),
    Case("tensors 2^63", _count(tensors=2**63), "tensors; at most"),
    Case("300000 tensors", _pretended_tensors, "300000 tensors", HUGE),
    Case("more tensors than bytes", _count(tensors=60_000), "60000 tensors, but only"),
    Case("one key too many", _count(keys=2), "inside the length of key 1"),
    Case("one tensor too many", lambda: _with_counts(tiny(), 1, 0), "the file is cut"),
    Case("key length 2^64-1", _key("k", U8, b"\0", key_length=2**64 - 1), "18446744073709551615 bytes"),
    Case("key length 65536", _key("k" * 65_536, U8, b"\0"), "65536 bytes; it takes"),
    Case("key length past the end", _key("k", U8, b"\0", key_length=60_000), "file is cut"),
    Case("empty key", _key("", U8, b"\0"), "0 bytes; it takes"),
    Case("key not UTF-8", _key(b"\xff\x1b[31m", U8, b"\0"), r"b'\xff\x1b[31m', is not UTF-8"),
    Case("keys of 6 MB", _many_keys, "take more memory"),
    Case(
        "array of 2^62+1 u32",
        _key("k", ARRAY, array(U32, [], count=0x4000000000000001)),
        "4611686018427387905",
    ),
    Case(
        "array of 2^64-1 u8",
        _key("k", ARRAY, array(U8, [], count=2**64 - 1)),
        "18446744073709551615 elements",
    ),
    Case("array past the end", _key("k", ARRAY, array(U32, [1], count=2)), "claims 2 elements"),
    Case(
        "array of strings past the end", _key("k", ARRAY, array(STRING, ["a"], count=3)), "claims 3 elements"
    ),
    Case("10^9 empty strings", _key("k", ARRAY, array(STRING, [], count=10**9)), "arrays hold over", HUGE),
    Case(
        "array larger than a header", _key("k", ARRAY, array(U64, [], count=2**33)), "header is larger", HUGE
    ),
    Case(
        "string length 2^64-1", _key("k", STRING, string("", length=2**64 - 1)), "claims 18446744073709551615"
    ),
    Case("string past the end", _key("k", STRING, string("ab", length=3)), "claims 3 bytes"),
    Case("string of 65 MB", _key("k", STRING, string("", length=65 << 20)), "at most 67108864", HUGE),
    Case("string not UTF-8", _key("k", STRING, string(b"ab\xff")), "not UTF-8 at its byte 2"),
    # token length (CVE-2025-49847)
    Case(
        "token length 0x80000000",
        _key("tokenizer.ggml.tokens", ARRAY, array(STRING, [], count=1) + string("", length=0x80000000)),
        "element of 2147483648 bytes",
        HUGE,
    ),
    Case(
        "token length 2^64-1",
        _key("tokenizer.ggml.tokens", ARRAY, array(STRING, ["a"], count=2) + string("", length=2**64 - 1)),
        "element of 18446744073709551615 bytes",
    ),
    Case("scores shorter than tokens", _scores(2), "scores has 2 elements for 3 tokens"),
    Case("scores longer than tokens", _scores(4), "scores has 4 elements for 3 tokens"),
    Case("tokens a number", _key("tokenizer.ggml.tokens", U32, bytes(4)), "it takes an array"),
    # sizes (CVE-2025-53630, CVE-2026-27940, CVE-2026-33298, CVE-2026-53923)
    Case("sum of padded sizes", _padded_sum, "more than any file can hold"),
    Case(
        "dims 2^62,4,4,4", _tensor(dims=(2**62, 4, 4, 4)), "A dimension of tensor 't' is 4611686018427387904"
    ),
    Case("dims 2^31-1 four times", _tensor(dims=(2**31 - 1,) * 4), "overflows 63 bits"),
    Case("byte product", _tensor(dims=(2**30, 2**30, 4), type_id=0), "more than any file can hold"),
    Case("dims 2^32+32", _tensor(dims=(2**32 + 32,)), "is 4294967328"),
    Case("dim 0", _tensor(dims=(32, 0)), "is 0; it takes"),
    Case("n_dims 99", _tensor(n_dims=99), "is 99; it takes 1 to 4"),
    Case("n_dims 0", _tensor(dims=(), n_dims=0), "is 0; it takes 1 to 4"),
    Case("n_dims 2^32-1", _tensor(n_dims=2**32 - 1), "is 4294967295"),
    Case("row of 33 in Q4_0", _tensor(dims=(33, 32), type_id=2), "no multiple of Q4_0's block of 32"),
    # alignment, type, block size (oss-sec V-01 to V-06, CVE-2025-0317)
    *(
        Case(f"alignment {value}", _alignment(value), f"alignment is {value};")
        for value in (0, 1, 4, 24, 2**31)
    ),
    Case("type 9999", _tensor(type_id=9999), "is 9999: no such type"),
    Case("type 2^32-1", _tensor(type_id=2**32 - 1), "no such type"),
    *(
        Case(f"removed type {number}", _tensor(type_id=number), "was removed")
        for number in (4, 5, 31, 32, 33)
    ),
    *(Case(f"BitNet type {number}", _tensor(type_id=number), "microsoft/BitNet") for number in (36, 37, 38)),
    Case(
        "BitNet TL2",
        lambda: minimal("bitnet-b1.58").tensor("t", (32,), 39).build(),
        "TL2 is microsoft/BitNet",
    ),
    # assertions (CVE-2026-52131)
    Case("duplicate keys", lambda: tiny().put("a.u8", U8, 1).build(), "The key 'a.u8' stands twice"),
    Case("bool 7", _key("k", BOOL, b"\7"), "A bool of key 'k' is 7"),
    Case("bool 255 in an array", _key("k", ARRAY, array(U8, [0, 1, 255]).replace(b"\0", b"\7", 1)), "255"),
    Case(
        "bool 2 in a long array", _key("k", ARRAY, array(BOOL, [1] * 300_000 + [2])), "A bool of key 'k' is 2"
    ),
    Case("nested arrays", _key("k", ARRAY, array(ARRAY, [], count=1)), "array of arrays"),
    Case("value type 13", _key("k", 13, bytes(8)), "is 13, which GGUF lacks"),
    Case("element type 99", _key("k", ARRAY, array(99, [], count=0)), "is 99, which GGUF lacks"),
    Case("architecture a number", _wrong_type("general.architecture", U32, 1), "it takes STRING"),
    Case("architecture empty", _wrong_type("general.architecture", STRING, ""), "no architecture's name"),
    Case(
        "architecture a path", _wrong_type("general.architecture", STRING, "../x"), "no architecture's name"
    ),
    Case("architecture missing", lambda: Builder().put("a", U8, 1).build(), "no general.architecture"),
    Case("no keys", lambda: Builder().build(), "no general.architecture"),
    Case("alignment a string", _wrong_type("general.alignment", STRING, "32"), "it takes UINT32"),
    Case("alignment u64", _wrong_type("general.alignment", U64, 32), "it takes UINT32"),
    Case("file type a float", _wrong_type("general.file_type", F32, 1.0), "it takes UINT32"),
    Case("name a number", _wrong_type("general.name", I32, 1), "it takes STRING"),
    Case("type a number", _wrong_type("general.type", U16, 1), "it takes STRING"),
    Case(
        "quantization version a bool", _wrong_type("general.quantization_version", BOOL, 1), "it takes UINT32"
    ),
    # places (CVE-2026-7482)
    Case("offset 2^60", _tensor(offset=2**60), "but the file at byte"),
    Case("offset 2^64-32", _tensor(offset=2**64 - 32), "but the file at byte"),
    Case("misaligned offset", _tensor(offset=8), "no multiple of the alignment 32"),
    Case("one byte past the end", _end_of_file(1), "but the file at byte"),
    Case("overlapping tensors", _overlap, "Tensors 'a' and 'b' overlap"),
    Case(
        "the same place twice",
        lambda: minimal().tensor("a", (8,)).tensor("b", (8,), offset=0).build(),
        "overlap",
    ),
    Case(
        "duplicate tensors",
        lambda: minimal().tensor("a", (8,)).tensor("a", (8,)).build(),
        "Two tensors are called",
    ),
    Case("tensor name of 64 bytes", _tensor("n" * 64), "64 bytes; it takes 1 to 63"),
    Case("tensor name empty", _tensor(""), "0 bytes; it takes 1 to 63"),
    Case("tensor name not UTF-8", _tensor(b"\xc3"), "is not UTF-8"),
    Case("tensor name length 2^64-1", _tensor(name_length=2**64 - 1), "it takes 1 to 63"),
    # magic and version (CVE-2024-39720 and others)
    Case("four bytes", lambda: b"GGUF", "ends at byte 4, inside the version"),
    Case("empty", lambda: b"", "an empty file"),
    Case("version 0", _version(0), "version 0;"),
    Case("version 1", _version(1), "convert it again"),
    Case("version 4", _version(4), "version 4;"),
    Case("version 2^32-1", _version(2**32 - 1), "version 4294967295;"),
    Case("big-endian", _big_endian, "big-endian"),
    Case("wrong magic", lambda: b"GGUG" + tiny().build()[4:], "begins with b'GGUG'"),
    Case("escape sequences in the magic", lambda: b"\x1b]0;x" + bytes(64), r"b'\x1b]0;'"),
)


def _with_counts(made: Builder, more_tensors: int, more_keys: int) -> bytes:
    """The header alone, with counts that are too high, so that reading runs off its end."""
    made.tensor_count = len(made.tensors) + more_tensors
    made.key_count = len(made.pairs) + more_keys
    made.build()
    return made.build()[: made.boundaries[-1]]


def _largest_accepted() -> bytes:
    """A header of the most tensors that are accepted, all of one row."""
    made = minimal()
    for index in range(65_536):
        made.tensor(f"blk.{index}.ffn_down_exps.weight", (1,), data=bytes(4))
    return made.build()


def _full_memory() -> bytes:
    """A header that fills every allowance for values that are kept in memory."""
    made = minimal()
    for index in range(3):
        made.put(f"text{index}", STRING, "\N{GRINNING FACE}" * 260_000)
    for index in range(200):
        made.put_array(f"numbers{index}", U64, [2**63] * 8192)
        made.put_array(f"strings{index}", STRING, ["x"] * 1024)
    return made.build()


LARGEST: Mapping[str, Callable[[], bytes]] = {"tensors": _largest_accepted, "values": _full_memory}
"""Headers that are accepted and cost as much memory as a header can."""


def every_cut(data: bytes) -> Iterator[bytes]:
    """All proper prefixes of `data`."""
    return (data[:length] for length in range(len(data)))
