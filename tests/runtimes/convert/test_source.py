"""Weight files: read whole and in pieces, cut, contradicting, hostile."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from registry.errors import DoesNotFit, MalformedFile, NotFound, SlmctlError
from runtimes.convert import source as module
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.source import Source
from runtimes.convert.writer import write
from tests.runtimes.convert.folders import brain, from_brain, llama, safetensors

VALUES = np.arange(24, dtype="<f4").reshape(6, 4)


def read(folder: Path) -> Source:
    return Source.of(SourceFiles.of_folder(folder))


def test_each_type_of_number_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 40)
    tensors = {"a": VALUES, "b": VALUES.astype("<f2"), "c": brain(VALUES), "d": VALUES.reshape(2, 3, 4)}
    (tmp_path / "model.safetensors").write_bytes(safetensors(tensors))
    source = read(tmp_path)
    assert list(source.tensors) == ["a", "b", "c", "d"]
    for name, dtype in (("a", "F32"), ("b", "F16"), ("c", "BF16"), ("d", "F32")):
        tensor = source.tensors[name]
        assert tensor.dtype == dtype
        pieces = list(tensor.rows().pieces(2))
        assert len(pieces) > 1
        assert all(len(piece) % 2 == 0 for piece in pieces)
        whole = np.concatenate(pieces)
        found = from_brain(whole) if dtype == "BF16" else whole.astype("<f4")
        assert np.array_equal(found, VALUES)
        assert np.array_equal(tensor.numbers().reshape(6, 4), VALUES)
    assert source.dtype == "F32"


def test_a_tensor_of_another_type_is_known_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors({"a": VALUES.astype("u1")}))
    tensor = read(tmp_path).tensors["a"]
    with pytest.raises(DoesNotFit, match="stored as U8"):
        tensor.rows()
    assert np.array_equal(np.concatenate(list(tensor.packed(1))), VALUES)


def test_shards_without_an_index(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(safetensors({"a": VALUES}))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(safetensors({"b": VALUES}))
    (tmp_path / "other.safetensors").write_bytes(safetensors({"c": VALUES}))
    assert list(read(tmp_path).tensors) == ["a", "b"]
    (tmp_path / "model.safetensors").write_bytes(safetensors({"a": VALUES}))  # then that is all of it
    assert list(read(tmp_path).tensors) == ["a"]


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "../../etc/passwd"}, "outside of its folder"),
        ({"a": "/etc/passwd"}, "outside of its folder"),
        ({"a": "C:\\secret"}, "outside of its folder"),
        ({"a": "..\\secret"}, "outside of its folder"),
        ({"a": "model.safetensors\0.txt"}, "outside of its folder"),
        ({"a": ".."}, "'..' as the file"),
        ({"a": ""}, "'' as the file"),
        ({"a": 5}, "5 as the file"),
        ({"a": ["model.safetensors"]}, "as the file"),
        ({"a": "gone.safetensors"}, "'gone.safetensors' is missing"),
        ({"b": "model.safetensors"}, "'b' is not in 'model.safetensors'"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
        ("model.safetensors", "no weight_map"),
    ],
)
def test_an_index_leads_nowhere_else(weight_map: object, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors({"a": VALUES}))
    write_index(tmp_path, weight_map)
    with pytest.raises(MalformedFile) as caught:
        read(tmp_path)
    assert words in caught.value.message


def test_files_and_index_must_agree(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").write_bytes(safetensors({"a": VALUES, "b": VALUES}))
    (tmp_path / "two.safetensors").write_bytes(safetensors({"b": VALUES}))
    write_index(tmp_path, {"a": "one.safetensors"})
    with pytest.raises(MalformedFile, match="does not name the tensor 'b'"):
        read(tmp_path)
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(MalformedFile, match="Two files hold the tensor 'b'"):
        read(tmp_path)


def header(table: object, length: int | None = None, data: bytes = b"") -> bytes:
    raw = json.dumps(table).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


PLACED = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        header({"a": PLACED}, 2**63),
        header({"a": PLACED}, 2**64 - 1),
        header({"a": PLACED}, 0),
        header({"a": PLACED}, data=b"\0" * 7),
        header({"a": PLACED}, data=b"\0" * 9),
        header({"a": PLACED, "b": PLACED}, data=b"\0" * 16),
        header({"a": PLACED, "b": PLACED | {"data_offsets": [4, 12]}}, data=b"\0" * 12),
        header({"a": PLACED, "b": PLACED | {"data_offsets": [12, 20]}}, data=b"\0" * 20),
        header({"a": PLACED | {"data_offsets": [8, 0]}}, data=b"\0" * 8),
        header({"a": PLACED | {"data_offsets": [-8, 0]}}, data=b"\0" * 8),
        header({"a": PLACED | {"shape": [2**62, 4]}}, data=b"\0" * 8),
        header({"a": PLACED | {"shape": [-2, -1]}}, data=b"\0" * 8),
        header({"a": PLACED | {"dtype": "F99"}}, data=b"\0" * 8),
        header([], data=b"\0" * 8),
        header({"a": 5}),
        pickle.dumps({"a": [1.0, 2.0]}, protocol=4),
        b"<html><body>404</body></html>" * 20,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"GGUF" + bytes(100),
    ],
    ids=lambda raw: f"{raw[:12]!r}-{len(raw)}",
)
def test_a_file_that_is_none_is_refused_with_its_name(raw: bytes, tmp_path: Path) -> None:
    folder = llama(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(MalformedFile) as caught:
        convert(SourceFiles.of_folder(folder), "F16")
    assert "'model.safetensors'" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_pickle_is_called_one_and_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(str(tmp_path / "ran")),))  # type: ignore[return-value]

    folder = llama(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(), protocol=4))
    with pytest.raises(MalformedFile, match="a Python pickle, which can run code"):
        convert(SourceFiles.of_folder(folder))
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap(), protocol=4))
    with pytest.raises(MalformedFile, match=r"'pytorch_model\.bin', which can run code"):
        convert(SourceFiles.of_folder(folder))
    assert not (tmp_path / "ran").exists()


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no model\.safetensors"):
        read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(safetensors({}))
    with pytest.raises(NotFound, match="hold no tensor"):
        read(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_shard_that_is_cut_is_refused_before_anything_is_written(share: float, tmp_path: Path) -> None:
    folder = llama(tmp_path / "model", shards=3)
    shard = folder / "model-00002-of-00003.safetensors"
    raw = shard.read_bytes()
    shard.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(MalformedFile, match="model-00002-of-00003"):
        convert(SourceFiles.of_folder(folder))


def test_a_file_that_is_cut_while_it_is_converted(tmp_path: Path) -> None:
    folder = llama(tmp_path / "model")
    made = convert(SourceFiles.of_folder(folder), "F16")
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(MalformedFile, match="was cut while it was read"):
        write(made, tmp_path / "made.gguf", lambda _count: None)


def test_every_cut_and_every_flipped_byte_of_a_header_is_our_error(tmp_path: Path) -> None:
    """What is wrong in the table of tensors never becomes another kind of exception."""
    raw = safetensors({"a": VALUES, "b": brain(VALUES)})
    length = struct.unpack("<Q", raw[:8])[0]
    path = tmp_path / "model.safetensors"
    refused = 0
    for at in range(8 + length):
        for changed in (raw[:at], raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]):
            path.write_bytes(changed)
            try:
                for tensor in read(tmp_path).tensors.values():
                    list(tensor.rows().pieces(1))
            except SlmctlError:
                refused += 1
    assert refused > length
