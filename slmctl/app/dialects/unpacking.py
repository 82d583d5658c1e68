"""Unpacking artifacts whose files lie in tars: engines map whole files, so they become a model of ours.
So do artifacts of raw files that hold several models, of which each becomes a variant.

Each file becomes a blob, and the manifest is ModelPack as slmctl writes it: the same artifact gives the same
digest on any machine. Code and data sets are left out, and so not even fetched. Weights get the names that
slmctl gives them; of the others the path is kept behind the folder that all of the model lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from registry.digest import Digest
from registry.layers.decompress import DEFAULT_BOUNDS, Bounds
from registry.layers.layer import LayerReader
from registry.manifest import Descriptor, Manifest
from registry.store.reader import StoreReader
from registry.store.store import Session
from slmctl.app.dialects.described import BlobReader, Described, Part, check_paths, role_of_name
from slmctl.app.dialects.diff_ids import diff_ids
from slmctl.app.dialects.reading import describe
from slmctl.app.events import ByteCounter, Note, OnEvent, ignore
from slmctl.app.file_names import checked_path
from slmctl.app.ollama_manifest import is_ollama
from slmctl.app.package import PackageFile
from slmctl.app.packaging import write_model

OpenLayer = Callable[[Descriptor], AbstractContextManager[Iterable[bytes]]]
"""Gives the bytes of a layer as they are, in pieces: a remote's `Body`, or a blob of the store."""

_CHUNK_BYTES = 256 << 10
_KINDS = {"config": "config"}  # what a layer of weights holds beside them is known by its name only


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an artifact needs before it can be used. `layers` are to be fetched (also where it is not packed),
    `left_out` says in a sentence which are not, and why; None where that are none."""

    packed: bool
    layers: tuple[Descriptor, ...]
    left_out: str | None


def needs(blobs: BlobReader, manifest: Manifest) -> Needs:
    """Whether a manifest must be unpacked, and which of its layers are wanted. Raises as `describe`."""
    if is_ollama(manifest):
        return Needs(packed=False, layers=manifest.layers, left_out=None)
    said = describe(blobs, manifest)
    if not said.packed:  # kept as it is, byte for byte
        return Needs(packed=False, layers=manifest.layers, left_out=None)
    return Needs(packed=True, layers=tuple(part.layer for part in said.parts), left_out=_left_out(said))


def unpack(
    session: Session,
    store: StoreReader,
    manifest: Manifest,
    *,
    blobs: BlobReader,
    open_layer: OpenLayer,
    on_event: OnEvent = ignore,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> Descriptor:
    """Make a model of the files in the layers of `manifest`; gives the descriptor of its manifest or index.

    `session` is one of `store`; `blobs` has the artifact's config. The layers are hashed on their way, so
    they may come from anywhere. Raises MalformedFile, DigestMismatch, SizeMismatch, DoesNotFit for one
    without a model, UsageError for builds that cannot be told apart, and what `open_layer` and the store do.
    """
    said = describe(blobs, manifest)
    if text := _left_out(said):
        on_event(Note(text=text))
    from slmctl.app.dialects.building import builds_of  # with Modelfiles and templates; `needs` needs neither

    known = diff_ids(blobs, manifest)
    files: list[PackageFile] = []
    for part in said.parts:
        if part.packing:
            diff_id = known.get(part.layer.digest)
            files += _unpacked(session, part, open_layer, diff_id, on_event, bounds)
        elif part.role != "spec":
            files.append(_taken(session, store, part, open_layer, on_event))
    files = _flattened(files)
    check_paths(Part(path=file.path, role=file.role, layer=file.descriptor) for file in files)
    builds = builds_of(store, files, said, on_event)
    session.keep({file.digest for build in builds for file in build.files})
    return write_model(session, builds)


def from_store(store: StoreReader) -> OpenLayer:
    """Layers that are blobs of a store."""

    @contextmanager
    def opened(layer: Descriptor) -> Iterator[Iterable[bytes]]:
        with store.open_blob(layer) as stream:
            yield iter(lambda: stream.read(_CHUNK_BYTES), b"")

    return opened


def _left_out(said: Described) -> str | None:
    if not said.left_out:
        return None
    names = ", ".join(part.path for part in said.left_out[:3])
    more = f" and {len(said.left_out) - 3} more" if len(said.left_out) > 3 else ""
    return f"Code and data sets are not taken from the artifact ({names}{more})."


def _unpacked(
    session: Session,
    part: Part,
    open_layer: OpenLayer,
    diff_id: Digest | None,
    on_event: OnEvent,
    bounds: Bounds,
) -> Iterator[PackageFile]:
    with open_layer(part.layer) as chunks:
        layer = LayerReader(part.layer, chunks, part.packing, diff_id=diff_id, bounds=bounds)
        for file in layer.files():
            path = checked_path(file.path)
            progress = ByteCounter(on_event, stage="unpack", item=path, total=file.size)
            digest = session.take_stream(layer.chunks(), file.size, progress)
            role = part.role if part.role == "doc" else role_of_name(path, _KINDS.get(part.role, ""))
            yield PackageFile(path=path, role=role, digest=digest, size=file.size)


def _taken(
    session: Session, store: StoreReader, part: Part, open_layer: OpenLayer, on_event: OnEvent
) -> PackageFile:
    """A layer that is a file already, and lies beside others that are not."""
    layer = part.layer
    if not store.has(layer.digest):
        progress = ByteCounter(on_event, stage="unpack", item=part.path, total=layer.size)
        with open_layer(layer) as chunks:
            session.receive(layer, chunks, progress)
    session.keep([layer.digest])
    return PackageFile(path=part.path, role=part.role, digest=layer.digest, size=layer.size)


def _flattened(files: Sequence[PackageFile]) -> list[PackageFile]:
    """The files without the folder that all of the model lies in, where that makes no two names one."""
    folders = [PurePosixPath(file.path).parts[:-1] for file in files if file.role != "doc"]
    common: tuple[str, ...] = min(folders, default=())
    while common and not all(folder[: len(common)] == common for folder in folders):
        common = common[:-1]
    if not common:
        return list(files)
    prefix = "/".join(common) + "/"
    flat = [replace(file, path=file.path.removeprefix(prefix)) for file in files]
    if len({file.path for file in flat}) != len({file.path for file in files}):
        return list(files)
    return flat
