"""The facts of a variant, from the headers of its files, which come by range requests."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from registry.errors import DoesNotFit, MalformedFile, UsageError
from registry.formats import gguf, safetensors
from registry.formats.facts import ModelFacts
from registry.formats.folder_facts import facts_from_folder
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.onnx import GENAI_CONFIG, facts_from_genai
from registry.formats.quote import quoted
from registry.formats.sniff import SNIFF_BYTES, describe
from registry.manifest import load_json_object
from registry.remotes.base import HubFile
from registry.remotes.huggingface import blob_of
from registry.remotes.peeking import FIRST_BYTES, Peek
from slmctl.app.hub.at_once import at_once
from slmctl.app.hub.folders import CONFIG, INDEX
from slmctl.app.hub.repository import HubRepository
from slmctl.app.hub.variant import HubVariant
from slmctl.app.sources import role_of

_MAX_INDEX_BYTES = 64 << 20
_WITHOUT_VOCABULARY_BYTES = 128 << 10
"""What is asked for first of a header that is a list of tensors and little else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFacts:
    """`license` is what the header says, None where it says nothing; `fetched_bytes` came in `requests`
    ranges."""

    facts: ModelFacts
    license: str | None
    fetched_bytes: int
    requests: int


def facts_of(repository: HubRepository, variant: HubVariant, *, keep: bool = False) -> HubFacts:
    """Read the headers of a variant's files; with `keep`, `repository.source` knows them from then on.

    Raises MalformedFile that names the file, DoesNotFit for a file that is not what its name says, and what
    the remote raises.
    """
    look = _Look(repository, keep)
    if variant.format == "gguf":
        facts, license_ = look.at_gguf(variant)
    elif variant.format == "onnx":
        facts, license_ = look.at_onnx(variant), None
    else:
        facts, license_ = look.at_folder(variant), None
    return HubFacts(facts=facts, license=license_, fetched_bytes=look.fetched_bytes, requests=look.requests)


class _Look:
    def __init__(self, repository: HubRepository, keep: bool) -> None:
        self._repository = repository
        self._keep = keep
        self._lock = threading.Lock()
        self._with_vocabulary: set[HubFile] = set()
        self.fetched_bytes = 0
        self.requests = 0

    def at_gguf(self, variant: HubVariant) -> tuple[ModelFacts, str | None]:
        files = list({part.file: None for part in variant.parts if part.path.endswith(".gguf")})
        self._with_vocabulary = set(variant.weights[:1])
        headers = dict(zip(files, at_once(self._gguf_header, files), strict=True))
        for part in variant.parts:
            if part.file in headers:
                self._check_role(part.file, headers[part.file], part.role)
        weights = [headers[file] for file in variant.weights]
        try:
            facts = facts_from_gguf(weights)
        except MalformedFile as error:
            raise _named(variant.weights[0], error) from None
        return facts, weights[0].license

    def at_folder(self, variant: HubVariant) -> ModelFacts:
        config = self._config(variant, CONFIG)
        headers = at_once(self._tensor_header, variant.weights)
        self._check_index(variant, {tensor.name for header in headers for tensor in header.tensors})
        return facts_from_folder(config, headers, mlx=variant.format == "mlx")

    def at_onnx(self, variant: HubVariant) -> ModelFacts:
        for file in variant.weights:
            if file.path.lower().endswith(".onnx"):
                stream = self._open(file, SNIFF_BYTES)
                looks = describe(stream.read(SNIFF_BYTES))
                self._count(file, stream)
                if looks is not None:
                    raise MalformedFile(
                        f"{quoted(file.path, 200)}: this is not an ONNX file: it looks like {looks}."
                    )
        return facts_from_genai(self._config(variant, GENAI_CONFIG), variant.label)

    def _tensor_header(self, file: HubFile) -> safetensors.SafetensorsHeader:
        stream = self._open(file, _WITHOUT_VOCABULARY_BYTES)
        try:
            header = safetensors.read_header(stream, size=file.size)
        except MalformedFile as error:
            raise _named(file, error) from None
        self._count(file, stream)
        return header

    def _gguf_header(self, file: HubFile) -> gguf.GgufHeader:
        stream = self._open(file, FIRST_BYTES if file in self._with_vocabulary else _WITHOUT_VOCABULARY_BYTES)
        try:
            header = gguf.read_header(stream, size=file.size)
        except MalformedFile as error:
            raise _named(file, error) from None
        self._count(file, stream)
        return header

    def _check_role(self, file: HubFile, header: gguf.GgufHeader, expected: str) -> None:
        if header.architecture is None:
            return  # a later part of a set, which is held against the first
        try:
            role = role_of([header])
        except UsageError as error:
            raise DoesNotFit(f"{quoted(file.path, 200)}: {error.message}") from None
        if role != expected:
            raise DoesNotFit(
                f"The file {quoted(file.path, 200)} is of the kind {role}, by its name {expected}.",
                hint="Name another file behind a colon.",
            )

    def _check_index(self, variant: HubVariant, tensors: set[str]) -> None:
        """The index names the files that are here, and tensors that are in them. Raises MalformedFile."""
        file = next((part.file for part in variant.parts if part.path == INDEX), None)
        if file is None:
            return
        if file.size > _MAX_INDEX_BYTES:
            raise MalformedFile(f"The file {quoted(file.path, 200)} has {file.size} bytes.")
        try:
            table = json.loads(self._repository.read(file))
        except (ValueError, RecursionError):
            raise MalformedFile(f"The file {quoted(file.path, 200)} is not valid JSON.") from None
        names = table.get("weight_map") if isinstance(table, dict) else None
        if not isinstance(names, dict):
            raise MalformedFile(f"The file {quoted(file.path, 200)} has no weight_map.")
        known = {PurePosixPath(each.path).name for each in variant.weights}
        for tensor, name in names.items():
            if not isinstance(name, str) or name not in known:
                raise MalformedFile(f"The index names a file {quoted(name)}, which is none of the model's.")
            if tensor not in tensors:
                raise MalformedFile(f"The index names a tensor {quoted(tensor)}, which no file has.")

    def _config(self, variant: HubVariant, name: str) -> dict[str, object]:
        file = next(part.file for part in variant.parts if part.path == name)
        return load_json_object(self._repository.read(file), f"The file {quoted(file.path, 200)}")

    def _open(self, file: HubFile, first_bytes: int) -> BinaryIO:
        if file.sha256 is None:  # git's own, and so small: it is read and checked whole
            return io.BytesIO(self._repository.read(file))
        return cast("BinaryIO", Peek(self._repository.remote, blob_of(file), first_bytes=first_bytes))

    def _count(self, file: HubFile, stream: BinaryIO) -> None:
        if isinstance(stream, Peek):
            if self._keep:
                self._repository.source.keep(blob_of(file), stream.head, stream.validator)
            with self._lock:
                self.fetched_bytes += stream.fetched_bytes
                self.requests += stream.requests


def _named(file: HubFile, error: MalformedFile) -> MalformedFile:
    return MalformedFile(f"{quoted(file.path, 200)}: {error.message}", hint=error.hint)
