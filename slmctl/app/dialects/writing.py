"""Writing a model for a push: in the format that it has, or in another one over the same blobs.

Everything is canonical: the same model gives the same digests on any machine. What is in the wanted format
already is sent byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from registry import mediatypes
from registry.digest import Digest
from registry.errors import UsageError
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Index, Manifest
from registry.store.index import Entry
from registry.store.reader import StoreReader
from slmctl.app.dialects import docker, modelpack, write_docker, write_image, write_ollama
from slmctl.app.dialects.base_image import ARCHITECTURES, BaseImage
from slmctl.app.dialects.content import Content
from slmctl.app.dialects.outgoing import Collector, Outgoing
from slmctl.app.events import OnEvent, ignore
from slmctl.app.ollama_manifest import is_ollama
from slmctl.app.package import Package, Variant, check_unpacked, default_id
from slmctl.app.packaging import build_of, index_of, write_model

_NO_SHELL = (
    "The image holds files and no program, for Kubernetes' image volumes; KServe's modelcars run sh, ln and "
    "sleep in it, which --base IMAGE puts below (docker.io/library/busybox, for one)."
)

FORMATS = ("modelpack", "docker", "ollama", "image")


def write(
    reader: StoreReader,
    entry: Entry,
    format: str | None = None,  # noqa: A002 - the option's name
    *,
    variants: Sequence[str] = (),
    base: BaseImage | None = None,
    on_event: OnEvent = ignore,
) -> Outgoing:
    """What a push of the model behind `entry` sends.

    Without `format` it is the model as it lies there, except that Ollama's manifests, which no other registry
    takes, become ModelPack. `variants` are the builds that go along, by `Package.choose`; none are all. Blobs
    that are not in the store are `Outgoing.missing`; where a format is made of the bytes themselves, there is
    nothing else in it then. An image has all files hashed for it, which `on_event` is told of; its layers lie
    over those of `base`, if there is one.

    Raises UsageError for a format that there is not, DoesNotFit for a model that the format cannot hold,
    NotFound, BadContent.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"There is no format {format!a:.40}.", hint=f"Formats are {', '.join(FORMATS)}.")
    package = Package.of(reader, entry)
    chosen = _chosen(package, variants)
    out = Collector(reader)
    if _is_all_in(reader, package.variants, format):
        if len(chosen) == len(package.variants):
            return _as_it_is(out, entry.descriptor, package)
        return _some_as_they_are(out, chosen)
    if format in {None, "modelpack"}:
        return _as_modelpack(out, package, chosen)
    for variant in chosen:
        check_unpacked(package, variant)
    contents = [Content.of(variant) for variant in chosen]
    if any(not reader.has(file.digest) for content in contents for file in content.files):
        for file in (file for content in contents for file in content.files):
            out.stored(file.descriptor)
        return out.outgoing(entry.descriptor.digest, {})
    writers: Mapping[str | None, Callable[[Content], Digest]] = {
        "docker": lambda content: write_docker.write(out, content),
        "ollama": lambda content: write_ollama.write(out, content),
        "image": lambda content: write_image.write(out, content, on_event, base),
    }
    digests = {content.id: writers[format](content) for content in contents}
    if format == "image" and base is None:
        out.note(_NO_SHELL)
    missing = [each for each in ARCHITECTURES if base is not None and each not in base.builds]
    if base is not None and missing:
        out.note(f"{base.name} is not for {' and '.join(missing)}, and so neither is the image.")
    root = default_id(list(digests))
    if len(digests) > 1:
        names = {"docker": "Docker Model Runner", "ollama": "Ollama", "image": "An image"}
        out.note(
            f"{names[str(format)]} has no place for several builds under one tag: the tag is {root}, "
            "and each build has a tag of its own."
        )
    return out.outgoing(digests[root], digests)


def _chosen(package: Package, wanted: Sequence[str]) -> list[Variant]:
    """The wanted variants in the package's order."""
    ids = {package.choose(each).id for each in wanted}
    return [variant for variant in package.variants if not wanted or variant.id in ids]


def _is_all_in(reader: StoreReader, variants: Sequence[Variant], format_: str | None) -> bool:
    """Whether the manifests are in the wanted format already."""
    manifests = [reader.manifest_of(variant.digest) for variant in variants]
    if format_ is None:
        return not any(map(is_ollama, manifests))
    checks: Mapping[str, Callable[[Manifest], bool]] = {
        "modelpack": modelpack.is_modelpack,
        "docker": docker.is_docker,
        "ollama": is_ollama,
    }
    if format_ not in checks or (len(manifests) > 1 and format_ != "modelpack"):
        return False  # an index is nothing that Docker Model Runner or Ollama can read
    return all(map(checks[format_], manifests))


def _as_it_is(out: Collector, root: Descriptor, package: Package) -> Outgoing:
    """All documents behind `root`, those that are named before those that name them."""
    _add_tree(out, root, MAX_INDEX_DEPTH)
    return out.outgoing(root.digest, {variant.id: variant.digest for variant in package.variants})


def _add_tree(out: Collector, descriptor: Descriptor, depth: int) -> None:
    if descriptor.digest in out.documents or not depth:  # `Package.of` refused what is deeper
        return
    document = out.reader.manifest(descriptor)
    if isinstance(document, Index):
        for each in document.manifests:
            _add_tree(out, each, depth - 1)
    else:
        for blob in document.blobs:
            out.stored(blob)
    out.document(document.raw, document.media_type)


def _some_as_they_are(out: Collector, chosen: Sequence[Variant]) -> Outgoing:
    described = {}
    for variant in chosen:
        manifest = out.reader.manifest_of(variant.digest)
        for blob in manifest.blobs:
            out.stored(blob)
        out.document(manifest.raw, manifest.media_type)
        described[variant.id] = Descriptor(
            media_type=manifest.media_type, digest=manifest.digest, size=len(manifest.raw)
        )
    digests = {identity: each.digest for identity, each in described.items()}
    if len(digests) == 1:
        return out.outgoing(chosen[0].digest, digests)
    index = index_of(described)
    return out.outgoing(out.document(index.raw, index.media_type), digests)


def _as_modelpack(out: Collector, package: Package, chosen: Sequence[Variant]) -> Outgoing:
    """Manifests of another dialect written anew."""
    builds = [build_of(variant) for variant in chosen]
    for build in builds:
        for file in build.files:
            out.stored(file.descriptor)
    manifests = {build.id: write_model(out, [build]) for build in builds}
    for each in manifests.values():
        out.promote(each.digest, mediatypes.OCI_MANIFEST)
    digests = {identity: each.digest for identity, each in manifests.items()}
    root = next(iter(digests.values()))
    if len(digests) > 1:
        index = index_of(manifests)
        root = out.document(index.raw, index.media_type)
    out.note(f"{package.name} is written as ModelPack, and so has the digest {root}.")
    return out.outgoing(root, digests)
