"""Reading manifests of any dialect but Ollama's, and saying of others what they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from registry import mediatypes
from registry.errors import DoesNotFit, SlmctlError
from registry.manifest import Manifest
from slmctl.app.dialects import docker, kitops, modelpack
from slmctl.app.dialects.described import BlobReader, Described, check_paths, gguf_sets
from slmctl.app.variants import says_facts

_KINDS = {
    "application/vnd.cncf.helm.config.v1+json": "a Helm chart",
    "application/vnd.wasm.config.v0+json": "a WebAssembly module",
    "application/vnd.wasm.config.v1+json": "a WebAssembly module",
    "application/vnd.sylabs.sif.layer.v1.sif": "a Singularity image",
    "application/vnd.dev.cosign.simplesigning.v1+json": "a signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "a signature",
    "application/vnd.cncf.notary.signature": "a signature",
    "application/vnd.in-toto+json": "an attestation about something else",
    "application/vnd.dsse.envelope.v1+json": "an attestation about something else",
    "application/spdx+json": "a bill of materials",
    "application/vnd.cyclonedx+json": "a bill of materials",
    "application/vnd.kitops.modelkit.index.v1+json": "an index of ModelKits",
}
_IMAGES = {mediatypes.OCI_IMAGE_CONFIG, mediatypes.DOCKER_CONFIG}


_Describe = Callable[[BlobReader, Manifest], Described]
_FormatOf = Callable[[BlobReader, Manifest], tuple[str, str | None]]

_DIALECTS: tuple[tuple[Callable[[Manifest], bool], _Describe, _FormatOf], ...] = (
    (modelpack.is_modelpack, modelpack.describe, modelpack.format_of),
    (docker.is_docker, docker.describe, docker.format_of),
    (kitops.is_kitops, kitops.describe, kitops.format_of),
)


def describe(blobs: BlobReader, manifest: Manifest) -> Described:
    """What a manifest says. Raises DoesNotFit, with what it is, for one that is no model; MalformedFile,
    NotFound and other BadContent."""
    for is_of, describes, _ in _DIALECTS:
        if is_of(manifest):
            described = describes(blobs, manifest)
            check_paths(described.parts)
            if says_facts(manifest):
                return described
            weights = [part.path for part in described.parts if part.role == "weights" and not part.packing]
            ggufs = gguf_sets(path for path in weights if path.lower().endswith(".gguf"))
            return replace(described, several=len(ggufs) > 1)
    raise no_model(manifest)


def format_of(blobs: BlobReader, manifest: Manifest) -> tuple[str, str | None] | None:
    """Format and quantization by the config alone, for listings; None where it says nothing readable."""
    for is_of, _, formats in _DIALECTS:
        if is_of(manifest):
            with suppress(SlmctlError):
                return formats(blobs, manifest)
    return None


def no_model(manifest: Manifest) -> DoesNotFit:
    """The error that says what a manifest is that holds no model."""
    hint = "Make a model from its GGUF file with: slmctl create NAME --from FILE"
    types = [manifest.artifact_type or "", manifest.config.media_type]
    types += [layer.media_type for layer in manifest.layers[:16]]
    for each in types:
        if each in _KINDS:
            return DoesNotFit(
                f"{manifest.digest} is {_KINDS[each]}, and no model.", hint="Name the model itself."
            )
    if manifest.artifact_type is None and manifest.config.media_type in _IMAGES:
        return DoesNotFit(
            f"{manifest.digest} is a container image, and no model.",
            hint="A model that lies in an image can be copied out of a container, and made one by: "
            "slmctl create NAME --from FILE",
        )
    kind = manifest.artifact_type or manifest.config.media_type or "unknown"
    return DoesNotFit(
        f"The artifact {manifest.digest} is of the kind {kind!a:.80}, which is no model slmctl can read.",
        hint=hint,
    )
