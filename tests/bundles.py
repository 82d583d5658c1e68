"""Bundles for tests: small valid ones, and tars that no honest tool would write."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from registry import mediatypes
from registry.digest import Digest
from registry.manifest import (
    Descriptor,
    canonical_json,
    modelpack_config,
    modelpack_layer,
    modelpack_manifest,
)
from registry.store.store import Store
from slmctl.app.importing import Imported, ImportRequest, import_bundle

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
WEIGHTS = b"weights " * 1000
NOW = "2026-11-22T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of a tar, byte by byte: whatever is not given is as it should be."""

    name: bytes
    data: bytes = b""
    typeflag: bytes = b"0"
    size: int | None = None
    linkname: bytes = b""
    mode: bytes = b"0000644\0"
    magic: bytes = b"ustar\00000"
    prefix: bytes = b""
    raw_size: bytes | None = None
    checksum: bytes | None = None
    pad: bool = True

    def to_bytes(self) -> bytes:
        size = len(self.data) if self.size is None else self.size
        block = b"".join(
            (
                self.name.ljust(100, b"\0"),
                self.mode,
                b"0000000\0",
                b"0000000\0",
                self.raw_size or f"{size:011o}\0".encode(),
                b"00000000000\0",
                b" " * 8,
                self.typeflag,
                self.linkname.ljust(100, b"\0"),
                self.magic,
                bytes(32),
                bytes(32),
                b"0000000\0",
                b"0000000\0",
                self.prefix.ljust(155, b"\0"),
                bytes(12),
            )
        )
        assert len(block) == 512, len(block)
        checksum = self.checksum or f"{sum(block):06o}\0 ".encode()
        padding = bytes(-len(self.data) % 512) if self.pad else b""
        return block[:148] + checksum + block[156:] + self.data + padding


def tar_bytes(members: Iterable[Member | bytes], end: bytes = bytes(1024)) -> bytes:
    """A tar of members, or of raw bytes in their place."""
    parts = [each if isinstance(each, bytes) else each.to_bytes() for each in members]
    return b"".join(parts) + end


def pax(records: Mapping[str, str | bytes], typeflag: bytes = b"x") -> Member:
    """An extended header."""
    data = b""
    for key, value in records.items():
        rest = b" " + key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()) + b"\n"
        length = len(rest) + len(str(len(rest)))
        length = len(rest) + len(str(length))
        data += str(length).encode() + rest
    return Member(name=b"PaxHeader", data=data, typeflag=typeflag)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a bundle consists of; `models` are the rows of its index.json."""

    models: Sequence[Mapping[str, object]]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    layout: bytes = LAYOUT

    @property
    def index(self) -> bytes:
        return canonical_json(
            {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": list(self.models)}
        )

    def members(self) -> list[Member]:
        return [
            Member(name=b"oci-layout", data=self.layout),
            Member(name=b"index.json", data=self.index),
            *(Member(name=f"blobs/sha256/{name}".encode(), data=data) for name, data in self.blobs.items()),
        ]

    def to_tar(self) -> bytes:
        return tar_bytes(self.members())

    def to_folder(self, folder: Path) -> Path:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for name, data in self.blobs.items():
            (blobs / name).write_bytes(data)
        (folder / "oci-layout").write_bytes(self.layout)
        (folder / "index.json").write_bytes(self.index)
        return folder

    def renamed(self, *names: str) -> Parts:
        """The first model under other names."""
        rows = [{**self.models[0], "annotations": {mediatypes.REF_NAME: name}} for name in names]
        return replace(self, models=rows)

    def with_blob(self, data: bytes) -> Parts:
        return replace(self, blobs={**self.blobs, sha256(data).hexdigest(): data})


def read_in(store: Store, path: Path) -> list[Imported]:
    """Import a file or a folder."""
    return import_bundle(store, ImportRequest(path=path), now=NOW)


def read_piped(store: Store, data: bytes) -> list[Imported]:
    """Import from a pipe, written to by a thread."""
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as stream:
            view = memoryview(data)
            while view:
                view = view[stream.write(view) :]

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return import_bundle(store, ImportRequest(path=None, stdin=reading), now=NOW)
    finally:
        os.close(reading)
        thread.join()


def small(name: str = "small:latest", weights: bytes = WEIGHTS) -> Parts:
    """A bundle with one model of a few kilobytes, which no engine would load."""
    digest = Digest.of(weights)
    config = modelpack_config(
        architecture=None, format="gguf", quantization=None, parameters=None, licenses=[], diff_ids=[digest]
    )
    manifest = modelpack_manifest(
        config=Descriptor(media_type=mediatypes.MODELPACK_CONFIG, digest=Digest.of(config), size=len(config)),
        layers=[
            modelpack_layer(
                media_type=mediatypes.MODELPACK_WEIGHT, digest=digest, size=len(weights), path="model.gguf"
            )
        ],
        annotations={},
    )
    blobs = {Digest.of(data).hex: data for data in (manifest.raw, config, weights)}
    return Parts(models=[row(name, manifest.raw)], blobs=blobs)


def row(name: str | None, manifest: bytes) -> dict[str, object]:
    """A row of index.json for a manifest."""
    descriptor = Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=Digest.of(manifest),
        size=len(manifest),
    )
    annotations = {} if name is None else {"annotations": {mediatypes.REF_NAME: name}}
    return {**descriptor.to_json(), **annotations}
