"""Writing a model for Ollama: Docker's manifest over layers of Ollama's types, which it pulls as its own.

Ollama reads one GGUF, one adapter, and from the manifest only templates in Go's language. Source: Ollama 0.33
(server/images.go, types/model/config.go); reference/ollama.md, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from modelfiles.builtin import known_renderer
from registry import mediatypes
from registry.digest import Digest
from registry.errors import DoesNotFit
from registry.manifest import Descriptor, canonical_json
from slmctl.app.dialects.content import Content
from slmctl.app.dialects.outgoing import Collector
from slmctl.app.formats import go_format

_KINDS = {"weights": "model", "projector": "projector", "adapter": "adapter", "draft": "draft"}


def write(out: Collector, content: Content) -> Digest:
    """Add a variant; gives the digest of its manifest. Raises DoesNotFit for what Ollama cannot have."""
    _check(content)
    template, renderer = _template(out, content)
    layers = []
    for role, kind in _KINDS.items():
        for file in content.of_role(role):
            out.stored(file.descriptor)
            layers.append(
                Descriptor(media_type=mediatypes.OLLAMA_LAYER + kind, digest=file.digest, size=file.size)
            )
    spec = content.spec
    texts: list[tuple[str, str | None]] = [("template", template), ("system", spec.system)]
    texts += [("license", text) for text in spec.licenses]
    if spec.parameters:
        texts.append(("params", _json(spec.to_json()["parameters"])))
    if spec.messages:
        turns = [{"role": turn.role, "content": turn.content} for turn in spec.messages]
        texts.append(("messages", _json(turns)))
    for kind, text in texts:
        if text is not None:
            layers.append(out.made(mediatypes.OLLAMA_LAYER + kind, text.encode()))
    if left_out := content.of_role("config", "doc"):
        names = ", ".join(file.path for file in left_out[:4])
        more = f" and {len(left_out) - 4} more" if len(left_out) > 4 else ""
        out.note(f"Ollama has no place for files beside the weights: {names}{more} ({content.id}).")
    config = canonical_json(_config(content, renderer, layers))
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.DOCKER_MANIFEST,
            "config": out.made(mediatypes.DOCKER_CONFIG, config).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )
    return out.document(raw, mediatypes.DOCKER_MANIFEST)


def _check(content: Content) -> None:
    if content.format != "gguf":
        raise DoesNotFit(
            f"Ollama's registry format holds GGUF here, and {content.id} is none.",
            hint="Choose a GGUF build with --variant, or push the model as ModelPack.",
        )
    for role, most in (("weights", 1), ("adapter", 1), ("draft", 1)):
        count = len(content.of_role(role))
        if role == "weights" and count > most:
            raise DoesNotFit(
                f"Ollama keeps weights in one file, and {content.id} has {count} parts.",
                hint="Merge them with llama.cpp's llama-gguf-split --merge, or push the model as ModelPack.",
            )
        if count > most:
            raise DoesNotFit(
                f"Ollama takes one {role}, and {content.id} has {count}.", hint="Push it as ModelPack."
            )


def _template(out: Collector, content: Content) -> tuple[str | None, str | None]:
    """Go's template and the renderer for Ollama. Formats that slmctl alone knows by name become templates."""
    spec = content.spec
    renderer = known_renderer(spec.renderer)
    if renderer is not None:
        template = go_format(renderer)
        if template is not None:
            out.note(f"Ollama does not know RENDERER {renderer}; it gets the template behind it.")
            return template, None
        out.note(f"Ollama does not know RENDERER {renderer}, which has no template in Go's language.")
        return spec.template, None
    if spec.template is None and spec.renderer is None:
        out.note(
            f"{content.id} has no TEMPLATE in Go's language, the only one that Ollama takes from a registry: "
            "Ollama may send it prompts as plain text."
        )
    return spec.template, spec.renderer


def _config(content: Content, renderer: str | None, layers: list[Descriptor]) -> Mapping[str, object]:
    spec, facts = content.spec, content.facts
    config: dict[str, object] = {
        "model_format": "gguf",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
    }
    if facts is not None:
        families = [facts.architecture, *(["clip"] if content.of_role("projector") else [])]
        config |= {"model_family": facts.architecture, "model_families": families}
        if facts.parameters is not None:
            config["model_type"] = _count(facts.parameters)
        if facts.trained_context is not None:
            config["context_length"] = facts.trained_context
        if facts.hidden is not None:
            config["embedding_length"] = facts.hidden
    if content.quantization:
        config["file_type"] = content.quantization
    said = {"renderer": renderer, "parser": spec.parser, "requires": spec.requires}
    return config | {key: text for key, text in said.items() if text is not None}


def _count(count: int) -> str:
    """Parameters as Ollama writes them: `3.2B`, `135M`, `260K`."""
    for unit, suffix in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            value = f"{count / unit:.1f}" if unit >= 10**9 else f"{count / unit:.0f}"
            return value.removesuffix(".0") + suffix
    return str(count)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
