"""Writing a model as a plain OCI image: uncompressed tar layers that put its files under /models.

For who mounts images and no artifacts: Kubernetes' image volumes, and over a base with a shell KServe's
modelcars. Each file of weights is a layer of its own, so that a model that changes its template shares the
gigabytes; all small files are one layer. An index has the same layers for two architectures, since a runtime
takes none that is not for its own. Format: OCI image specification 1.1 (config.md, layer.md). Decisions:
docs/decisions/0018-dialects.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from registry import mediatypes
from registry.digest import Digest
from registry.layers.written import Member, WrittenLayer
from registry.manifest import Descriptor, canonical_json
from registry.remotes.base import OpenAt
from slmctl.app.dialects.base_image import ARCHITECTURES, BaseBuild, BaseImage
from slmctl.app.dialects.content import Content
from slmctl.app.dialects.outgoing import Collector
from slmctl.app.events import ByteCounter, OnEvent

FOLDER = "models"
_EPOCH = "1970-01-01T00:00:00Z"
_LARGE = frozenset({"weights", "projector", "adapter", "draft"})


def write(out: Collector, content: Content, on_event: OnEvent, base: BaseImage | None = None) -> Digest:
    """Add a variant's image, over `base` if there is one; gives the digest of its index. All files are read
    once, for the layers' digests.

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
    builds: Mapping[str, BaseBuild | None] = base.builds if base else dict.fromkeys(ARCHITECTURES)
    manifests = []
    for architecture, build in builds.items():
        if base is not None and build is not None:
            for layer in build.layers:
                out.streamed(layer, base.open_of(layer))
        made = _Platform(architecture, build, {} if build is None else _based_on(base, build.digest))
        manifests.append({**made.manifest(out, layers, content.id).to_json(), "platform": made.described})
    index = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": manifests,
        **(_annotated(_based_on(base, base.digest)) if base else {}),
    }
    return out.document(canonical_json(index), mediatypes.OCI_INDEX)


def _layer(out: Collector, members: Sequence[Member], on_event: OnEvent) -> Descriptor:
    layer = WrittenLayer(members)
    progress = ByteCounter(on_event, stage="hash", item=members[0].path, total=layer.size)
    described = Descriptor(
        media_type=mediatypes.OCI_IMAGE_LAYER, digest=layer.digest(progress), size=layer.size
    )
    out.streamed(described, layer.open_at)
    return described


@dataclass(frozen=True, slots=True)
class _Platform:
    """One architecture's image: what lies below our layers, if anything does."""

    architecture: str
    below: BaseBuild | None
    annotations: Mapping[str, str]

    @property
    def described(self) -> dict[str, str]:
        variant = self.below.variant if self.below else None
        return {
            "architecture": self.architecture,
            "os": "linux",
            **({"variant": variant} if variant else {}),
        }

    def manifest(self, out: Collector, layers: Sequence[Descriptor], identity: str) -> Descriptor:
        config = out.made(mediatypes.OCI_IMAGE_CONFIG, canonical_json(self._config(layers, identity)))
        raw = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.OCI_MANIFEST,
                "config": config.to_json(),
                "layers": [
                    layer.to_json() for layer in (*(self.below.layers if self.below else ()), *layers)
                ],
                **_annotated(self.annotations),
            }
        )
        digest = out.document(raw, mediatypes.OCI_MANIFEST)
        return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(raw))

    def _config(self, layers: Sequence[Descriptor], identity: str) -> dict[str, object]:
        # no tar of ours is compressed, so that the layers' digests are those of their tars
        ours = [layer.digest for layer in layers]
        below, label = self.below, {mediatypes.SLMCTL_VARIANT: identity}
        config: dict[str, object] = {**self.described, "created": _EPOCH}
        if below is None:
            settings: dict[str, object] = {"Labels": label}
        else:
            labels = below.settings.get("Labels")
            settings = {
                **below.settings,
                "Labels": {**labels, **label} if isinstance(labels, dict) else label,
            }
            ours = [*below.diff_ids, *ours]
            if below.history is not None:
                made = {"created": _EPOCH, "created_by": "slmctl push --format image"}
                config["history"] = [*below.history, *([made] * len(layers))]
        config["config"] = settings
        config["rootfs"] = {"type": "layers", "diff_ids": [str(digest) for digest in ours]}
        return config


def _based_on(base: BaseImage | None, digest: Digest) -> dict[str, str]:
    return {} if base is None else {mediatypes.BASE_NAME: base.name, mediatypes.BASE_DIGEST: str(digest)}


def _annotated(annotations: Mapping[str, str]) -> dict[str, object]:
    return {"annotations": dict(annotations)} if annotations else {}


def _in_memory(path: str, data: bytes, out: Collector) -> Member:
    open_at: OpenAt = out.in_memory(data)
    return Member(path=path, size=len(data), digest=Digest.of(data), open=partial(open_at, 0))
