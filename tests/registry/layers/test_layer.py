"""Layers of tars: what Python's tarfile writes comes out, and what would lead elsewhere does not."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from typing import Literal

import pytest

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, MalformedFile, SizeMismatch
from registry.layers.layer import LayerReader
from registry.layers.tarball import TarStream
from registry.manifest import Descriptor
from tests.fakes.kitops import compressed, packed

FILES = {"a/model.gguf": b"x" * 1500, "b": b"", "README.md": b"# read me"}
TAR = packed(FILES, folders=("a/",))


def reader(
    data: bytes,
    packing: str = "tar",
    *,
    diff_id: Digest | None = None,
    size: int | None = None,
    of: bytes | None = None,
) -> LayerReader:
    described = Descriptor(
        media_type="", digest=Digest.of(data if of is None else of), size=len(data) if size is None else size
    )
    pieces = (data[start : start + 700] for start in range(0, len(data), 700))
    return LayerReader(described, pieces, packing, diff_id=diff_id)


def unpacked(layer: LayerReader) -> dict[str, bytes]:
    return {file.path: b"".join(layer.chunks()) for file in layer.files()}


@pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"])
def test_files_come_out(packing: str) -> None:
    data = compressed(TAR, packing)
    assert unpacked(reader(data, packing, diff_id=Digest.of(TAR))) == FILES
    assert [file.path for file in reader(data, packing).files()] == list(FILES)  # none of them read


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes_comes_out(format_: Literal[0, 1, 2]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        for path, data in FILES.items():
            info = tarfile.TarInfo(f"./{path}")
            info.size, info.mtime, info.uid, info.uname = len(data), 1_700_000_000, 1000, "somebody"
            archive.addfile(info, io.BytesIO(data))
    assert unpacked(reader(out.getvalue())) == FILES


def test_long_and_foreign_names_come_by_extended_headers() -> None:
    files = {f"{'d' * 90}/{'f' * 90}/modèle.gguf": b"1", "x" * 250: b"2"}
    assert unpacked(reader(packed(files))) == files


@pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"])
def test_a_cut_is_found_wherever_it_is(packing: str) -> None:
    data = compressed(TAR, packing)
    step = 97 if packing == "tar" else 1
    for cut in range(0, len(data), step):
        with pytest.raises(BadContent):
            unpacked(reader(data[:cut], packing, size=len(data), of=data))


def test_sizes_and_digests_must_be_right() -> None:
    with pytest.raises(SizeMismatch):
        unpacked(reader(TAR, size=len(TAR) - 1))
    with pytest.raises(SizeMismatch):
        unpacked(reader(TAR, size=len(TAR) + 1))
    with pytest.raises(DigestMismatch, match="its bytes have the digest"):
        unpacked(reader(TAR, of=b"other"))


def test_a_layer_whose_digest_is_right_and_whose_diff_id_is_not() -> None:
    data = compressed(TAR, "tar+gzip")
    with pytest.raises(DigestMismatch, match="not what its config says"):
        unpacked(reader(data, "tar+gzip", diff_id=Digest.of(b"another tar")))


def member(name: str, data: bytes = b"", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


END = bytes(1024)

HOSTILE = {
    "up": member("../x", b"1") + END,
    "deep up": member("a/../../x", b"1") + END,
    "absolute": member("/etc/passwd", b"1") + END,
    "backslash": member("a\\..\\b", b"1") + END,
    "drive": member("C:x", b"1") + END,
    "control": member("a\x1b[31m", b"1") + END,
    "dots of unicode": member("a/\uff0e\uff0e/b", b"1") + END,
    "twice": member("a", b"1") + member("a", b"2") + END,
    "twice by another name": member("a", b"1") + member("./a", b"2") + END,
    "symbolic link": member("a", type=tarfile.SYMTYPE, linkname="/etc") + END,
    "hard link": member("a", type=tarfile.LNKTYPE, linkname="b") + END,
    "long link": member("a", type=tarfile.SYMTYPE, linkname="l" * 4000) + END,
    "device": member("a", type=tarfile.CHRTYPE) + END,
    "fifo": member("a", type=tarfile.FIFOTYPE) + END,
    "folder with bytes": member("a", b"1" * 512, type=tarfile.DIRTYPE) + END,
    "one header of zeros": member("a", b"1") + bytes(512) + b"x" * 512,
    "goes on": member("a", b"1") + END + member("b", b"2"),
    "no end": member("a", b"1"),
    "empty": b"",
    "no tar": b"GGUF" + bytes(2000),
    "padding": member("a", b"1")[:-1] + b"x" + END,
    "sparse": tarfile.TarInfo("a").tobuf(tarfile.PAX_FORMAT)[:0]
    + member("a", b"1", pax_headers={"GNU.sparse.major": "1"}) + END,
    "all one name": tarfile.TarInfo.create_pax_global_header({"path": "x"}) + member("a", b"1") + END,
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tars_are_refused(case: str) -> None:
    with pytest.raises(MalformedFile):
        unpacked(reader(HOSTILE[case]))


def test_a_size_that_nobody_sends_is_no_memory() -> None:
    info = tarfile.TarInfo("a")
    info.size = 1 << 50
    with pytest.raises(MalformedFile, match="ends in the middle of a file"):
        unpacked(reader(info.tobuf(tarfile.PAX_FORMAT)))


def test_ten_million_files_are_stopped() -> None:
    def endless() -> Iterator[bytes]:
        for number in range(10_000_000):
            yield member(f"f{number}")

    with pytest.raises(MalformedFile, match="more than 65536 files"):
        for _ in TarStream(endless(), "It").files():
            pass


def test_digests_are_those_of_the_bytes() -> None:
    layer = reader(TAR)
    found = {}
    for file in layer.files():
        hasher = hashlib.sha256()
        for chunk in layer.chunks():
            hasher.update(chunk)
        found[file.path] = hasher.hexdigest()
    assert found == {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
