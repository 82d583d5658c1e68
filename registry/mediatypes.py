"""Media types and annotation keys, each written once.

Sources: OCI image specification 1.1 (manifest, index, empty config), CNCF ModelPack specification (model
artifact, layers, annotations), Ollama's source (types of layers and of the config blob, as of 0.33).
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

MODELPACK_FILEPATH = "org.cncf.model.filepath"
MODELPACK_FILE_METADATA = "org.cncf.model.file.metadata+json"
MODELPACK_UNTESTED = "org.cncf.model.file.mediatype.untested"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OLLAMA_LAYER = "application/vnd.ollama.image."
"""What the types of Ollama's layers begin with; behind it stands what the layer is."""

REF_NAME = "org.opencontainers.image.ref.name"

SLMCTL_ROLE = "dev.slmctl.role"
SLMCTL_VARIANT = "dev.slmctl.variant"
SLMCTL_FACTS = "dev.slmctl.facts"
SLMCTL_SOURCE = "dev.slmctl.source"
SLMCTL_LINKED = "dev.slmctl.linked"
