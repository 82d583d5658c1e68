"""The models in a store of Ollama's: manifests/HOST/NAMESPACE/MODEL/TAG over blobs/sha256-HEX.

Ollama writes a blob under another name and renames it, and never writes to it again; so blobs may be linked.
It does not make its manifests so, and one may be torn: they are read and kept by value. The digest in a
blob's name is believed for large blobs (the store hashes them when their note does not fit, and `verify`
always); small ones are hashed now. Source: Ollama 0.33 (manifest/, server/images.go).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from registry.digest import Digest
from registry.errors import BadContent, MalformedFile, NotFound
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest, parse
from registry.names import OLLAMA_HOST, OLLAMA_NAMESPACE
from slmctl.app.foreign.found import (
    FoundFile,
    FoundModel,
    Place,
    entries_of,
    is_folder,
    named,
    reason,
    shown,
)
from slmctl.app.ollama_manifest import is_ollama, read_model

SMALL_BYTES = 1 << 20
"""Blobs up to this size are hashed when they are adopted."""


def models_in(place: Place) -> Iterator[FoundModel]:
    """All models of the store, by name. What is wrong with one is said of it, and the others go on."""
    manifests = place.root / "manifests"
    level: list[tuple[Path, tuple[str, ...]]] = [(manifests, ())]
    for depth in range(4):
        below = []
        for folder, parts in level:
            try:
                entries = entries_of(folder)
            except OSError as error:
                if folder != manifests or not isinstance(error, FileNotFoundError):
                    problem = f"The folder {shown(folder)} cannot be read ({reason(error)})."
                    yield FoundModel(name=shown("/".join(parts) or "manifests"), place=place, problem=problem)
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # a desktop's, such as .DS_Store
                if depth == 3 and not is_folder(entry):
                    yield _model(place, Path(entry.path), (*parts, entry.name))
                elif depth < 3 and is_folder(entry):  # a link to a folder is not followed: it may be a loop
                    below.append((Path(entry.path), (*parts, entry.name)))
        level = below


def _model(place: Place, path: Path, parts: tuple[str, ...]) -> FoundModel:
    host, namespace, model, tag = parts
    if host == OLLAMA_HOST:
        text = f"{model}:{tag}" if namespace == OLLAMA_NAMESPACE else f"{namespace}/{model}:{tag}"
    else:
        text = f"{host}/{namespace}/{model}:{tag}"
    name = named(text, place)
    if isinstance(name, FoundModel):
        return name
    try:
        raw = _read_small(path, MAX_MANIFEST_BYTES)
        manifest = parse(raw)
        if not isinstance(manifest, Manifest) or not is_ollama(manifest):
            raise MalformedFile("The manifest is not one of Ollama's.")
        found = {blob.digest: _file(place, blob) for blob in manifest.blobs}
        said = read_model(_Blobs({digest: file.path for digest, file in found.items()}), manifest)
    except (BadContent, NotFound) as error:
        return FoundModel(name=name, place=place, problem=error.message)
    except OSError as error:
        problem = f"{shown(error.filename or path)} cannot be read ({reason(error)})."
        return FoundModel(name=name, place=place, problem=problem)
    roles = {layer.digest: role for role, layer in said.layers}
    files = [replace(file, role=roles.get(digest, "config")) for digest, file in found.items()]
    if said.remote is not None or "weights" not in roles.values():
        where = f"at {shown(said.remote)}" if said.remote else "somewhere else"
        problem = f"It runs {where}; its weights are not on this machine."
        return FoundModel(name=name, place=place, problem=problem)
    return FoundModel(
        name=name,
        place=place,
        files=tuple(files),
        manifest=raw,
        model_format=said.format,
        notes=said.ignored,
    )


def _file(place: Place, blob: Descriptor) -> FoundFile:
    """The file of a blob. Raises NotFound, BadContent, OSError."""
    path = place.root / "blobs" / f"sha256-{blob.digest.hex}"
    real = Path(os.path.realpath(path))  # people put large blobs on another disk, and leave a link
    try:
        status = real.lstat()
    except FileNotFoundError:
        unfinished = path.with_name(f"{path.name}-partial").exists()
        how = "was not downloaded completely" if unfinished else "is missing"
        raise NotFound(f"Its blob {path.name} {how}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadContent(f"Its blob {path.name} is not a regular file.")
    if status.st_size != blob.size:
        raise BadContent(f"Its blob {path.name} has {status.st_size} bytes instead of {blob.size}.")
    if not os.access(real, os.R_OK):
        raise PermissionError(13, os.strerror(13), str(real))
    if blob.size <= SMALL_BYTES and Digest.of(_read_small(real, SMALL_BYTES)) != blob.digest:
        raise BadContent(f"Its blob {path.name} is damaged: its bytes have another digest.")
    in_place = real.parent == Path(os.path.realpath(path.parent))
    return FoundFile(path=real, role="config", size=blob.size, digest=blob.digest, may_link=in_place)


class _Blobs:
    """The blobs of one model where Ollama has them; each was looked at."""

    def __init__(self, paths: dict[Digest, Path]) -> None:
        self._paths = paths

    def read_blob(self, descriptor: Descriptor) -> bytes:
        data = _read_small(self._paths[descriptor.digest], MAX_MANIFEST_BYTES)
        if Digest.of(data) != descriptor.digest:
            raise BadContent(f"Its blob {descriptor.digest} is damaged: its bytes have another digest.")
        return data


def _read_small(path: Path, limit: int) -> bytes:
    """A regular file of at most `limit` bytes. Raises BadContent, OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadContent(f"{shown(path.name)} is not a regular file.")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise BadContent(f"{shown(path.name)} is larger than {limit >> 20} MiB.")
    return data
