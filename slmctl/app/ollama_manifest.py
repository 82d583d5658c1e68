"""Ollama's manifests: Docker's format over layers of Ollama's own types, and a config blob beside them.

With `package` and `variants`, whose part this is, the only module outside `registry` that gives media types a
meaning. The manifest and its blobs stay as they are, byte for byte; what the author said, which Ollama keeps
in a layer per kind, becomes a ModelSpec.

What is read as Ollama reads it: of several model, template, system, params or messages layers the last
counts; parameters that nobody knows and those that no longer do anything are left out; `embed` layers are
passed over. Where the types are wrong, Ollama fails when it runs the model, and here the document is
malformed. Source: Ollama 0.33 (server/images.go, api/types.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from modelfiles.spec import DEPRECATED, PARAMETERS, SCHEMA, Kind, ModelSpec
from modelfiles.words import printable
from registry import mediatypes
from registry.errors import MalformedFile, SlmctlError
from registry.manifest import Descriptor, Manifest, load_json_object

_ROLES = {"model": "weights", "projector": "projector", "adapter": "adapter", "draft": "draft"}
_TEXTS = {"template": "template", "prompt": "template", "system": "system"}
_AUTHORED = frozenset({*_TEXTS, "license", "params", "messages"})
_TENSORS = frozenset({"tensor", "json"})
_MAX_TEXT_BYTES = 16 << 20
_VERSION = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){1,2}(?:[-+][0-9A-Za-z.+-]{1,64})?)", re.ASCII)
_QUANTIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,31}", re.ASCII)
_FORMAT = re.compile(r"[a-z][a-z0-9]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaModel:
    """What a manifest of Ollama's says.

    `layers` are pairs of a role and a layer: weights, projector, adapter, draft, config (a file of a
    safetensors model) and spec (what `spec` was read from). `quantization` is what Ollama calls it, None
    where it does not say; `remote` the host of a model that runs somewhere else, and has no weights.
    `ignored` says in sentences what has no effect.
    """

    format: str
    quantization: str | None
    family: str | None
    layers: tuple[tuple[str, Descriptor], ...]
    spec: ModelSpec
    remote: str | None
    ignored: tuple[str, ...]


class BlobReader(Protocol):
    """Where small blobs are read from: our store, or Ollama's."""

    def read_blob(self, descriptor: Descriptor, /) -> bytes:
        """The blob's bytes, its digest checked. Raises NotFound, BadContent."""


def is_ollama(manifest: Manifest) -> bool:
    """Whether a manifest is of this dialect."""
    return manifest.artifact_type is None and (
        any(layer.media_type.startswith(mediatypes.OLLAMA_LAYER) for layer in manifest.layers)
        or (not manifest.layers and manifest.config.media_type == mediatypes.DOCKER_CONFIG)
    )


def read_model(store: BlobReader, manifest: Manifest) -> OllamaModel:
    """Read the config and the author's layers. Raises MalformedFile, NotFound and other BadContent."""
    config = _config(store, manifest)
    kinds = [(layer.media_type.removeprefix(mediatypes.OLLAMA_LAYER), layer) for layer in manifest.layers]
    ignored: list[str] = []
    layers = _files(kinds, ignored)
    spec = _spec(store, kinds, config, ignored)
    return OllamaModel(
        format=_format(config, kinds),
        quantization=_label(config, "file_type", _QUANTIZATION),
        family=_label(config, "model_family", re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)),
        layers=tuple(layers),
        spec=spec,
        remote=_text(config, "remote_host"),
        ignored=tuple(ignored),
    )


def format_of(store: BlobReader, manifest: Manifest) -> tuple[str, str | None] | None:
    """Format and quantization by the config alone, for listings; None where it cannot be read."""
    with suppress(SlmctlError):
        config = _config(store, manifest)
        kinds = [(layer.media_type.removeprefix(mediatypes.OLLAMA_LAYER), layer) for layer in manifest.layers]
        return _format(config, kinds), _label(config, "file_type", _QUANTIZATION)
    return None


def _config(store: BlobReader, manifest: Manifest) -> dict[str, object]:
    return load_json_object(store.read_blob(manifest.config), "The model's config")


def _format(config: dict[str, object], kinds: Sequence[tuple[str, Descriptor]]) -> str:
    written = _label(config, "model_format", _FORMAT)
    if written is not None:
        return written
    return "safetensors" if any(kind == "tensor" for kind, _ in kinds) else "gguf"


