"""What a file looks like that is not what it was said to be."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest

from registry.errors import MalformedFile
from registry.formats.gguf import read_header
from registry.formats.sniff import describe


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-LFS pointer"),
        (_zip(), "zip"),
        (pickle.dumps({"w": 1}, protocol=2), "pickle"),
        (pickle.dumps({"w": 1}, protocol=5), "pickle"),
        ((99).to_bytes(8, "little") + b'{"__metadata__":{}}', "safetensors"),
        (b"\n<!DOCTYPE HTML><html>", "web page"),
        (b"<html><body>Access denied", "web page"),
        (b'{"error":"Repository not found"}', "JSON"),
        (b"tjgg\1\0\0\0", "GGJT"),
        (b"FUGG\0\0\0\3", "swapped"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_named_in_the_refusal(head: bytes, says: str) -> None:
    with pytest.raises(MalformedFile, match=says):
        read_header(io.BytesIO(head + b"\0" * 600 if head else head))
    assert says in str(describe(head))


def test_unknown_bytes() -> None:
    assert describe(b"\0\0\0\0 what") is None
