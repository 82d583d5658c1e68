"""Listings of repositories as the hub gives them, from paths alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from registry.digest import Digest
from registry.remotes.base import HubFile, Listing

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_file(path: str, data: bytes = b"", size: int | None = None) -> HubFile:
    """A file with the hashes of `data`; large by its ending."""
    large = path.endswith((".gguf", ".safetensors", ".onnx", ".data", ".bin", "tokenizer.json"))
    return HubFile(
        path=path,
        size=len(data) if size is None else size,
        sha256=Digest.of(path.encode() + data) if large else None,
        git_sha1=None if large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
    )


def listing(*paths: str, selector: str | None = None, files: Mapping[str, bytes] | None = None) -> Listing:
    """A repository `org/repo` of these paths, and of `files` with their contents."""
    found = [hub_file(path, size=100) for path in paths]
    found += [hub_file(path, data) for path, data in (files or {}).items()]
    return Listing(pinned=f"hf://org/repo@{COMMIT}", commit=COMMIT, selector=selector, files=tuple(found))