def _files(kinds: Sequence[tuple[str, Descriptor]], ignored: list[str]) -> list[tuple[str, Descriptor]]:
    """Each layer with its role."""
    models = [layer for kind, layer in kinds if kind == "model"]
    drafts = [layer for kind, layer in kinds if kind == "draft"]
    found: list[tuple[str, Descriptor]] = []
    unknown: set[str] = set()
    for kind, layer in kinds:
        if (kind == "model" and layer is not models[-1]) or (kind == "draft" and layer is not drafts[-1]):
            ignored.append(f"Of several {kind} layers the last counts.")
        elif kind in _ROLES:
            found.append((_ROLES[kind], layer))
        elif kind in _AUTHORED:
            found.append(("spec", layer))
        elif kind in _TENSORS:
            found.append(("weights" if kind == "tensor" else "config", layer))
        else:
            unknown.add(kind)
    ignored += [f"Layers of the type {printable(kind)} are passed over." for kind in sorted(unknown)[:8]]
    return found


def _spec(
    store: BlobReader,
    kinds: Sequence[tuple[str, Descriptor]],
    config: dict[str, object],
    ignored: list[str],
) -> ModelSpec:
    document: dict[str, object] = {"schema": SCHEMA}
    last: dict[str, Descriptor] = {}
    licenses: list[Descriptor] = []
    for kind, layer in kinds:
        if kind == "license":
            licenses.append(layer)
        elif kind in _AUTHORED:
            last[_TEXTS.get(kind, kind)] = layer
    if sum(layer.size for layer in (*last.values(), *licenses)) > _MAX_TEXT_BYTES:
        raise MalformedFile(f"The model's texts are larger than {_MAX_TEXT_BYTES >> 20} MiB.")
    for name, layer in last.items():
        raw = store.read_blob(layer)
        if name == "params":
            document["parameters"] = _parameters(raw, ignored)
        elif name == "messages":
            document["messages"] = _messages(raw)
        else:
            document[name] = raw.decode("utf-8", errors="replace")
    if licenses:
        document["licenses"] = [
            store.read_blob(layer).decode("utf-8", errors="replace") for layer in licenses
        ]
    for name in ("renderer", "parser"):
        if text := _text(config, name):
            document[name] = text
    if (requires := _text(config, "requires")) and (version := _VERSION.fullmatch(requires)):
        document["requires"] = version[1]
    try:
        return ModelSpec.from_json(document)
    except MalformedFile as error:
        reason = error.message.partition(": ")[2] or error.message
        raise MalformedFile(f"What the model's author set cannot be read: {reason}") from None


def _parameters(raw: bytes, ignored: list[str]) -> dict[str, object]:
    """The params layer, without what has no effect; a whole number may be written as `40.0`, as Go has it."""
    parameters: dict[str, object] = {}
    for name, value in load_json_object(raw, "The model's params layer").items():
        kind = PARAMETERS.get(name)
        if kind is None:
            why = "no longer does anything" if name in DEPRECATED else "is not known here"
            if len(ignored) < 32:
                ignored.append(f"The parameter {printable(name)} {why}.")
        elif value is None:
            continue
        elif kind is Kind.STRINGS:
            parameters[name] = [value] if isinstance(value, str) else value
        elif kind in {Kind.INT32, Kind.INT64} and isinstance(value, float) and value.is_integer():
            parameters[name] = int(value)
        else:
            parameters[name] = value
    return parameters


def _messages(raw: bytes) -> list[object]:
    """The messages layer. Of each turn its role and its text count; Ollama's may have pictures, too."""
    try:
        turns = json.loads(raw)
    except RecursionError:
        raise MalformedFile("The model's messages layer is nested too deeply.") from None
    except ValueError as error:
        raise MalformedFile(f"The model's messages layer is not valid JSON ({error}).") from None
    if not isinstance(turns, list):
        raise MalformedFile("The model's messages layer is not a JSON list.")
    return [
        {"role": turn.get("role"), "content": turn.get("content", "")} if isinstance(turn, dict) else turn
        for turn in turns
    ]


def _text(config: dict[str, object], key: str) -> str | None:
    """A text of the config, None where it is missing or empty. Raises MalformedFile for another type."""
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise MalformedFile(f"The model's config has a {key} that is not text.")
    return value or None


def _label(config: dict[str, object], key: str, pattern: re.Pattern[str]) -> str | None:
    """A short name of the config; None where it is missing, `unknown` or no such name."""
    value = _text(config, key)
    return value if value and pattern.fullmatch(value) and value.lower() != "unknown" else None
