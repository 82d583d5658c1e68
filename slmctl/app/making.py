"""GGUF files that are made here: converted from what a model's makers publish, and quantized.

Each is written into the store by its path, held against our own reader of headers, and becomes a blob whole
or not at all. Whether there is room for all of it is asked before the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.errors import NoSpace
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.ingest import Draft
from registry.store.reader import StoreReader
from registry.store.room import free_bytes
from registry.store.session import Session
from runtimes.convert.convert import convert, convert_to_floats
from runtimes.convert.files import SourceFiles
from runtimes.convert.lora import convert_adapter
from runtimes.convert.values import Conversion
from runtimes.convert.writer import file_size
from runtimes.convert.writer import write as write_conversion
from runtimes.quantize.quantize import Prepared, prepare
from runtimes.quantize.quantize import write as write_quantized
from runtimes.quantize.request import QuantizeRequest
from slmctl.app.events import ByteCounter, Note, OnEvent
from slmctl.app.file_names import file_path
from slmctl.app.package import PackageFile
from slmctl.app.sources import read_gguf
from slmctl.app.wanted import Recipe

_MARGIN_BYTES = 16 << 20
"""What must be left on the disk: manifests, the table of names, a lease."""

_MOST_NOTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFile:
    """A GGUF in the store, in one file, and what its header says."""

    file: PackageFile
    facts: ModelFacts
    license: str | None


class Maker:
    """Makes files in one session of the store. `shown` is what messages call the model, `environ` what the
    child that quantizes gets its environment from."""

    def __init__(
        self, session: Session, *, shown: str, environ: Mapping[str, str], on_event: OnEvent
    ) -> None:
        self._session = session
        self._shown = shown
        self._environ = environ
        self._on_event = on_event

    def converted(self, files: SourceFiles, out_type: str | None = None) -> MadeFile:
        """The GGUF of a model's own files, kept. Raises as `convert` does, NoSpace, StoreUnusable."""
        with self._conversion(files, out_type) as draft:
            return self._kept(draft)

    def adapter(self, files: SourceFiles, base: Mapping[str, object]) -> tuple[PackageFile, GgufHeader]:
        """The GGUF of an adapter in PEFT's format, kept, and its header. Raises as `convert_adapter`."""
        with self._written(convert_adapter(files, base)) as draft:
            return self._stored(draft, "adapter")

    @contextmanager
    def converted_for_now(self, files: SourceFiles) -> Iterator[Path]:
        """The same for as long as others are made of it. Raises as `converted`."""
        with self._written(convert_to_floats(files)) as draft:
            yield draft.path

    def prepared(self, sources: Sequence[Path], label: str, recipe: Recipe) -> Prepared:
        """What one quantization of a GGUF will be. Raises UsageError, MalformedFile."""
        request = QuantizeRequest(
            sources=tuple(sources),
            quantization=label,
            imatrix=recipe.importance_matrix,
            tensor_types=recipe.tensor_types,
            output_tensor_type=recipe.output_type,
            token_embedding_type=recipe.embedding_type,
            pure=recipe.pure,
            allow_requantize=recipe.allow_requantize,
            threads=recipe.threads,
        )
        return prepare(request)

    def quantized(self, prepared: Prepared, label: str) -> MadeFile:
        """The file, kept. Raises EngineUnavailable, EngineFailed, NoSpace, StoreUnusable."""
        self._tell(prepared.notes)
        counter = ByteCounter(
            self._on_event, stage="quantize", item=f"{self._shown} {label}", total=prepared.source_bytes
        )
        with self._session.draft(prepared.size) as draft:
            write_quantized(prepared, draft.path, environ=self._environ, on_progress=counter)
            return self._kept(draft)

    def check_room(self, *sizes: int) -> None:
        """Raise NoSpace unless files of so many bytes fit, all at once."""
        needed, root = sum(sizes), self._session.root
        free = free_bytes(root)
        if needed + _MARGIN_BYTES > free:
            raise NoSpace(
                f"What is made of {self._shown} takes {needed:,} bytes, and the disk of {root} has {free:,}"
                " left.",
                hint="Free some space ('slmctl df', 'slmctl gc'), or make a smaller quantization.",
            )

    def _conversion(self, files: SourceFiles, out_type: str | None) -> AbstractContextManager[Draft]:
        return self._written(convert(files, out_type))

    @contextmanager
    def _written(self, conversion: Conversion) -> Iterator[Draft]:
        self._tell(conversion.notes)
        size = file_size(conversion)
        self.check_room(size)
        counter = ByteCounter(self._on_event, stage="convert", item=self._shown, total=size)
        with self._session.draft(size) as draft:
            write_conversion(conversion, draft.path, counter)
            yield draft

    def _kept(self, draft: Draft) -> MadeFile:
        file, header = self._stored(draft, "weights")
        return MadeFile(file=file, facts=facts_from_gguf([header]), license=header.license)

    def _stored(self, draft: Draft, role: str) -> tuple[PackageFile, GgufHeader]:
        headers: list[GgufHeader] = []

        def check(fd: int) -> None:
            headers.append(read_gguf(fd, f"the GGUF made of {self._shown}"))

        size = draft.path.stat().st_size
        counter = ByteCounter(self._on_event, stage="hash", item=self._shown, total=size)
        digest, size = draft.keep(check=check, progress=counter)
        return PackageFile(path=file_path(role, 0, 1), role=role, digest=digest, size=size), headers[0]

    def _tell(self, notes: Sequence[str]) -> None:
        for text in notes[:_MOST_NOTES]:
            self._on_event(Note(text=text))
        if len(notes) > _MOST_NOTES:
            self._on_event(Note(text=f"And {len(notes) - _MOST_NOTES} more like it."))


def stored_path(store: StoreReader, file: PackageFile) -> Path:
    """Where the bytes of a package's file lie: in the store, or where another tool has them. They are looked
    at as whenever a blob is opened. Raises NotFound, BadContent."""
    store.open_blob(file.descriptor).close()
    path = store.layout.blob(file.digest)
    note = None if path.exists() else store.note_about(file.digest)
    return path if note is None else Path(note.path)


def describe_files(store: StoreReader, files: Sequence[PackageFile], shown: str) -> SourceFiles:
    """A stored folder as the converter takes it. Raises as `stored_path`."""
    return SourceFiles.of_files({file.path: stored_path(store, file) for file in files}, shown)
