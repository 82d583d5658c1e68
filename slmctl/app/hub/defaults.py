"""What the author of a repository says about how to ask the model: parameters, system prompt, template.

Sources: Transformers' generation_config.json (`GenerationConfig`), and the files `params`, `template` and
`system` that the hub hands on to Ollama ("Use Ollama with any GGUF Model", Hugging Face's documentation).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from modelfiles.spec import PARAMETERS, SCHEMA, Kind, ModelSpec, ParameterValue
from registry.errors import MalformedFile
from registry.manifest import load_json_object

GENERATION_CONFIG = "generation_config.json"
OLLAMA_FILES = ("params", "template", "system")

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "min_p": "min_p",
        "typical_p": "typical_p",
        "repetition_penalty": "repeat_penalty",
    }
)
_MAX_TEXT_BYTES = 256 << 10


def from_generation_config(raw: bytes) -> dict[str, ParameterValue]:
    """The parameters in a generation_config.json; none where it says `do_sample: false`, or is none."""
    fields = _object(raw, GENERATION_CONFIG)
    if fields.get("do_sample") is False:
        return {}
    found = {}
    for theirs, ours in _NAMES.items():
        value = _parameter(ours, fields.get(theirs))
        if value is not None:
            found[ours] = value
    return found


def from_ollama_files(files: Mapping[str, bytes]) -> ModelSpec:
    """The spec in the files that are there of OLLAMA_FILES."""
    parameters = {}
    for name, value in _object(files.get("params", b"{}"), "params").items():
        if name in PARAMETERS:
            stops = [value] if PARAMETERS[name] is Kind.STRINGS and isinstance(value, str) else value
            read = _parameter(name, stops)
            if read is not None:
                parameters[name] = read
    template, system = (_text(files.get(name, b"")) or None for name in ("template", "system"))
    return ModelSpec(parameters=parameters, template=template, system=system)


def _object(raw: bytes, what: str) -> dict[str, object]:
    try:
        return load_json_object(raw, f"The file {what}")
    except MalformedFile:
        return {}


def _parameter(name: str, value: object) -> ParameterValue | None:
    """A value as our spec takes it; None for one that it does not."""
    if value is None:
        return None
    if PARAMETERS[name] is Kind.INT32 and isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return ModelSpec.from_json({"schema": SCHEMA, "parameters": {name: value}}).parameters[name]
    except MalformedFile:
        return None


def _text(raw: bytes) -> str | None:
    try:
        return raw[:_MAX_TEXT_BYTES].decode() if len(raw) <= _MAX_TEXT_BYTES else None
    except UnicodeDecodeError:
        return None
