"""Writing a model for Docker Model Runner: config v0.1 for GGUF, v0.2 with a layer for each file of a folder.

All that Docker writes from a file's times is constant here. What Docker has no word for (parameters, a system
message, Go's template) goes along as a file that slmctl reads back, and is said. `context_size` stands there
only where the author set num_ctx: Docker's runner would take it for every run, and the trained context of
most models is far too much. Source: docker/model-runner 1.0; keys as in reference/formats.md 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from modelfiles.builtin import known_renderer
from registry import mediatypes
from registry.digest import Digest
from registry.errors import DoesNotFit
from registry.formats.gguf import GgufHeader, read_header
from registry.manifest import Descriptor, canonical_json, modelpack_layer
from slmctl.app.dialects.content import Content
from slmctl.app.dialects.described import TEMPLATE_PATH
from slmctl.app.dialects.outgoing import Collector
from slmctl.app.dialects.said import said_in
from slmctl.app.formats import jinja_format
from slmctl.app.package import PackageFile

_FORMATS = {"gguf": "gguf", "safetensors": "safetensors", "mlx": "safetensors"}
_WEIGHTS = {"gguf": mediatypes.DOCKER_GGUF, "safetensors": mediatypes.DOCKER_SAFETENSORS}
_EPOCH = "1970-01-01T00:00:00Z"
_LONGEST_VALUE = 1024


def write(out: Collector, content: Content) -> Digest:
    """Add a variant; gives the digest of its manifest. Raises DoesNotFit for what Docker cannot run, and
    NotFound and BadContent for weights that are not here or damaged."""
    named = _FORMATS.get(content.format)
    if named is None:
        raise DoesNotFit(
            f"Docker Model Runner knows GGUF and safetensors, and {content.id} is neither.",
            hint="Push it as ModelPack, or as an image.",
        )
    if adapters := content.of_role("adapter"):
        raise DoesNotFit(
            f"Docker Model Runner has no place for LoRA adapters: {adapters[0].path} of {content.id}.",
            hint="Merge the adapter into the weights, or push the model as ModelPack.",
        )
    _tell(out, content)
    layers = list(_layers(out, content, named))
    version = mediatypes.DOCKER_MODEL_CONFIG_1 if named == "gguf" else mediatypes.DOCKER_MODEL_CONFIG_2
    config = canonical_json(
        {
            "config": _config(out, content, named),
            "descriptor": {"created": _EPOCH},
            "rootfs": {"type": "rootfs", "diff_ids": [str(layer.digest) for layer in layers]},
        }
    )
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": out.made(version, config).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )
    return out.document(raw, mediatypes.OCI_MANIFEST)


def _layers(out: Collector, content: Content, named: str) -> Sequence[Descriptor]:
    stored = [
        *(_stored(out, file, _WEIGHTS[named]) for file in content.of_role("weights")),
        *(_stored(out, file, mediatypes.DOCKER_PROJECTOR) for file in content.of_role("projector")),
    ]
    taken = {file.path for file in content.files}
    free = (name for number in count() if (name := f"LICENSE.{number}" if number else "LICENSE") not in taken)
    made = [
        _made(out, next(free), text.encode(), mediatypes.DOCKER_LICENSE) for text in content.spec.licenses
    ]
    others = []
    for file in content.of_role("config", "doc"):
        is_template = file.path == TEMPLATE_PATH
        others.append(
            _stored(out, file, mediatypes.DOCKER_CHAT_TEMPLATE if is_template else mediatypes.DOCKER_FILE)
        )
    if (renderer := known_renderer(content.spec.renderer)) is not None:
        others = [layer for layer in others if layer.media_type != mediatypes.DOCKER_CHAT_TEMPLATE]
        template = jinja_format(renderer).encode()
        others.append(_made(out, TEMPLATE_PATH, template, mediatypes.DOCKER_CHAT_TEMPLATE))
    spec = replace(content.spec, licenses=())  # those have layers of their own
    if (authored := replace(content, spec=spec).spec_file) is not None:
        others.append(_made(out, *authored, mediatypes.DOCKER_FILE))
    return [*stored, *made, *others]


def _stored(out: Collector, file: PackageFile, media_type: str) -> Descriptor:
    out.stored(file.descriptor)
    return modelpack_layer(media_type=media_type, digest=file.digest, size=file.size, path=file.path)


def _made(out: Collector, path: str, data: bytes, media_type: str) -> Descriptor:
    return modelpack_layer(media_type=media_type, digest=out.put(data), size=len(data), path=path)


def _config(out: Collector, content: Content, named: str) -> Mapping[str, object]:
    weights = content.of_role("weights")
    config: dict[str, object] = {"format": named, "size": _size(sum(file.size for file in weights))}
    if content.quantization:
        config["quantization"] = content.quantization
    if content.facts is not None:
        config["architecture"] = content.facts.architecture
        if content.facts.parameters is not None:
            config["parameters"] = _count(content.facts.parameters)
    if isinstance(context := content.spec.parameters.get("num_ctx"), int) and context > 0:
        config["context_size"] = context
    if named == "gguf" and weights:
        with out.reader.open_blob(weights[0].descriptor) as stream:
            config["gguf"] = _metadata(read_header(stream))
    return config


def _metadata(header: GgufHeader) -> Mapping[str, str]:
    """The single values of a GGUF header as texts, as Go prints them; no arrays, no templates."""
    found = {}
    for key, value in header.metadata.items():
        if isinstance(value, bool):
            found[key] = "true" if value else "false"
        elif isinstance(value, int):
            found[key] = str(value)
        elif isinstance(value, float):
            found[key] = f"{value:f}"
        elif isinstance(value, str) and len(value) <= _LONGEST_VALUE and "chat_template" not in key:
            found[key] = value
    return found


def _size(count: int) -> str:
    """Bytes as `606.49MiB`."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.2f}{unit}"


def _count(count: int) -> str:
    """Parameters as `1.10B`."""
    for unit, suffix in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.2f}{suffix}"
    return str(count)


def _tell(out: Collector, content: Content) -> None:
    known = {"LICENSE", "PARAMETER num_ctx"}
    if known_renderer(content.spec.renderer) is not None:
        known |= {"RENDERER", "TEMPLATE"}  # the one is written in Jinja, and makes the other have no effect
    unknown = [each for each in said_in(content.spec) if each not in known]
    if unknown:
        out.note(
            f"Docker Model Runner has no place for {', '.join(unknown)} ({content.id}): "
            "slmctl reads it back from the artifact, Docker does not."
        )
    if content.format == "mlx":
        out.note(f"Docker Model Runner calls the MLX build {content.id} safetensors.")
    for file in content.of_role("draft"):
        out.note(f"Docker Model Runner has no draft models; {file.path} of {content.id} is left out.")
