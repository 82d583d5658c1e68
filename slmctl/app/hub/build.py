"""From a variant of a repository to a build of ours: what is small is read, what is large is listed.

The same files give the same build, whatever they are called behind the hub and whenever they are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelfiles.spec import ModelSpec, merge
from registry.digest import Digest
from registry.errors import DoesNotFit, MalformedFile
from registry.formats.ggml_types import file_type
from registry.formats.quote import quoted
from registry.remotes.base import Blob, HubFile
from registry.remotes.huggingface import blob_of
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.file_names import checked_path
from slmctl.app.hub.card import Card, read_card
from slmctl.app.hub.defaults import GENERATION_CONFIG, OLLAMA_FILES, from_generation_config, from_ollama_files
from slmctl.app.hub.facts import HubFacts, facts_of
from slmctl.app.hub.folders import CARD, CONFIG
from slmctl.app.hub.repository import HubRepository
from slmctl.app.hub.variant import HubPart, HubVariant
from slmctl.app.package import PackageFile, variant_id
from slmctl.app.packaging import BlobWriter, Build

_SMALL_BYTES = 256 << 10
"""Up to this size a file is read at once and not downloaded with the others."""

_MAX_FILES = 5000
_MAX_READ_BYTES = 256 << 20
"""What is read before it is looked whether the rest has room: files of which the hub has no sha256."""

_KNOWN_LABELS = frozenset(each.label for number in range(64) if (each := file_type(number)) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubBuild:
    """A build, and what of it is still to be downloaded: each blob once, in the order of the files.

    They are had from `HubRepository.source`, which has their headers already: `fetched_bytes` of them.
    """

    variant: HubVariant
    build: Build
    wanted: tuple[Blob, ...]
    fetched_bytes: int


def build(
    writer: BlobWriter, repository: HubRepository, variant: HubVariant, on_event: OnEvent = ignore
) -> HubBuild:
    """Read what is small into `writer`, and the headers of what is large; no byte of weights.

    Raises DoesNotFit for a variant that is not whole, MalformedFile, DigestMismatch, and what the remote
    raises.
    """
    _check_small(repository, variant)
    repository.read_ahead(_small_files(repository, variant))
    looked = facts_of(repository, variant, keep=True)
    _tell(variant, looked, repository, on_event)
    files: list[PackageFile] = []
    wanted: dict[Digest, Blob] = {}
    for part in variant.parts:
        if _is_read(part):
            digest = writer.put(repository.read(part.file))
        else:
            blob = blob_of(part.file)
            digest = wanted.setdefault(blob.digest, blob).digest
        files.append(_file(part, digest))
    if len({file.path.casefold() for file in files}) != len(files):
        raise MalformedFile(f"Two files of the variant {variant.id} differ in the case of their names only.")
    card = read_card(repository.text(CARD, 4 << 20) or b"")
    made = Build(
        files=tuple(files),
        facts=looked.facts,
        licenses=_licenses(card, looked),
        spec=_spec(repository, variant),
        own_id=_own_id(variant),
    )
    return HubBuild(
        variant=variant, build=made, wanted=tuple(wanted.values()), fetched_bytes=looked.fetched_bytes
    )


def _check_small(repository: HubRepository, variant: HubVariant) -> None:
    """Refuse what no model is: a hundred thousand small files would fill memory and disk."""
    read = sum(part.file.size for part in variant.parts if _is_read(part))
    if len(variant.parts) > _MAX_FILES or read > _MAX_READ_BYTES:
        raise DoesNotFit(
            f"The build {variant.id} in hf.co/{repository.name} has {len(variant.parts)} files, and {read}"
            f" bytes in small ones; {_MAX_FILES} and {_MAX_READ_BYTES} are read.",
            hint="It is no model as others are; look at it in a browser.",
        )


def _is_read(part: HubPart) -> bool:
    """Whether a file is read at once: its sha256 is not known, or it is small and no weights."""
    return part.file.sha256 is None or (part.file.size <= _SMALL_BYTES and part.role in {"config", "doc"})


def _small_files(repository: HubRepository, variant: HubVariant) -> list[HubFile]:
    """All small files that a build reads."""
    files = [part.file for part in variant.parts if _is_read(part) and part.role != "weights"]
    named = [CARD] if variant.format != "gguf" else [CARD, GENERATION_CONFIG, *OLLAMA_FILES]
    return files + [file for name in named if (file := repository.file(name)) and file.size <= _SMALL_BYTES]


def _file(part: HubPart, digest: Digest) -> PackageFile:
    return PackageFile(path=checked_path(part.path), role=part.role, digest=digest, size=part.file.size)


def _licenses(card: Card, looked: HubFacts) -> tuple[str, ...]:
    return card.licenses or ((looked.license,) if looked.license else ())


def _own_id(variant: HubVariant) -> str | None:
    """The id where the publisher's word counts: a GGUF file's label, or a name that tells builds apart."""
    told_apart = variant.id != variant_id(variant.format, variant.label)
    return variant.id if told_apart or (variant.format == "gguf" and variant.label) else None


def _spec(repository: HubRepository, variant: HubVariant) -> ModelSpec:
    """What the author says about asking the model."""
    config = next((part.file for part in variant.parts if part.path == GENERATION_CONFIG), None)
    if config is None and variant.format == "gguf":
        config = repository.file(GENERATION_CONFIG)
    spec = ModelSpec()
    if config is not None and config.size <= _SMALL_BYTES:
        spec = replace(spec, parameters=from_generation_config(repository.read(config)))
    if variant.format == "gguf":
        texts = {name: text for name in OLLAMA_FILES if (text := repository.text(name)) is not None}
        spec = merge(spec, from_ollama_files(texts))
    return spec


def _tell(variant: HubVariant, looked: HubFacts, repository: HubRepository, on_event: OnEvent) -> None:
    label, found = variant.label, looked.facts.quantization
    if variant.format == "gguf" and label in _KNOWN_LABELS and found is not None and label != found:
        on_event(Note(text=f"{variant.name} is called {label}, and its header says {found}."))
    config = next((part.file for part in variant.parts if part.path == CONFIG), None)
    if config is not None and b'"auto_map"' in repository.read(config):
        path = quoted(config.path, 200)
        on_event(
            Note(text=f"The file {path} asks for code of the repository's own, which is never downloaded.")
        )
