"""What a manifest of any dialect says of a model, before anybody has looked into the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Protocol

from modelfiles.spec import ModelSpec
from registry.errors import MalformedFile
from registry.formats.shards import ShardName
from registry.manifest import Descriptor

TEMPLATE_PATH = "chat_template.jinja"
"""The file of a package that holds a chat template of its own: the name that Transformers gives it."""

FORMATS = {".gguf": "gguf", ".safetensors": "safetensors", ".onnx": "onnx"}
"""The formats of weights by the ends of their files' names."""

_DOCUMENTS = re.compile(
    r"(?:readme|licen[cs]e|notice|copying|changelog|use_policy)(?:[._-].*)?|.*\.md", re.IGNORECASE
)
_ADAPTER = re.compile(r"(?:^|[-._])(?:lora|adapter)(?:[-._].*)?\.gguf$", re.IGNORECASE)
_NO_MODEL = re.compile(r"(?:^|[-._])(?:imatrix|vocab)(?:$|[-._])")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class BlobReader(Protocol):
    """Where small blobs are read from: a store, or a remote."""

    def read_blob(self, descriptor: Descriptor, /) -> bytes:
        """The blob's bytes, its digest checked. Raises NotFound, BadContent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A layer with a meaning. `role` is a `PackageFile`'s; `packing` is empty for a layer that is the file
    `path` itself, else how the files in it are packed: tar, tar+gzip or tar+zstd."""

    path: str
    role: str
    layer: Descriptor
    packing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a manifest says. `dialect` is what messages call it; `format` and `quantization` are claims.

    `parts` are the layers that make the model, `left_out` those that do not (code, data sets). `ignored` says
    in sentences what has no effect. `several` is whether there are weights of more than one model.
    """

    dialect: str
    format: str | None
    quantization: str | None
    parts: tuple[Part, ...]
    left_out: tuple[Part, ...] = ()
    spec: ModelSpec = field(default_factory=ModelSpec)
    licenses: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    several: bool = False

    @property
    def packed(self) -> str | None:
        """How the weights lie where they cannot be used there: they, or what an engine reads beside them, are
        in tars, or there are those of several models. None where they can."""
        if any(part.packing and part.role != "doc" for part in self.parts):
            return f"packed in the tars of a {self.dialect} artifact"
        return f"those of several models in one {self.dialect} artifact" if self.several else None


def role_of_name(path: str, kind: str = "") -> str:
    """The role of the file `path` in a package, by its name and by what its author calls it: weights, config
    or doc. Whatever they call it, a GGUF file with `mmproj` in its name is a projector, and one with
    `imatrix` or `vocab` no model."""
    name = PurePosixPath(path).name.lower()
    if name.endswith(".gguf"):
        return "projector" if "mmproj" in name else "doc" if _NO_MODEL.search(name) else "weights"
    if PurePosixPath(name).suffix in FORMATS:
        return "weights"
    if kind:
        return kind
    return "doc" if _DOCUMENTS.fullmatch(name) else "config"


def with_adapters(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts, GGUF files that are called LoRA adapters among them as adapters: beside other weights only,
    since models are called after the adapters that were merged into them."""
    named = [
        part for part in parts if part.role == "weights" and _ADAPTER.search(PurePosixPath(part.path).name)
    ]
    weights = [part for part in parts if part.role == "weights"]
    if len(named) == len(weights):
        return tuple(parts)
    return tuple(replace(part, role="adapter") if part in named else part for part in parts)


def gguf_sets(paths: Iterable[str]) -> list[list[str]]:
    """Paths of GGUF files by the sharded sets that they are the parts of, in the parts' order.

    Raises MalformedFile for a part whose number cannot be.
    """
    sets: dict[str, list[str]] = {}
    for text in sorted(paths):
        path = PurePosixPath(text)
        shard = ShardName.parse(path.name)
        sets.setdefault(f"{path.parent}/{shard.prefix}-of-{shard.count}" if shard else text, []).append(text)
    return list(sets.values())


def format_by_names(paths: Iterable[str]) -> str | None:
    """The format of weights with these names; None where they do not say."""
    ends = {PurePosixPath(path).suffix.lower() for path in paths}
    return next((name for end, name in FORMATS.items() if end in ends), None)


def label(document: object, *keys: str) -> str | None:
    """A short name somewhere in a decoded JSON document; None where it is missing or is no such name."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    if not isinstance(document, str) or not _LABEL.fullmatch(document) or document.lower() == "unknown":
        return None
    return document


def texts(document: object, *keys: str) -> tuple[str, ...]:
    """The texts in a list, or the one text, somewhere in a decoded JSON document."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    if isinstance(document, str):
        return (document,) if document else ()
    return tuple(text for text in document if isinstance(text, str)) if isinstance(document, list) else ()


def check_paths(parts: Iterable[Part]) -> None:
    """Raise MalformedFile where two files have one name; whose layer is the same may."""
    seen: dict[str, Part] = {}
    for part in parts:
        if part.packing:
            continue
        other = seen.setdefault(part.path, part)
        if other.layer.digest != part.layer.digest:
            raise MalformedFile(f"The model has two files called {part.path!r:.80}.")
