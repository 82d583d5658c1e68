"""Writing a model as a plain OCI image: uncompressed tar layers that put its files under /models.

For who mounts images and no artifacts: Kubernetes' image volumes, KServe's modelcars. Each file of weights
is a layer of its own, so that a model that changes its template shares the gigabytes; all small files are one
layer. An index has the same layers for two architectures, since a runtime takes none that is not for its own.
Format: OCI image specification 1.1 (config.md, layer.md). Decisions: docs/decisions/0018-dialects.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from registry import mediatypes
from registry.digest import Digest
from registry.layers.written import Member, WrittenLayer
from registry.manifest import Descriptor, canonical_json
from registry.remotes.base import OpenAt
from slmctl.app.dialects.content import Content
from slmctl.app.dialects.outgoing import Collector
from slmctl.app.events import ByteCounter, OnEvent

FOLDER = "models"
ARCHITECTURES = ("amd64", "arm64")
_EPOCH = "1970-01-01T00:00:00Z"
_LARGE = frozenset({"weights", "projector", "adapter", "draft"})


def write(out: Collector, content: Content, on_event: OnEvent) -> Digest:
    """Add a variant's image; gives the digest of its index. All files are read once, for the layers' digests.

    Raises NotFound, BadContent.
    """
    members = [
        (
            file.role,
            Member(
                path=f"{FOLDER}/{file.path}",
                size=file.size,
                digest=file.digest,
                open=partial(out.reader.open_blob, file.descriptor),
            ),
        )
        for file in content.files
    ]
    small = [member for role, member in members if role not in _LARGE]
    if content.spec_file is not None:
        small.append(_in_memory(f"{FOLDER}/{content.spec_file[0]}", content.spec_file[1], out))
    groups = [[member] for role, member in members if role in _LARGE]
    groups += [sorted(small, key=lambda member: member.path)] if small else []
    layers = [_layer(out, group, on_event) for group in groups]
    manifests = [_manifest(out, architecture, layers, content.id) for architecture in ARCHITECTURES]
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [
                {**manifest.to_json(), "platform": {"architecture": architecture, "os": "linux"}}
                for architecture, manifest in zip(ARCHITECTURES, manifests, strict=True)
            ],
        }
    )
    return out.document(raw, mediatypes.OCI_INDEX)


def _layer(out: Collector, members: Sequence[Member], on_event: OnEvent) -> Descriptor:
    layer = WrittenLayer(members)
    progress = ByteCounter(on_event, stage="hash", item=members[0].path, total=layer.size)
    described = Descriptor(
        media_type=mediatypes.OCI_IMAGE_LAYER, digest=layer.digest(progress), size=layer.size
    )
    out.streamed(described, layer.open_at)
    return described


def _manifest(out: Collector, architecture: str, layers: Sequence[Descriptor], identity: str) -> Descriptor:
    config = canonical_json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": _EPOCH,
            "config": {"Labels": {mediatypes.SLMCTL_VARIANT: identity}},
            # no tar is compressed, so that the layers' digests are those of their tars
            "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
        }
    )
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": out.made(mediatypes.OCI_IMAGE_CONFIG, config).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )
    digest = out.document(raw, mediatypes.OCI_MANIFEST)
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(raw))


def _in_memory(path: str, data: bytes, out: Collector) -> Member:
    open_at: OpenAt = out.in_memory(data)
    return Member(path=path, size=len(data), digest=Digest.of(data), open=partial(open_at, 0))
