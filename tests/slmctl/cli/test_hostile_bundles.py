"""serving.md 5D, every row that is an archive or a path, and what else a stranger might send.

Refused with the right exit code, nothing visible, nothing outside, nothing left, from a file, from a pipe and
where it lies.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from registry import mediatypes
from registry.errors import BadContent
from registry.manifest import canonical_json
from registry.store.store import Store
from tests.bundles import Member, Parts, pax, read_in, read_piped, row, small, tar_bytes
from tests.slmctl.cli.program import Outcome, Program

SMALL = small()
BLOB = b"blobs/sha256/" + b"0" * 64
A_LINK = Member(name=b"blobs/sha256", typeflag=b"2", linkname=b"/tmp")


def with_member(*members: Member | bytes) -> bytes:
    """The small bundle with more in front of its blobs."""
    layout, index, *blobs = SMALL.members()
    return tar_bytes([layout, index, *members, *blobs])


def named(name: bytes, typeflag: bytes = b"0", linkname: bytes = b"") -> bytes:
    data = b"x" if typeflag == b"0" else b""
    return with_member(Member(name=name, data=data, typeflag=typeflag, linkname=linkname))


def zip_bytes() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../escape", b"x")
    return stream.getvalue()


def lying(size: int) -> bytes:
    """The weights' header says `size`."""
    layout, index, *blobs = SMALL.members()
    return tar_bytes([layout, index, *blobs[:-1], replace(blobs[-1], size=size)])


def large_header(name: str, count: int) -> bytes:
    return with_member(pax({name: "x" * count}), Member(name=b"README", data=b"x"))


def index_is(data: bytes) -> bytes:
    layout, _, *blobs = SMALL.members()
    return tar_bytes([layout, Member(name=b"index.json", data=data), *blobs])


def in_a_folder(parts: Parts) -> bytes:
    return tar_bytes(replace(member, name=b"a/" + member.name) for member in parts.members())


def odd_checksum(member: Member) -> bytes:
    """As Perl's Archive::Tar fills it up: with a blank."""
    data = member.to_bytes()
    assert data[148:149] == b"0"
    return data[:148] + b" " + data[149:]


def rows_are(*rows: object) -> bytes:
    return index_is(json.dumps({"schemaVersion": 2, "manifests": list(rows)}).encode())


def model_of(manifest: object, **extra: object) -> bytes:
    """A bundle whose only model is `manifest`, beside the small one's blobs."""
    return manifest_is(canonical_json(manifest), **extra)


def manifest_is(raw: bytes, **extra: object) -> bytes:
    return replace(SMALL.with_blob(raw), models=[{**row("m:latest", raw), **extra}]).to_tar()


