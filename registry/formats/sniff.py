"""What a file is, by its first bytes: so that a refusal can say what was found instead."""

from __future__ import annotations

SNIFF_BYTES = 512
"""How many leading bytes `describe` wants to see; fewer are fine."""

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a git-LFS pointer; the model itself was never downloaded"),
    (b"PK\x03\x04", "a zip archive, as PyTorch checkpoints are"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"lmgg", "a model in the old GGML format; convert it again"),
    (b"fmgg", "a model in the old GGMF format; convert it again"),
    (b"tjgg", "a model in the old GGJT format; convert it again"),
    (b"algg", "an adapter in the old GGLA format; convert it again"),
    (b"FUGG", "a GGUF file with its bytes swapped"),
    (b"{", "JSON text"),
)
_MARKUP = (b"<!doctype html", b"<html", b"<head", b"<?xml")


def describe(head: bytes) -> str | None:
    """Say what a file that begins with `head` looks like, or None for bytes we do not know.

    Signatures: PKWARE APPNOTE 4.3.7, RFC 1952, RFC 8878, the git-lfs pointer specification, Python's
    pickletools (protocol 2 and later begin with 0x80 and the protocol number), the safetensors format (a
    little-endian u64 length, then a JSON object).
    """
    if not head:
        return "an empty file"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file"
    for prefix, description in _PREFIXES:
        if head.startswith(prefix):
            return description
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle, which can run code and is never opened"
    if head.lstrip().lower().startswith(_MARKUP):
        return "a web page; the download gave a page, not the file"
    return None
