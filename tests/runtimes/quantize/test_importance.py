"""Importance matrices in both formats, whole, cut and hostile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from registry.errors import MalformedFile, NotFound
from runtimes.quantize.importance import read_importance
from tests.runtimes.quantize.models import CHUNKS, DATASET, Sizes, importance, write_importance

SIZES = Sizes(layers=1, experts=3)


def entry(name: bytes, calls: int, values: list[float]) -> bytes:
    head = struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
    return head + struct.pack(f"<{len(values)}f", *values)


def old(*entries: bytes, tail: bytes = b"") -> bytes:
    return struct.pack("<i", len(entries)) + b"".join(entries) + tail


TAIL = struct.pack("<ii", 12, 8) + b"wiki.txt"
OLD = old(entry(b"blk.0.ffn_up.weight", 4, [4.0, 8.0]), entry(b"output.weight", 0, [3.0]), tail=TAIL)


def test_the_format_of_today(tmp_path: Path) -> None:
    weights = importance(SIZES)
    write_importance(tmp_path / "matrix.gguf", weights, SIZES)
    found = read_importance(tmp_path / "matrix.gguf")
    assert (found.file_name, found.dataset, found.chunks) == ("matrix.gguf", DATASET, CHUNKS)
    assert set(found.weights) == set(weights)
    for name, values in weights.items():
        assert found.weights[name].dtype == np.float32
        assert np.array_equal(found.weights[name], values)


def test_the_old_format(tmp_path: Path) -> None:
    """Sums are divided by the number of calls; where that is nothing they are taken as they are."""
    path = tmp_path / "old.dat"
    path.write_bytes(OLD)
    found = read_importance(path)
    assert {name: list(values) for name, values in found.weights.items()} == {
        "blk.0.ffn_up.weight": [1.0, 2.0],
        "output.weight": [3.0],
    }
    assert (found.dataset, found.chunks) == ("wiki.txt", 12)
    path.write_bytes(old(entry(b"a", 2, [1.0])))
    assert (read_importance(path).dataset, read_importance(path).chunks) == (None, None)
    path.write_bytes(old(entry(b"a", 2, [1.0]), tail=struct.pack("<i", 0)))
    assert (read_importance(path).dataset, read_importance(path).chunks) == (None, None)


def _write(path: Path, change: Callable[[gguf.GGUFWriter], None], *, metadata: bool = True) -> Path:
    writer = gguf.GGUFWriter(path, "imatrix")
    if metadata:
        writer.add_array("imatrix.datasets", [DATASET])
        writer.add_uint32("imatrix.chunk_count", 0)
        writer.add_uint32("imatrix.chunk_size", 512)
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, sums: list[float], counts: list[float]) -> None:
    writer.add_tensor(f"{name}.in_sum2", np.array(sums, np.float32))
    writer.add_tensor(f"{name}.counts", np.array(counts, np.float32))


def test_an_expert_that_saw_nothing_has_equal_weights(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.gguf", lambda writer: _add(writer, "a", [2, 4, 5, 6], [2, 0]))
    found = read_importance(path)
    assert list(found.weights["a"]) == [1.0, 2.0, 1.0, 1.0]
    assert found.chunks is None


def test_what_is_no_importance_matrix(tmp_path: Path) -> None:
    def sums_alone(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("a.in_sum2", np.ones(2, np.float32))

    def counts_alone(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("a.counts", np.ones(2, np.float32))

    def halves(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("a.in_sum2", np.ones(2, np.float16))
        writer.add_tensor("a.counts", np.ones(1, np.float32))

    cases: dict[str, Callable[[gguf.GGUFWriter], None]] = {
        "sums without counts": sums_alone,
        "counts without sums": counts_alone,
        "holds F16, not F32": halves,
        "3 sums for 2 counts": lambda writer: _add(writer, "a", [1, 2, 3], [1, 1]),
        "are no numbers": lambda writer: _add(writer, "a", [1, float("nan")], [1]),
        "'a.in_sum2' that are no numbers": lambda writer: _add(
            writer, "a", [1, float("inf")], [float("inf")]
        ),
        "'a.counts' that are no numbers": lambda writer: _add(writer, "a", [1, 2], [float("nan")]),
        "has no entries": lambda writer: writer.add_tensor("other", np.ones(2, np.float32)),
    }
    for sentence, change in cases.items():
        with pytest.raises(MalformedFile, match=sentence):
            read_importance(_write(tmp_path / "m.gguf", change))
    with pytest.raises(MalformedFile, match="lacks its metadata"):
        read_importance(
            _write(tmp_path / "m.gguf", lambda writer: _add(writer, "a", [1], [1]), metadata=False)
        )
    with pytest.raises(NotFound, match=r"nothing\.gguf"):
        read_importance(tmp_path / "nothing.gguf")
    with pytest.raises(NotFound):
        read_importance(tmp_path)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        struct.pack("<i", 0),
        struct.pack("<i", -1),
        struct.pack("<i", 2**31 - 1),
        old(struct.pack("<i", -5)),
        old(struct.pack("<i", 2**30)),
        old(struct.pack("<i", 1) + b"a" + struct.pack("<ii", 1, 0)),
        old(struct.pack("<i", 1) + b"a" + struct.pack("<ii", 1, -1)),
        old(struct.pack("<i", 1) + b"a" + struct.pack("<ii", 1, 2**31 - 1)),
        old(entry(b"a", 1, [float("inf")])),
        b"PK\3\4 a pickle in a zip file",
    ],
)
def test_hostile_old_files(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(raw)
    with pytest.raises(MalformedFile):
        read_importance(path)


def test_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "matrix"
    write_importance(path, {"output.weight": importance(SIZES)["output.weight"]}, SIZES)
    today = path.read_bytes()
    without_tail = len(OLD) - len(TAIL)
    for whole, fine in ((OLD, {without_tail, without_tail + 4}), (today, set[int]())):
        for end in {*range(min(len(whole), 1024)), len(whole) - 32}:  # behind the last value come zeros
            path.write_bytes(whole[:end])
            if end in fine:  # the number of chunks and the data set may be left out
                read_importance(path)
                continue
            with pytest.raises(MalformedFile):
                read_importance(path)
