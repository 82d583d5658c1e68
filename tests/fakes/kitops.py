"""ModelKits as KitOps packs them: a Kitfile as config, each entry a tar, compressed or not (formats.md 4.7)."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from typing import Any

import zstandard

from tests.fakes.artifact import FakeArtifact, digest_of

CONFIG = "application/vnd.kitops.modelkit.config.v1+json"


def packed(files: Mapping[str, bytes], *, folders: tuple[str, ...] = ()) -> bytes:
    """A tar as Go writes it: folders before what is in them, a pax header for what ustar cannot say."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def compressed(data: bytes, packing: str) -> bytes:
    if packing == "tar+gzip":
        return gzip.compress(data, mtime=0)
    if packing == "tar+zstd":
        return zstandard.ZstdCompressor().compress(data)
    return data


def model_kit(
    model: Mapping[str, bytes],
    *,
    parts: Mapping[str, bytes] = {},
    docs: Mapping[str, bytes] = {},
    code: Mapping[str, bytes] = {},
    packing: str = "tar+gzip",
    infos: bool = True,
    folders: tuple[str, ...] = (),
) -> FakeArtifact:
    """A kit: `model` is one layer, of `parts`, `docs` and `code` each file is one."""
    made = FakeArtifact()

    def entry(kind: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        tar = packed(files, folders=folders if kind == "model" else ())
        data = compressed(tar, packing)
        made.layer(f"application/vnd.kitops.modelkit.{kind}.v1.{packing}", data)
        path = next(iter(files)) if len(files) == 1 else "./"
        info = {"layerInfo": {"digest": digest_of(data), "diffId": digest_of(tar)}} if infos else {}
        return {"path": path, **info}

    kitfile: dict[str, Any] = {
        "manifestVersion": "1.0.0",
        "package": {"name": "kit", "version": "1.0.0", "authors": ["somebody"]},
        "model": {"name": "m", "license": "Apache-2.0", "framework": "gguf", **entry("model", model)},
    }
    if parts:
        kitfile["model"]["parts"] = [entry("modelpart", {path: data}) for path, data in parts.items()]
    if code:
        kitfile["code"] = [entry("code", {path: data}) for path, data in code.items()]
    if docs:
        kitfile["docs"] = [entry("docs", {path: data}) for path, data in docs.items()]
    made.configure(CONFIG, kitfile)
    return made