def nested(depth: int) -> Parts:
    """An index in an index in an index."""
    parts, inner = SMALL, dict(SMALL.models[0])
    for _ in range(depth):
        inner.pop("annotations", None)
        raw = canonical_json({"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [inner]})
        parts = parts.with_blob(raw)
        inner = row("deep:latest", raw)
    return replace(parts, models=[inner])


def manifest_with_path(path: str) -> bytes:
    manifest = json.loads(
        next(data for data in SMALL.blobs.values() if data.startswith(b"{") and b'layers":[' in data)
    )
    manifest["layers"][0]["annotations"][mediatypes.MODELPACK_FILEPATH] = path
    return model_of(manifest)


REFUSED: dict[str, bytes] = {
    # CVE-2024-45436, CVE-2024-6868, CVE-2021-21272: zip and tar slip
    "dot dot": named(b"../escape"),
    "dot dot inside": named(b"blobs/sha256/../../../escape"),
    "dot dot at the end": named(b"blobs/.."),
    "dot dot by ./": named(b"././../escape"),
    "absolute": named(b"/tmp/escape"),
    "absolute by two slashes": named(b"//tmp/escape"),
    "backslash": named(b"..\\escape"),
    "backslash inside": named(b"a\\..\\..\\escape"),
    "drive": named(b"C:/escape"),
    "by prefix": with_member(Member(name=b"escape", prefix=b"../..", data=b"x")),
    "by pax": with_member(pax({"path": "../escape"}), Member(name=b"README", data=b"x")),
    "absolute by pax": with_member(pax({"path": "/tmp/escape"}), Member(name=b"README", data=b"x")),
    "after normalisation": named("\uff0e\uff0e/escape".encode()),
    "slash after normalisation": named("..\uff0fescape".encode()),
    "NUL": named(b"README\0/../escape"),
    "NUL by pax": with_member(pax({"path": b"a\0b"}), Member(name=b"README", data=b"x")),
    "newline": named(b"a\nb"),
    "escape sequence": named(b"a\x1b[2Jb"),
    "not UTF-8": named(b"a\xff\xfe"),
    "no name": named(b""),
    "empty part": named(b"a//b"),
    "over-long by pax": with_member(pax({"path": "a" * 4096}), Member(name=b"README", data=b"x")),
    "over-long by GNU": with_member(Member(name=b"././@LongLink", data=b"a" * 5000, typeflag=b"L")),
    "long link by GNU": with_member(Member(name=b"././@LongLink", data=b"a" * 5000, typeflag=b"K")),
    # CVE-2026-50162, CVE-2026-50163, CVE-2025-4517: links, and files through them
    "symbolic link": with_member(Member(name=b"link", typeflag=b"2", linkname=b"/etc/passwd")),
    "symbolic link for a blob": with_member(Member(name=BLOB, typeflag=b"2", linkname=b"/etc/passwd")),
    "folder that is a link": tar_bytes([A_LINK, *SMALL.members()]),
    "index that is a link": tar_bytes([Member(name=b"index.json", typeflag=b"2", linkname=b"x"), *SMALL.members()]),
    "hard link": with_member(Member(name=b"hard", typeflag=b"1", linkname=b"/etc/passwd")),
    "hard link inside": with_member(Member(name=b"hard", typeflag=b"1", linkname=b"index.json")),
    "hard link with bytes": with_member(Member(name=b"hard", typeflag=b"1", linkname=b"x", data=b"x" * 600)),
    "link by pax": with_member(pax({"linkpath": "/etc/passwd"}), Member(name=b"README", data=b"x")),
    "chain of long links": with_member(
        *(
            part
            for number in range(40)
            for part in (pax({"linkpath": "d" * 240 + "/" + ".." * 3}), Member(name=b"l%d" % number, typeflag=b"2"))
        )
    ),
    "character device": named(b"null", b"3"),
    "block device": named(b"disk", b"4"),
    "FIFO": named(b"pipe", b"6"),
    "contiguous file": named(b"contiguous", b"7"),
    "unknown kind": named(b"what", b"Z"),
    "GNU sparse": with_member(Member(name=b"sparse", typeflag=b"S")),
    "GNU volume": with_member(Member(name=b"volume", typeflag=b"V")),
    "pax sparse": with_member(pax({"GNU.sparse.major": "1", "GNU.sparse.realsize": "1099511627776"}), Member(name=b"s", data=b"x")),
    # sizes that lie, overlap, overflow
    "size beyond the end": lying((1 << 33) - 1),
    "size of a tebibyte": with_member(Member(name=b"README", raw_size=b"\x80" + (1 << 40).to_bytes(11, "big"))),
    "size smaller than it is": lying(100),
    "size one too large": lying(len(SMALL.members()[-1].data) + 513),
    "negative size": with_member(Member(name=b"README", raw_size=b"-0000000001\0")),
    "negative binary size": with_member(Member(name=b"README", raw_size=b"\xff" * 12)),
    "binary size of 2^62": with_member(Member(name=b"README", raw_size=b"\x80" + (1 << 62).to_bytes(11, "big"))),
    "binary size of 2^87": with_member(Member(name=b"README", raw_size=b"\x80" + b"\xff" * 11)),
    "size that is no number": with_member(Member(name=b"README", raw_size=b"99999999999\0")),
    "size of blanks and letters": with_member(Member(name=b"README", raw_size=b"abc        \0")),
    "pax size of 2^64": with_member(pax({"size": str(1 << 64)}), Member(name=b"README")),
    "pax size negative": with_member(pax({"size": "-1"}), Member(name=b"README")),
    "pax size no number": with_member(pax({"size": "1e9"}), Member(name=b"README")),
    "pax size long": with_member(pax({"size": "9" * 5000}), Member(name=b"README")),
    "pax header of 64 MiB": with_member(Member(name=b"x", typeflag=b"x", size=64 << 20)),
    "pax value of 100 kB": large_header("comment", 100_000),
    "pax record past its end": with_member(Member(name=b"x", typeflag=b"x", data=b"99 path=a\n"), Member(name=b"a")),
    "pax record without number": with_member(Member(name=b"x", typeflag=b"x", data=b"path=a\n"), Member(name=b"a")),
    "pax record of length 0": with_member(Member(name=b"x", typeflag=b"x", data=b"0 path=a\n"), Member(name=b"a")),
    "pax record without equals": with_member(Member(name=b"x", typeflag=b"x", data=b"9 path a\n"), Member(name=b"a")),
    "two pax headers": with_member(pax({"comment": "a"}), pax({"comment": "b"}), Member(name=b"README")),
    "pax header at the end": tar_bytes([*SMALL.members(), pax({"comment": "a"})]),
    "one name for all": tar_bytes([pax({"path": "index.json"}, b"g"), *SMALL.members()]),
    "17 MiB of pax headers": with_member(*[pax({f"key{number}": "x" * 90 for number in range(600)}, b"g")] * 290),
    "a link for all": tar_bytes([pax({"linkpath": "/etc/passwd"}, b"g"), *SMALL.members()]),
    "sparse for all": tar_bytes([pax({"GNU.sparse.major": "1"}, b"g"), *SMALL.members()]),
    "checksums of two tools": with_member(odd_checksum(Member(name=b"README"))),
    "one size for all": tar_bytes([pax({"size": "0"}, b"g"), *SMALL.members()]),
    "checksum wrong": with_member(Member(name=b"README", checksum=b"000000\0 ")),
    "folder with bytes": with_member(Member(name=b"blobs/", typeflag=b"5", data=b"x")),
    "not ustar": with_member(Member(name=b"README", magic=bytes(8))),
    # doubles, strangers, ends
    "member twice": tar_bytes([*SMALL.members(), SMALL.members()[-1]]),
    "index twice": tar_bytes([*SMALL.members(), SMALL.members()[1]]),
    "index twice by ./": tar_bytes([*SMALL.members(), replace(SMALL.members()[1], name=b"./index.json")]),
    "a stranger of 65 MiB": with_member(Member(name=b"movie", data=bytes(65 << 20))),
    "trailing garbage": SMALL.to_tar() + b"garbage".ljust(512, b"!"),
    "second archive behind": SMALL.to_tar() + SMALL.to_tar(),
    "two MiB of zeros behind": SMALL.to_tar() + bytes(2 << 20),
    "no end": tar_bytes(SMALL.members(), end=b""),
    "half an end": tar_bytes(SMALL.members(), end=bytes(512)),
    "nothing": b"",
    "zeros": bytes(1024),
    "one block": bytes(512),
    "a text": b"hello\n" * 200,
    "a short text": b"hello\n",
    # its table of names
    "no index": tar_bytes([SMALL.members()[0], *SMALL.members()[2:]]),
    "index in capitals": tar_bytes([SMALL.members()[0], replace(SMALL.members()[1], name=b"INDEX.JSON"), *SMALL.members()[2:]]),
    "index in wide letters": tar_bytes([SMALL.members()[0], replace(SMALL.members()[1], name="\uff49ndex.json".encode()), *SMALL.members()[2:]]),
    "blob in capitals": tar_bytes([*SMALL.members()[:-1], replace(SMALL.members()[-1], name=SMALL.members()[-1].name.upper())]),
    "all in a folder": in_a_folder(SMALL),
    "no oci-layout": tar_bytes(SMALL.members()[1:]),
    "oci-layout of version 2": replace(SMALL, layout=b'{"imageLayoutVersion":"2.0.0"}').to_tar(),
    "oci-layout no JSON": replace(SMALL, layout=b"{").to_tar(),
    "oci-layout of 5 kB": replace(SMALL, layout=b" " * 5000 + SMALL.layout).to_tar(),
    "index no JSON": index_is(b"{"),
    "index an array": index_is(b"[]"),
    "index empty": index_is(b'{"schemaVersion":2,"manifests":[]}'),
    "index of 9 MiB": index_is(b" " * (9 << 20)),
    "index nested 200,000 deep": index_is(b"[" * 200_000),
    "index with a key twice": index_is(b'{"schemaVersion":2,"schemaVersion":2,"manifests":[]}'),
    "index that is a manifest": index_is(b'{"schemaVersion":2,"layers":[]}'),
    "index both": index_is(b'{"schemaVersion":2,"manifests":[],"layers":[]}'),
    "index in UTF-16": index_is(SMALL.index.decode().encode("utf-16")),
    "index with a byte order mark": index_is(b"\xef\xbb\xbf" + SMALL.index),
    "media type half a character": rows_are({**SMALL.models[0], "mediaType": "\ud800"}),
    "artifact type half a character": rows_are({**SMALL.models[0], "artifactType": "\udfff"}),
    "half a character as bytes": index_is(SMALL.index.replace(b"oci.image.manifest", b"\xed\xa0\x80")),
    "manifest with half a character": manifest_is(
        next(data for data in SMALL.blobs.values() if b'layers":[' in data).replace(b'"mediaType"', b'"\\ud800":1,"mediaType"', 1)
    ),
    "row no object": rows_are(1),
    "row no digest": rows_are({}),
    "digest a path": rows_are({**SMALL.models[0], "digest": "sha256:../../../../etc/passwd"}),
    "digest upper case": rows_are({**SMALL.models[0], "digest": str(SMALL.models[0]["digest"]).upper()}),
    "digest sha512": rows_are({**SMALL.models[0], "digest": "sha512:" + "0" * 128}),
    "size negative": rows_are({**SMALL.models[0], "size": -1}),
    "size true": rows_are({**SMALL.models[0], "size": True}),
    "size of the manifest wrong": rows_are({**SMALL.models[0], "size": 7}),
    "annotations no texts": rows_are({**SMALL.models[0], "annotations": {mediatypes.REF_NAME: 1}}),
    "name missing": rows_are({**SMALL.models[0], "annotations": {}}),
    # CVE-2024-5182, CVE-2026-24137: names that lead elsewhere
    "name dot dot": SMALL.renamed("../../escape").to_tar(),
    "name absolute": SMALL.renamed("/etc/passwd").to_tar(),
    "name file": SMALL.renamed("file:///etc/passwd").to_tar(),
    "name with dots inside": SMALL.renamed("a/../b").to_tar(),
    "name with a NUL": SMALL.renamed("a\0b").to_tar(),
    "name with an escape": SMALL.renamed("a\x1b[2Jb").to_tar(),
    "name with markup": SMALL.renamed("<img onerror=x>").to_tar(),
    "name empty": SMALL.renamed("").to_tar(),
    "name a dash": SMALL.renamed("--help").to_tar(),
    "name of 5,000": SMALL.renamed("a" * 5000).to_tar(),
    "name with a digest": SMALL.renamed("a@sha256:" + "0" * 64).to_tar(),
    "name twice": SMALL.renamed("a:latest", "a:latest").to_tar(),
    "name twice in other case": SMALL.renamed("a:latest", "A:latest").to_tar(),
    "name twice by its tag": SMALL.renamed("a:latest", "a").to_tar(),
    "one name good, one bad": SMALL.renamed("good:latest", "../bad").to_tar(),
    # what it reaches
    "blob missing": tar_bytes(SMALL.members()[:-1]),
    "manifest missing": tar_bytes([*SMALL.members()[:2], *SMALL.members()[3:]]),
    "blob with other bytes": tar_bytes([*SMALL.members()[:-1], replace(SMALL.members()[-1], data=b"y" * 8000)]),
    "blob shorter": tar_bytes([*SMALL.members()[:-1], replace(SMALL.members()[-1], data=b"weights ")]),
    "blob empty": tar_bytes([*SMALL.members()[:-1], replace(SMALL.members()[-1], data=b"")]),
    "manifest with other bytes": tar_bytes([*SMALL.members()[:2], replace(SMALL.members()[2], data=b"{}"), *SMALL.members()[3:]]),
    "index nested too deeply": nested(6).to_tar(),
    "manifest without layers": model_of({"schemaVersion": 2}),
    "manifest of schema 1": model_of({"schemaVersion": 1, "fsLayers": []}),
    "manifest with null config": model_of({"schemaVersion": 2, "config": None, "layers": []}),
    "manifest is a list": model_of([]),
    "path dot dot": manifest_with_path("../escape"),
    "path absolute": manifest_with_path("/etc/passwd"),
    "path backslash": manifest_with_path("a\\..\\b"),
    "path drive": manifest_with_path("C:/x"),
    "path NUL": manifest_with_path("a\0b"),
    "path empty": manifest_with_path(""),
    "path of 4 kB": manifest_with_path("a" * 4096),
}  # fmt: skip

NOT_TARS = {
    "zip": zip_bytes(),
    "zip slip with a tar behind": zip_bytes().ljust(512, b"\0") + SMALL.to_tar(),
    "gzip": gzip.compress(SMALL.to_tar()),
    "gzip bomb": gzip.compress(bytes(64 << 20)),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(2000),
    "xz": b"\xfd7zXZ\0" + bytes(2000),
    "GGUF": b"GGUF" + bytes(2000),
}


def refused(program: Program, outcome: Outcome, tmp_path: Path, *codes: int) -> None:
    """It said why, and everything is as it was."""
    assert outcome.code in codes, outcome.err
    assert outcome.err.count("\n") == 2, "a sentence and a hint"
    assert all(char.isprintable() for line in outcome.err.splitlines() for char in line)
    nothing_is_left(program.store)
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "bundle.tar", "bundle"}
    assert not Path("/tmp/escape").exists()


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "bundle.tar"
        path.write_bytes(data)
        return path

    return write


def test_the_bundle_they_are_made_of_is_good(slmctl: Program, bundle: Callable[[bytes], Path]) -> None:
    done = slmctl("import", str(bundle(SMALL.to_tar())), "--json")
    assert [model["name"] for model in done.json["models"]] == ["small:latest"]


def nothing_is_left(store: Path) -> None:
    """No name, no blob, no temporary, no lease."""
    index = store / "index.json"
    assert not index.exists() or json.loads(index.read_text())["manifests"] == []
    for folder in ("blobs/sha256", "ingest", "leases"):
        path = store / folder
        assert not path.exists() or list(path.iterdir()) == []


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_a_hostile_archive_is_refused(bundle: Callable[[bytes], Path], tmp_path: Path, data: bytes) -> None:
    path = bundle(data)
    store = Store(tmp_path / "home")
    with pytest.raises(BadContent):
        read_in(store, path)
    nothing_is_left(store.root)
    with pytest.raises(BadContent):
        read_piped(store, data)
    nothing_is_left(store.root)
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "bundle.tar"}
    assert not Path("/tmp/escape").exists()


