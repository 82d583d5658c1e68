"""Where lost bytes may be had on this machine. Remotes are further sources of the same kind."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from modelfiles.spec import ModelSpec
from registry import mediatypes
from registry.digest import Digest
from registry.errors import SlmctlError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.manifest import Descriptor, Manifest, modelpack_config
from registry.names import parse_name
from registry.store.bundle import open_bundle
from registry.store.ingest import SourceFile
from registry.store.origins import origin_of
from registry.store.quarantine import in_quarantine
from registry.store.reader import StoreReader
from registry.store.repair import Found, RepairSource
from registry.store.store import Store
from slmctl.app.events import Note, OnEvent
from slmctl.app.shipped import package_shipped
from slmctl.app.ships import SHIPPED
from slmctl.app.variants import manifests_of


def sources_of(store: Store, further: Iterable[StoreReader], on_event: OnEvent) -> list[RepairSource]:
    """All sources in the order in which they are asked."""
    return [
        *(OtherStore(reader) for reader in further),
        FileItCameFrom(store, on_event),
        Rebuilt(store),
        FlippedBack(store),
        Shipped(),
    ]


class FileItCameFrom:
    """The user's file that was taken in, or the archive that it came out of, where a hint says it was."""

    def __init__(self, store: StoreReader, on_event: OnEvent) -> None:
        self._store = store
        self._on_event = on_event

    def find(self, wanted: Descriptor) -> Found | None:
        origin = origin_of(self._store.layout, wanted.digest)
        if origin is None:
            return None
        stream = _open_file(origin.path)
        if stream is None:
            self._on_event(Note(text=f"{origin.path}, which {wanted.digest.short} came from, is gone."))
            return None
        status = os.fstat(stream.fileno())
        if (status.st_size, status.st_mtime_ns) != (origin.size, origin.mtime_ns):
            self._on_event(
                Note(text=f"{origin.path}, which {wanted.digest.short} came from, was changed since.")
            )
        if status.st_size != wanted.size:
            stream.close()
            archive = open_bundle(origin.path)  # it stays open as long as the stream does
            return Found(stream=archive.open_blob(wanted), shown=str(origin.path))
        return Found(stream=stream, shown=str(origin.path))


class OtherStore:
    """Another store or a bundle."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def find(self, wanted: Descriptor) -> Found | None:
        if not self._reader.has(wanted.digest):
            return None
        return Found(stream=self._reader.open_blob(wanted), shown=f"the store {self._reader.root}")


class Shipped:
    """The models that come with slmctl. They are made anew in a store of their own: each has its digest."""

    @functools.cached_property
    def _made(self) -> tuple[Store, tempfile.TemporaryDirectory[str]]:
        folder = tempfile.TemporaryDirectory(prefix="slmctl-")
        store = Store(Path(folder.name))
        for name in SHIPPED:
            with suppress(SlmctlError):
                package_shipped(store, parse_name(name))
        return store, folder

    def find(self, wanted: Descriptor) -> Found | None:
        store, _ = self._made
        if not store.has(wanted.digest):
            return None
        return Found(stream=store.open_blob(wanted), shown="the models that come with slmctl")


class FlippedBack:
    """A small file in the quarantine that is right again when one of its bits is turned."""

    MOST_BYTES = 16 << 10  # a second or two of trying

    def __init__(self, store: StoreReader) -> None:
        self._store = store

    def find(self, wanted: Descriptor) -> Found | None:
        if wanted.size > self.MOST_BYTES:
            return None
        for path in in_quarantine(self._store.layout).get(wanted.digest, []):
            stream = _open_file(path)
            if stream is None:
                continue
            with stream:
                data = bytearray(stream.read(self.MOST_BYTES + 1))
            if len(data) == wanted.size and _turn_one_bit(data, wanted.digest):
                return Found(
                    stream=io.BytesIO(data), shown="the quarantine, with one flipped bit turned back"
                )
        return None


def _turn_one_bit(data: bytearray, digest: Digest) -> bool:
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            if hashlib.sha256(data).hexdigest() == digest.hex:
                return True
            data[position] ^= 1 << bit
    return False


class Rebuilt:
    """The small files that follow from others: a variant's config from its manifest, an author's spec that
    says nothing."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store

    def find(self, wanted: Descriptor) -> Found | None:
        for data in self._guesses(wanted):
            if Digest.of(data) == wanted.digest:
                return Found(stream=io.BytesIO(data), shown="the model's manifest")
        return None

    def _guesses(self, wanted: Descriptor) -> Iterator[bytes]:
        empty = ModelSpec().to_canonical_bytes()
        if len(empty) == wanted.size:
            yield empty
        for manifest in self._manifests():
            if manifest.config.digest == wanted.digest:
                yield from self._configs(manifest)

    def _configs(self, manifest: Manifest) -> Iterator[bytes]:
        try:
            facts = ModelFacts.from_json(json.loads(manifest.annotations[mediatypes.SLMCTL_FACTS]))
        except (KeyError, ValueError, RecursionError, SlmctlError):
            return
        for licenses in ([], self._license(manifest)):
            yield modelpack_config(
                architecture=facts.architecture,
                format=facts.format,
                quantization=facts.quantization,
                parameters=facts.parameters,
                licenses=licenses,
                diff_ids=[layer.digest for layer in manifest.layers],
            )

    def _license(self, manifest: Manifest) -> list[str]:
        """What the weights' own header says."""
        for layer in manifest.layers:
            with suppress(SlmctlError, OSError), self._store.open_blob(layer) as stream:
                license_ = read_header(stream).license
                return [license_] if license_ else []
        return []

    def _manifests(self) -> Iterator[Manifest]:
        for entry in self._store.names().entries.values():
            with suppress(SlmctlError, OSError):
                yield from manifests_of(self._store, entry.descriptor)


def _open_file(path: Path) -> BinaryIO | None:
    """A plain file of the user's, opened; None where there is none to be had."""
    with suppress(SlmctlError, OSError, ValueError):
        return os.fdopen(SourceFile(path).fd, "rb")
    return None
