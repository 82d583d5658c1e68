"""ONNX GenAI folders: what their genai_config.json says.

Source: onnxruntime-genai's documentation of genai_config.json ("model" with "type", "context_length",
"vocab_size" and "decoder": sizes and "session_options"), and its src/config.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from registry.formats.quote import quoted

GENAI_CONFIG = "genai_config.json"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MAX_NUMBER = 2**63 - 1
_PROVIDERS: Mapping[str, str] = {
    "directml": "dml",
    "nvtensorrtrtx": "trt-rtx",
    "nvtensorrtrtxexecutionprovider": "trt-rtx",
}


def provider_of(config: Mapping[str, object]) -> str | None:
    """The execution provider that the decoder asks for: `cpu`, `cuda`, `dml` ...; None where it is not said.

    An empty list of providers is the CPU's.
    """
    options = _object(_decoder(config).get("session_options"))
    providers = options.get("provider_options")
    if not isinstance(providers, list):
        return None
    names = [name for each in providers if isinstance(each, dict) for name in each]
    if not names:
        return "cpu"
    name = names[0].lower()
    name = _PROVIDERS.get(name, name)
    return name if _LABEL.fullmatch(name) else None


def facts_from_genai(config: Mapping[str, object], quantization: str | None) -> ModelFacts:
    """The facts of the model that a genai_config.json describes; nothing is known of its tensors.

    Raises MalformedFile where it describes none.
    """
    model, decoder = _object(config.get("model")), _decoder(config)
    architecture = model.get("type")
    if not isinstance(architecture, str) or not _LABEL.fullmatch(architecture):
        raise MalformedFile(f"The file {GENAI_CONFIG} has {quoted(architecture)} for its model's type.")
    heads, head_size = _number(decoder, "num_attention_heads"), _number(decoder, "head_size")
    kv_heads = _number(decoder, "num_key_value_heads")
    return ModelFacts(
        format="onnx",
        architecture=architecture,
        quantization=quantization,
        layers=_number(decoder, "num_hidden_layers"),
        hidden=_number(decoder, "hidden_size"),
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        head_size_k=head_size,
        head_size_v=head_size,
        vocabulary=_number(model, "vocab_size"),
        trained_context=_number(model, "context_length"),
    )


def _decoder(config: Mapping[str, object]) -> Mapping[str, object]:
    return _object(_object(config.get("model")).get("decoder"))


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _number(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    return value if type(value) is int and 0 <= value <= _MAX_NUMBER else None