@pytest.mark.parametrize(
    "what", ["dot dot", "symbolic link", "escape sequence", "name with an escape", "blob shorter"]
)
def test_it_is_said(slmctl: Program, bundle: Callable[[bytes], Path], tmp_path: Path, what: str) -> None:
    refused(slmctl, slmctl("import", str(bundle(REFUSED[what]))), tmp_path, 5)
    refused(slmctl, slmctl("import", "-", stdin=REFUSED[what]), tmp_path, 5)
    refused(slmctl, slmctl("run", str(bundle(REFUSED[what])), "x"), tmp_path, 5)
    assert slmctl("import", str(bundle(REFUSED[what])), "--json").json["error"]["code"]


@pytest.mark.parametrize("data", NOT_TARS.values(), ids=NOT_TARS)
def test_what_is_no_tar_is_named(
    slmctl: Program, bundle: Callable[[bytes], Path], tmp_path: Path, data: bytes
) -> None:
    refused(slmctl, slmctl("import", str(bundle(data))), tmp_path, 2)
    refused(slmctl, slmctl("import", "-", stdin=data), tmp_path, 2)


def test_ten_million_members_end_early(
    slmctl: Program, bundle: Callable[[bytes], Path], tmp_path: Path
) -> None:
    """So many that reading them all would be noticed; a sparse file stands for the rest of them."""
    data = b"".join(Member(name=b"m/%d" % number).to_bytes() for number in range(70_000))
    path = bundle(data)
    os.truncate(path, 10_000_000 * 512)
    outcome = slmctl("import", str(path))
    refused(slmctl, outcome, tmp_path, 5)
    assert "more than 65536 files" in outcome.err
    refused(slmctl, slmctl("import", "-", stdin=data), tmp_path, 5)


