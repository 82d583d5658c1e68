"""Media types and annotation keys, each written once.

Sources: OCI image specification 1.1 (manifest, index, empty config), CNCF ModelPack specification (model
artifact, layers, annotations; `cnai` is its name from before it joined the CNCF), Ollama's source (types of
layers and of the config blob, as of 0.33), Docker Model Runner's source (pkg/distribution/types; the
published docker/model-spec has other names for some), KitOps' source (pkg/lib/constants/mediatype).
`dev.slmctl.*` are ours.
"""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

MODELPACK_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
MODELPACK_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODELPACK_WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
MODELPACK_WEIGHT_CONFIG = "application/vnd.cncf.model.weight.config.v1.raw"
MODELPACK_DOC = "application/vnd.cncf.model.doc.v1.raw"

MODELPACK_ARTIFACTS = (MODELPACK_ARTIFACT, "application/vnd.cnai.model.manifest.v1+json")
MODELPACK_CONFIGS = (MODELPACK_CONFIG, "application/vnd.cnai.model.config.v1+json")
MODELPACK_LAYERS = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
"""What the types begin with that ModelPack's own writers give layers, now and before."""

MODELPACK_FILEPATH = "org.cncf.model.filepath"
MODELPACK_FILE_METADATA = "org.cncf.model.file.metadata+json"
MODELPACK_UNTESTED = "org.cncf.model.file.mediatype.untested"

CNAI_FILEPATH = "org.cnai.model.filepath"
TITLE = "org.opencontainers.image.title"
"""The name of a file, where ORAS and podman made the artifact."""

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OLLAMA_LAYER = "application/vnd.ollama.image."
"""What the types of Ollama's layers begin with; behind it stands what the layer is."""

DOCKER_MODEL = "application/vnd.docker.ai."
"""What all types of Docker Model Runner begin with."""

DOCKER_MODEL_CONFIG_1 = "application/vnd.docker.ai.model.config.v0.1+json"
DOCKER_MODEL_CONFIG_2 = "application/vnd.docker.ai.model.config.v0.2+json"
DOCKER_GGUF = "application/vnd.docker.ai.gguf.v3"
DOCKER_SAFETENSORS = "application/vnd.docker.ai.safetensors"
DOCKER_PROJECTOR = "application/vnd.docker.ai.mmproj"
DOCKER_LICENSE = "application/vnd.docker.ai.license"
DOCKER_CHAT_TEMPLATE = "application/vnd.docker.ai.chat.template.jinja"
DOCKER_FILE = "application/vnd.docker.ai.model.file"

KITOPS_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
KITOPS_LAYER = "application/vnd.kitops.modelkit."

OCI_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE_CONFIGS = (OCI_IMAGE_CONFIG, DOCKER_CONFIG)
IMAGE_LAYERS = {
    **{f"{OCI_IMAGE_LAYER}{packing}": f"{OCI_IMAGE_LAYER}{packing}" for packing in ("", "+gzip", "+zstd")},
    "application/vnd.docker.image.rootfs.diff.tar": OCI_IMAGE_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{OCI_IMAGE_LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{OCI_IMAGE_LAYER}+zstd",
}
"""What layers of container images are called, and what the OCI specification calls the same."""

NON_DISTRIBUTABLE = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
"""What the types of layers begin with that nobody may hand on."""

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

OCI_EMPTY = "application/vnd.oci.empty.v1+json"

REF_NAME = "org.opencontainers.image.ref.name"

QUALITY = "application/vnd.slmctl.quality.v1+json"
"""What was measured of a variant: the type of the artifact that refers to it, and of its one layer."""

SLMCTL_ROLE = "dev.slmctl.role"
SLMCTL_VARIANT = "dev.slmctl.variant"
SLMCTL_FACTS = "dev.slmctl.facts"
SLMCTL_SOURCE = "dev.slmctl.source"
SLMCTL_LINKED = "dev.slmctl.linked"
SLMCTL_TRACKS = "dev.slmctl.tracks"
SLMCTL_PINS = "dev.slmctl.pins"
SLMCTL_CLAIMED = "dev.slmctl.claimed"
SLMCTL_MADE = "dev.slmctl.made"
SLMCTL_SUBJECT = "dev.slmctl.subject"
