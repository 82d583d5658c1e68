from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFValueType

from registry.errors import MalformedFile
from registry.formats.gguf import read_header
from runtimes.convert import keys
from runtimes.convert.header import header_bytes, offsets
from runtimes.convert.rows import Array
from runtimes.convert.values import Conversion, Key, Tensor
from runtimes.convert.writer import file_size, write

KEYS = (
    keys.text("general.architecture", "llama"),
    keys.text("a.text", "größer\n\0"),
    keys.whole("a.whole", 2**32 - 1),
    keys.real("a.real", 1e-5),
    keys.flag("a.flag", True),
    keys.texts("a.texts", ["", "é", "Ġa"]),
    keys.wholes("a.wholes", [-1, 2**31 - 1]),
    keys.reals("a.reals", [0.5, -1000.0]),
    keys.flags("a.flags", [True, False]),
    keys.wholes("a.none", []),
    Key(name="a.large", value=2**63, kind=GGUFValueType.UINT64),
    Key(name="a.double", value=0.1, kind=GGUFValueType.FLOAT64),
)


def tensor(name: str, values: Array, kind: Kind = Kind.F32) -> Tensor:
    return Tensor(name=name, shape=values.shape, kind=kind, read=lambda: iter((values[:1], values[1:])))


def test_another_reader_reads_what_was_meant(tmp_path: Path) -> None:
    first = np.arange(15, dtype="<f4").reshape(5, 3)
    second = np.arange(12, dtype="<f2").reshape(2, 2, 3)
    made = Conversion(
        architecture="llama", keys=KEYS, tensors=(tensor("a", first), tensor("b", second, Kind.F16))
    )
    path = tmp_path / "made.gguf"
    heard: list[int] = []
    write(made, path, heard.append)
    assert sum(heard) == file_size(made) == path.stat().st_size
    reader = gguf.GGUFReader(path)
    found = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    expected = {key.name: key.value for key in KEYS}
    assert {name: found[name] for name in ("a.real", "a.double")} == {
        "a.real": pytest.approx(1e-5),
        "a.double": 0.1,
    }
    assert {name: value for name, value in found.items() if name != "a.real"} == {
        name: value for name, value in expected.items() if name != "a.real"
    }
    assert [each.name for each in reader.tensors] == ["a", "b"]
    assert np.array_equal(reader.tensors[0].data, first)
    assert np.array_equal(reader.tensors[1].data, second)
    with path.open("rb") as stream:
        header = read_header(stream)
    assert [each.offset for each in header.tensors] == offsets(made.tensors) == [0, 64]
    assert header.data_offset == len(header_bytes(made.keys, made.tensors))


def test_a_failure_of_the_source_comes_through(tmp_path: Path) -> None:
    def read() -> Iterator[Array]:
        yield np.zeros((1, 4), "<f4")
        raise MalformedFile("It is cut.")

    made = Conversion(
        architecture="llama", keys=KEYS, tensors=(Tensor(name="a", shape=(2, 4), kind=Kind.F32, read=read),)
    )
    with pytest.raises(MalformedFile, match="It is cut"):
        write(made, tmp_path / "made.gguf", lambda _count: None)


def test_a_full_disk_is_an_error_of_the_file() -> None:
    made = Conversion(architecture="llama", keys=KEYS, tensors=(tensor("a", np.zeros((2, 4), "<f4")),))
    with pytest.raises(OSError, match="No space left"):
        write(made, Path("/dev/full"), lambda _count: None)
