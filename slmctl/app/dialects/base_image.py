"""The image below an image that we write: somebody else's layers, which stay as they are.

From its config comes what a program in it may need: environment, user, folder, labels. Not the entry point:
KServe gives a modelcar only arguments (`sh -c "ln -sf ..."`), which would become another program's. Nor
volumes, one of which might lie over /models. Formats: OCI image specification 1.1 (config.md,
annotations.md), Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, DoesNotFit, MalformedFile, UsageError
from registry.formats.quote import quoted
from registry.manifest import Descriptor, Index, Manifest, load_json_object
from registry.names import DEFAULT_TAG, ModelRef, Source
from registry.remotes.base import Artifact, Blob, OpenAt, Remote
from registry.remotes.streaming import StreamedBlob

ARCHITECTURES = ("amd64", "arm64")
_KEPT = ("Cmd", "Env", "Labels", "StopSignal", "User", "WorkingDir")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseBuild:
    """What the base has for one architecture: the manifest's digest, its layers under their OCI types, the
    digests of the tars in them, what of its config is kept, and its history, None where that is unclear."""

    digest: Digest
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[Digest, ...]
    settings: Mapping[str, object]
    variant: str | None
    history: tuple[object, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """An image of a registry, as its tag named it once: `name` is fully qualified, `digest` that of the tag;
    `pinned` always means it; `builds` by architecture."""

    name: str
    pinned: str
    digest: Digest
    builds: Mapping[str, BaseBuild]
    remote: Remote

    def open_of(self, layer: Descriptor) -> OpenAt:
        """How to read a layer, from where it is."""
        return StreamedBlob(self.remote, Blob(digest=layer.digest, size=layer.size)).open_at


def check_base(ref: ModelRef) -> None:
    """Raise UsageError unless a name is one of an image in a registry."""
    if ref.source is not Source.OCI:
        hint = f"Write its registry: docker.io/library/{ref.path}" if ref.source is Source.BARE else None
        raise UsageError(
            f"{str(ref)!r:.120} names no image in a registry.", hint=hint or "Name one: HOST/PATH:TAG."
        )


def read_base(remote: Remote, ref: ModelRef) -> BaseImage:
    """The image that `ref` names at `remote`, without its layers.

    Raises DoesNotFit for what cannot lie below an image of ours, and as the remote does.
    """
    artifact = remote.resolve(ref)
    assert isinstance(artifact, Artifact)  # `check_base`
    shown = f"The base {ref.host}/{ref.path}"
    document = artifact.document
    found: Mapping[str, Callable[[], BaseBuild]]
    if isinstance(document, Manifest):
        platform, build = _build(remote, document, shown)
        found = {platform: lambda: build}
    else:
        found = {
            platform: partial(_build_of, remote, descriptor, shown)
            for platform, descriptor in _platforms(document).items()
        }
    builds = {each: found[f"linux/{each}"]() for each in ARCHITECTURES if f"linux/{each}" in found}
    if not builds:
        wanted = " or ".join(f"linux/{each}" for each in ARCHITECTURES)
        raise _unfit(shown, f"is not for {wanted}, but for {quoted(', '.join(found) or 'nothing', 120)}")
    where = f":{ref.tag or DEFAULT_TAG}" if ref.tag or not ref.digest else f"@{ref.digest}"
    return BaseImage(
        name=f"{ref.host}/{ref.path}{where}",
        pinned=artifact.pinned,
        digest=artifact.root.digest,
        builds=builds,
        remote=remote,
    )


def _platforms(index: Index) -> dict[str, Descriptor]:
    """The manifests by `system/architecture`; of several for one (variants of a processor) the first."""
    found: dict[str, Descriptor] = {}
    described = load_json_object(index.raw, "The index")["manifests"]
    assert isinstance(described, list)  # `manifest.parse`
    for descriptor, value in zip(index.manifests, described, strict=True):
        platform = value.get("platform")
        if isinstance(platform, dict):
            found.setdefault(f"{platform.get('os')}/{platform.get('architecture')}", descriptor)
    return found


def _build_of(remote: Remote, descriptor: Descriptor, shown: str) -> BaseBuild:
    manifest = remote.manifest(descriptor)
    if isinstance(manifest, Index):
        raise _unfit(shown, "has an index where an image of one platform should be")
    return _build(remote, manifest, shown)[1]


def _build(remote: Remote, manifest: Manifest, shown: str) -> tuple[str, BaseBuild]:
    """The platform that a manifest's config says, and the build."""
    if manifest.config.media_type not in mediatypes.IMAGE_CONFIGS:
        raise _unfit(shown, f"is no container image: its config is {quoted(manifest.config.media_type, 80)}")
    layers = tuple(_layer(layer, shown) for layer in manifest.layers)
    config = load_json_object(remote.read_blob(manifest.config), f"{shown}'s config")
    diff_ids = _diff_ids(config, shown)
    if len(diff_ids) != len(layers):
        raise MalformedFile(
            f"{shown} has {len(layers)} layers, and {len(diff_ids)} by its config.",
            hint="Whoever publishes it has to build it again.",
        )
    settings = config.get("config")
    settings = settings if isinstance(settings, dict) else {}
    variant = config.get("variant")
    return f"{config.get('os')}/{config.get('architecture')}", BaseBuild(
        digest=manifest.digest,
        layers=layers,
        diff_ids=diff_ids,
        settings={key: settings[key] for key in _KEPT if settings.get(key)},
        variant=variant if isinstance(variant, str) and variant else None,
        history=_history(config, len(layers)),
    )


def _layer(layer: Descriptor, shown: str) -> Descriptor:
    if layer.media_type.startswith(mediatypes.NON_DISTRIBUTABLE):
        raise _unfit(shown, "has a layer that may not be handed on (a non-distributable one)")
    media_type = mediatypes.IMAGE_LAYERS.get(layer.media_type)
    if media_type is None:
        raise _unfit(shown, f"has a layer that is none of an image: {quoted(layer.media_type, 80)}")
    return replace(layer, media_type=media_type)


def _diff_ids(config: Mapping[str, object], shown: str) -> tuple[Digest, ...]:
    rootfs = config.get("rootfs")
    values = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    try:
        return tuple(Digest.parse(value) for value in values) if isinstance(values, list) else ()
    except BadContent as error:
        raise MalformedFile(f"{shown} has a config that names no layers: {error.message}") from None


def _history(config: Mapping[str, object], layers: int) -> tuple[object, ...] | None:
    """The history, if it tells of all layers: of another, nobody could say which entry belongs to which."""
    history = config.get("history")
    if not isinstance(history, list) or not all(isinstance(each, dict) for each in history):
        return None
    filled = [each for each in history if not each.get("empty_layer")]
    return tuple(history) if len(filled) == layers else None


def _unfit(shown: str, why: str) -> DoesNotFit:
    return DoesNotFit(
        f"{shown} {why}.", hint="Choose a small Linux image with sh, ln and sleep: docker.io/library/busybox"
    )