def test_a_sparse_file_of_a_terabyte_ends_early(
    slmctl: Program, bundle: Callable[[bytes], Path], tmp_path: Path
) -> None:
    path = bundle(SMALL.to_tar())
    os.truncate(path, 1 << 40)
    refused(slmctl, slmctl("import", str(path)), tmp_path, 5)


def test_a_model_larger_than_the_disk_is_refused_at_once(
    slmctl: Program, bundle: Callable[[bytes], Path], tmp_path: Path
) -> None:
    """A sparse archive, whole by its headers, with a blob of 4 TiB."""
    size = 4 << 40
    manifest = json.loads(SMALL.members()[2].data)
    digest = f"sha256:{'a' * 64}"
    manifest["layers"][0] |= {"digest": digest, "size": size}
    raw = canonical_json(manifest)
    config = SMALL.members()[3]
    parts = Parts(models=[row("big:latest", raw)], blobs={sha256(raw).hexdigest(): raw})
    head = pax({"size": str(size)}).to_bytes() + Member(name=b"blobs/sha256/" + b"a" * 64).to_bytes()
    path = bundle(tar_bytes([*parts.members(), config, head], end=b""))
    end = path.stat().st_size + size
    try:
        os.truncate(path, end + 1024)
    except OSError:
        pytest.skip("the file system has no sparse files of 4 TiB")
    refused(slmctl, slmctl("import", str(path)), tmp_path, 1)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/random", "/proc/self/mem"])
