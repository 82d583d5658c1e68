"""Base images, made here of Debian's busybox-static and put into a registry by skopeo."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.registries.programs import Registry, need

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""The one that a busybox here is for."""

_BUSYBOX = Path("/bin/busybox")
_APPLETS = ("sh", "ln", "ls", "sleep", "echo", "cat")
_PATH = "PATH=/opt/tools:/bin"


def busybox_layer() -> bytes:
    """A tar with busybox and what it is called; skips where it is not installed."""
    if not _BUSYBOX.exists() or not _is_static(_BUSYBOX.read_bytes()):
        pytest.skip("needs busybox-static")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for folder in ("bin", "mnt", "proc"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        info = tarfile.TarInfo("bin/busybox")
        info.mode, info.size = 0o755, _BUSYBOX.stat().st_size
        archive.addfile(info, io.BytesIO(_BUSYBOX.read_bytes()))
        for applet in _APPLETS:
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(info)
    return made.getvalue()


def text_layer(path: str, text: str) -> bytes:
    """A tar with one small file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo(path)
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


class Layout:
    """An OCI image layout that grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self._blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def image(
        self, layers: Sequence[bytes], *, config: Mapping[str, object], os: str = "linux", architecture: str
    ) -> dict[str, Any]:
        """An image of tars, the first of which is sent as it is and the others packed."""
        described = []
        for place, tar in enumerate(layers):
            data = gzip.compress(tar, mtime=0) if place else tar
            packing = "+gzip" if place else ""
            described.append(self.put(data, f"application/vnd.oci.image.layer.v1.tar{packing}"))
        history = [{"created_by": f"layer {place}"} for place in range(len(layers))]
        document = {
            "architecture": architecture,
            "os": os,
            "created": "2020-02-02T00:00:00Z",
            "config": config,
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in layers],
            },
            "history": [{"created_by": "ENV", "empty_layer": True}, *history],
        }
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": self.put(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json"),
                "layers": described,
            }
        ).encode()
        put = self.put(raw, "application/vnd.oci.image.manifest.v1+json")
        return {**put, "platform": {"os": os, "architecture": architecture}}

    def index(self, *images: Mapping[str, object]) -> dict[str, Any]:
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": images,
            }
        ).encode()
        return self.put(raw, "application/vnd.oci.image.index.v1+json")

    def push(self, root: Mapping[str, object], registry: Registry, reference: str) -> str:
        """Put it into a registry; gives the digest it has there."""
        need("skopeo")
        named = {**root, "annotations": {"org.opencontainers.image.ref.name": "base"}}
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
        subprocess.run(
            ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
             f"oci:{self.folder}:base", f"docker://{registry.host}/{reference}"],
            check=True, capture_output=True,
        )  # fmt: skip
        return str(root["digest"])


CONFIG = {
    "Env": [_PATH],
    "Cmd": ["sh"],
    "Entrypoint": ["/bin/nothing"],
    "Labels": {"vendor": "a test"},
    "User": "1000",
    "Volumes": {"/models": {}},
    "WorkingDir": "/mnt",
}


def push_busybox(folder: Path, registry: Registry, reference: str) -> str:
    """An image for linux on both architectures and for windows; a program that runs is in the one of this
    machine. Gives its digest."""
    layout = Layout(folder)
    images = []
    for os, architecture in (("windows", "amd64"), ("linux", "amd64"), ("linux", "arm64")):
        runs = (os, architecture) == ("linux", ARCHITECTURE)
        first = busybox_layer() if runs else text_layer("bin/busybox", f"for {os}/{architecture}")
        layers = [first, text_layer("etc/base", "from the base")]
        images.append(layout.image(layers, config=CONFIG, os=os, architecture=architecture))
    return layout.push(layout.index(*images), registry, reference)


def _is_static(program: bytes) -> bool:
    """Whether a 64-bit ELF file asks for no interpreter (PT_INTERP is 3)."""
    start, size, count = (
        int.from_bytes(program[at : at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2))
    )
    kinds = [program[start + place * size] for place in range(count)]
    return program[:5] == b"\x7fELF\x02" and 3 not in kinds
