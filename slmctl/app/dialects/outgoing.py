"""What a push sends: blobs that can be opened anywhere, documents over them, and which tag names what."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from registry.digest import Digest
from registry.errors import UsageError
from registry.manifest import Descriptor
from registry.remotes.base import Blob, OpenAt
from registry.store.reader import StoreReader

_LONGEST_TAG = 128  # OCI distribution specification


@dataclass(frozen=True, slots=True, kw_only=True)
class OutBlob:
    """A blob to be sent, and how to read it from any offset on."""

    blob: Blob
    open_at: OpenAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or an index to be put."""

    raw: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A model in the format that it is pushed in.

    `documents` stand in the order in which they must be put: what is named before what names it. `root` is
    what the model's tag names, `variants` what a tag of each variant's own names, by the variants' ids; empty
    where the root is the one variant. `notes` say in sentences what the format cannot.
    """

    blobs: tuple[OutBlob, ...]
    documents: tuple[Document, ...]
    root: Digest
    variants: Mapping[str, Digest]
    notes: tuple[str, ...] = ()

    def missing(self, reader: StoreReader) -> tuple[Digest, ...]:
        """The blobs of the store that are not in it: of a sparse model, those that were not pulled."""
        return tuple(
            each.blob.digest
            for each in self.blobs
            if isinstance(each.open_at, _Stored) and not reader.has(each.blob.digest)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A document and the references to put it under: tags, or its digest where no tag names it."""

    document: Document
    references: tuple[str, ...]


def tag_plan(outgoing: Outgoing, tag: str, *, variant_tags: bool = True) -> tuple[Put, ...]:
    """How to put the documents: the root under `tag`, and each variant of several under `tag-<id>` beside it,
    for those who cannot read an index. In this order.

    Raises UsageError for a tag that the variants' ids make too long.
    """
    tags: dict[Digest, list[str]] = {}
    if variant_tags:
        for identity, digest in outgoing.variants.items():
            tags.setdefault(digest, []).append(f"{tag}-{identity}")
    tags.setdefault(outgoing.root, []).insert(0, tag)
    long = next((each for names in tags.values() for each in names if len(each) > _LONGEST_TAG), None)
    if long is not None:
        raise UsageError(
            f"The tag {long[:60]}... is longer than {_LONGEST_TAG} characters.",
            hint="Push under a shorter tag, or with --no-variant-tags.",
        )
    return tuple(
        Put(document=document, references=tuple(tags.get(document.digest, [str(document.digest)])))
        for document in outgoing.documents
    )


@dataclass(slots=True)
class Collector:
    """Gathers what is to be sent, each blob once, in the order in which it came."""

    reader: StoreReader
    blobs: dict[Digest, OutBlob] = field(default_factory=dict)
    documents: dict[Digest, Document] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def put(self, data: bytes, /) -> Digest:
        """Add a small blob that is made here (`packaging.BlobWriter`)."""
        digest = Digest.of(data)
        self.blobs.setdefault(
            digest, OutBlob(blob=Blob(digest=digest, size=len(data)), open_at=_InMemory(data))
        )
        return digest

    def made(self, media_type: str, data: bytes) -> Descriptor:
        """As `put`; gives a descriptor."""
        return Descriptor(media_type=media_type, digest=self.put(data), size=len(data))

    def stored(self, descriptor: Descriptor) -> None:
        """Add a blob of the store."""
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
        self.blobs.setdefault(descriptor.digest, OutBlob(blob=blob, open_at=_Stored(self.reader, descriptor)))

    def streamed(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        """Add a blob that is nowhere as a whole."""
        blob = Blob(digest=descriptor.digest, size=descriptor.size)
        self.blobs.setdefault(descriptor.digest, OutBlob(blob=blob, open_at=open_at))

    def document(self, raw: bytes, media_type: str) -> Digest:
        """Add a manifest or an index, behind all that it names."""
        document = Document(raw=raw, media_type=media_type)
        self.documents.setdefault(document.digest, document)
        self.blobs.pop(document.digest, None)
        return document.digest

    def promote(self, digest: Digest, media_type: str) -> None:
        """Make a document of a small blob that was put."""
        open_at = self.blobs[digest].open_at
        with open_at(0) as stream:
            self.document(stream.read(), media_type)

    def in_memory(self, data: bytes) -> OpenAt:
        """Bytes that are part of something else, to be opened."""
        return _InMemory(data)

    def note(self, text: str) -> None:
        """Say something once."""
        self.notes[text] = None

    def outgoing(self, root: Digest, variants: Mapping[str, Digest]) -> Outgoing:
        """All of it. Small blobs first: a registry that takes none of it says so before the gigabytes."""
        several = {} if list(variants.values()) == [root] else dict(variants)
        return Outgoing(
            blobs=tuple(sorted(self.blobs.values(), key=lambda each: each.blob.size)),
            documents=tuple(self.documents.values()),
            root=root,
            variants=several,
            notes=tuple(self.notes),
        )


@dataclass(frozen=True, slots=True)
class _InMemory:
    data: bytes

    def __call__(self, offset: int, /) -> BinaryIO:
        return io.BytesIO(self.data[offset:])


@dataclass(frozen=True, slots=True)
class _Stored:
    reader: StoreReader
    descriptor: Descriptor

    def __call__(self, offset: int, /) -> BinaryIO:
        stream = self.reader.open_blob(self.descriptor)
        stream.seek(offset)
        return stream