def test_devices_are_refused(slmctl: Program, tmp_path: Path, path: str) -> None:
    refused(slmctl, slmctl("import", path), tmp_path, 1, 2)
    refused(slmctl, slmctl("run", path, "x"), tmp_path, 1, 2)


def test_a_fifo_is_refused_without_waiting(slmctl: Program, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bundle")
    refused(slmctl, slmctl("import", str(tmp_path / "bundle")), tmp_path, 2)
    refused(slmctl, slmctl("show", str(tmp_path / "bundle")), tmp_path, 2)


def test_what_is_not_there_is_said(slmctl: Program, tmp_path: Path) -> None:
    refused(slmctl, slmctl("import", str(tmp_path / "none")), tmp_path, 3)
    refused(slmctl, slmctl("import", "a\0b".replace("\0", "\n")), tmp_path, 3)
    refused(slmctl, slmctl("import", ""), tmp_path, 2)
    refused(slmctl, slmctl("import", "/etc/passwd/x"), tmp_path, 3)


def test_setuid_and_owners_mean_nothing(slmctl: Program, bundle: Callable[[bytes], Path]) -> None:
    members = [replace(member, mode=b"0006777\0") for member in SMALL.members()]
    assert slmctl("import", str(bundle(tar_bytes(members)))).code == 0
    modes = {path.stat().st_mode & 0o7777 for path in (slmctl.store / "blobs/sha256").iterdir()}
    assert modes == {0o444}


def test_harmless_strangers_are_passed_over(slmctl: Program, bundle: Callable[[bytes], Path]) -> None:
    """docker save adds two files, GNU tar folders and ./, Python's tarfile extended headers."""
    layout, index, *blobs = SMALL.members()
    members = [
        pax({"comment": "made by hand"}, b"g"),
        Member(name=b"./", typeflag=b"5"),
        Member(name=b"./blobs/sha256/", typeflag=b"5"),
        replace(layout, name=b"./oci-layout", typeflag=b"\0"),
        Member(name=b"manifest.json", data=b"[]"),
        Member(name=b"repositories", data=b"{}"),
        Member(name=b"blobs/sha512/" + b"0" * 64, data=b"x"),
        *(part for blob in blobs for part in (pax({"mtime": "1.5", "size": str(len(blob.data))}), replace(blob, size=0))),
        replace(index, magic=b"ustar  \0", prefix=b"12345"),
    ]  # fmt: skip
    done = slmctl("import", str(bundle(tar_bytes(members, end=bytes(10240)))))
    assert done.code == 0, done.err
    assert "Passed over what is no part of a bundle: manifest.json, repositories, blobs/sha512" in done.err
    assert slmctl("import", "-", "--as", "again", stdin=tar_bytes(members)).code == 0
    assert len(list((slmctl.store / "blobs/sha256").iterdir())) == 3


def test_a_folder_that_was_packed_is_said_to_be_one(slmctl: Program, bundle: Callable[[bytes], Path]) -> None:
    large = in_a_folder(small(weights=bytes(65 << 20)))
    for data in (in_a_folder(SMALL), large):
        for outcome in (slmctl("import", str(bundle(data))), slmctl("import", "-", stdin=data)):
            assert outcome.code == 5
            assert "its files lie in a folder, 'a'" in outcome.err
            assert outcome.hint.endswith("tar -C FOLDER -cf FILE .")


def test_another_way_to_write_checksums_is_read(slmctl: Program, bundle: Callable[[bytes], Path]) -> None:
    data = tar_bytes([odd_checksum(member)[:512] + member.to_bytes()[512:] for member in SMALL.members()])
    assert slmctl("import", str(bundle(data))).code == 0


def test_blobs_that_no_model_has_do_not_stay(slmctl: Program, bundle: Callable[[bytes], Path]) -> None:
    data = SMALL.with_blob(b"nobody's").to_tar()
    assert slmctl("import", str(bundle(data))).code == 0
    assert slmctl("import", "-", "--as", "again", stdin=data).code == 0
    assert sorted(path.name for path in (slmctl.store / "blobs/sha256").iterdir()) == sorted(SMALL.blobs)


def break_folder(folder: Path, what: str) -> None:
    blobs = folder / "blobs" / "sha256"
    weights = blobs / max(SMALL.blobs, key=lambda name: len(SMALL.blobs[name]))
    outside = folder.parent / "home"
    outside.mkdir(exist_ok=True)
    if what == "blob a symbolic link":
        target = outside / "copy"
        target.write_bytes(weights.read_bytes())
        weights.unlink()
        weights.symlink_to(target)
    elif what == "blobs a symbolic link":
        (folder / "blobs").rename(outside / "blobs")
        (folder / "blobs").symlink_to(outside / "blobs")
    elif what == "sha256 a symbolic link":
        blobs.rename(outside / "sha256")
        blobs.symlink_to(outside / "sha256")
    elif what == "index a symbolic link":
        (folder / "index.json").rename(outside / "index.json")
        (folder / "index.json").symlink_to(outside / "index.json")
    elif what == "blob a FIFO":
        weights.unlink()
        os.mkfifo(weights)
    elif what == "index a FIFO":
        (folder / "index.json").unlink()
        os.mkfifo(folder / "index.json")
    elif what == "blob a folder":
        weights.unlink()
        weights.mkdir()
    elif what == "index a folder":
        (folder / "index.json").unlink()
        (folder / "index.json").mkdir()
    elif what == "blob sparse":
        os.truncate(weights, 1 << 40)
    elif what == "blob flipped":
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    elif what == "blob gone":
        weights.unlink()
    elif what == "blobs gone":
        (folder / "blobs").rename(outside / "blobs")
    elif what == "index gone":
        (folder / "index.json").unlink()
    elif what == "layout gone":
        (folder / "oci-layout").unlink()


@pytest.mark.parametrize(
    "what",
    [
        "blob a symbolic link",
        "blobs a symbolic link",
        "sha256 a symbolic link",
        "index a symbolic link",
        "blob a FIFO",
        "index a FIFO",
        "blob a folder",
        "index a folder",
        "blob sparse",
        "blob flipped",
        "blob gone",
        "blobs gone",
        "index gone",
        "layout gone",
    ],
)
def test_a_hostile_folder_is_refused(slmctl: Program, tmp_path: Path, what: str) -> None:
    folder = SMALL.to_folder(tmp_path / "bundle")
    break_folder(folder, what)
    refused(slmctl, slmctl("import", str(folder)), tmp_path, 5)
    if what not in {"blob flipped", "blob sparse"}:  # that is for `verify` to find; an engine gets no others
        shown = slmctl("run", str(folder), "x")
        refused(slmctl, shown, tmp_path, 3, 5)
