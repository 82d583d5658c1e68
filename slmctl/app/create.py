"""Making a model: a base (a GGUF file, a set of shards, or a model in the store) and what its author adds.

Modelfile text -> instructions -> ModelSpec -> base -> blobs -> manifest -> name
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from modelfiles.spec import ModelSpec, merge
from registry import mediatypes
from registry.errors import MalformedFile, NotFound, UsageError
from registry.formats.facts import ModelFacts
from registry.formats.gguf import GgufHeader, read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.shards import check_shards, find_shards
from registry.manifest import (
    Descriptor,
    canonical_json,
    load_json_object,
    modelpack_config,
    modelpack_layer,
    modelpack_manifest,
)
from registry.names import ModelRef, Source, parse
from registry.store.index import Entry
from registry.store.ingest import SourceFile
from registry.store.store import Replace, Session, Store, check_replaceable
from slmctl.app.events import ByteCounter, OnEvent, ignore
from slmctl.app.models import find_package
from slmctl.app.package import SPEC_PATH, Package, Variant, variant_id

CREATED_HERE = "create"
"""The source of a name that `create` made: it belongs to no remote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """`base` is FROM's text, `folder` what a relative path in it starts from; `move` renames the files in."""

    name: ModelRef
    base: str
    folder: Path
    spec: ModelSpec
    move: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    entry: Entry
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What FROM brought: layers that are in the store, their facts, and what the base's author had said."""

    layers: tuple[Descriptor, ...]
    facts: ModelFacts
    licenses: tuple[str, ...]
    spec: ModelSpec


def create(store: Store, request: CreateRequest, *, now: str, on_event: OnEvent = ignore) -> Created:
    """Make a model and link its name last. The same input gives the same digest on any machine.

    Raises UsageError, NotFound, MalformedFile for the base; NameTaken for the name; StoreUnusable, NoSpace.
    """
    files = _files(request)
    inherited = None if files else find_package(store, parse(request.base), on_event)
    if files:
        _facts([_check_header(path) for path in files])  # a bad file is refused before a byte is copied
    _check_name_is_free(store, request)
    with store.session(f"create {request.name.full_name}") as session:
        if inherited is None:
            base = _take_files(session, files, request, on_event)
        else:
            base = _inherit(store, session, inherited)
        descriptor, variant = _write(session, base, request.spec)
        entry = store.link(
            request.name.full_name,
            descriptor,
            source=CREATED_HERE,
            linked=now,
            replace_rule=Replace.ANYTHING if request.force else Replace.SAME_SOURCE,
        )
    return Created(entry=entry, variant=variant)


def _files(request: CreateRequest) -> list[Path]:
    """The files that FROM means, in order; none when it names a model."""
    text = request.base
    if not text:
        raise UsageError("FROM names nothing.", hint="Write FROM and a GGUF file or a model's name.")
    path = request.folder / Path(text.removeprefix("file://")).expanduser()
    if not path.exists() and not path.is_symlink():
        if _looks_like_a_path(text):
            raise NotFound(f"There is no file {text!r} to make a model from.", hint=f"Looked for {path}.")
        return []
    if path.is_dir():
        raise UsageError(
            f"{text!r} is a folder; a model is made from a GGUF file.", hint="Name the .gguf file inside it."
        )
    return find_shards(path)


def _looks_like_a_path(text: str) -> bool:
    if text.lower().endswith((".gguf", ".safetensors", ".bin")):
        return True
    return parse(text).source is Source.FILE


def _check_header(path: Path) -> GgufHeader:
    with SourceFile(path) as source:
        return _read_header(source.fd, path.name)


def _facts(headers: Sequence[GgufHeader]) -> ModelFacts:
    check_shards(headers)
    return facts_from_gguf(headers)


def _read_header(fd: int, name: str) -> GgufHeader:
    with os.fdopen(os.dup(fd), "rb") as stream:
        try:
            return read_header(stream)
        except MalformedFile as error:
            raise MalformedFile(f"{name!r}: {error.message}", hint=error.hint or _BAD_FILE_HINT) from None


_BAD_FILE_HINT = "Download the file again, or convert the model anew."


def _check_name_is_free(store: Store, request: CreateRequest) -> None:
    """Say that the name is taken before gigabytes are copied; `link` decides."""
    old = store.names().find(request.name.full_name)
    if old is not None and not request.force:
        stand_in = Entry(name=old.name, descriptor=old.descriptor, source=CREATED_HERE, linked=None)
        check_replaceable(old, stand_in, Replace.SAME_SOURCE)


def _take_files(session: Session, files: Sequence[Path], request: CreateRequest, on_event: OnEvent) -> _Base:
    """Put the weights into the store. What is described is what was stored: headers come from our copies."""
    headers: dict[int, GgufHeader] = {}
    layers = []
    with ExitStack() as stack:
        # all are opened and checked before the first is moved: a bad one leaves every file where it was
        sources = [stack.enter_context(SourceFile(path)) for path in files]
        for number, source in enumerate(sources):

            def check(fd: int, number: int = number, name: str = source.path.name) -> None:
                headers[number] = _read_header(fd, name)

            take = session.move if request.move else session.take
            digest = take(
                source,
                check=check,
                progress=ByteCounter(on_event, stage="copy", item=source.path.name, total=source.size),
            )
            layers.append(
                modelpack_layer(
                    media_type=mediatypes.MODELPACK_WEIGHT,
                    digest=digest,
                    size=source.size,
                    path=_weight_path(number, len(files)),
                )
            )
    ordered = [headers[number] for number in range(len(files))]
    licenses = tuple(header.license for header in ordered[:1] if header.license)
    return _Base(layers=tuple(layers), facts=_facts(ordered), licenses=licenses, spec=ModelSpec())


def _weight_path(number: int, count: int) -> str:
    """A name that says nothing of the user's: llama.cpp finds the other shards by this pattern."""
    return "model.gguf" if count == 1 else f"model-{number + 1:05}-of-{count:05}.gguf"


def _inherit(store: Store, session: Session, package: Package) -> _Base:
    """What a model in the store brings to one that is made from it. Its blobs are kept from here on."""
    variant = _only_variant(package)
    if variant.facts is None:
        raise UsageError(
            f"The model {package.name} has no facts to build on.", hint="Make it anew from its file."
        )
    session.keep([variant.digest, *(file.digest for file in variant.files)])
    manifest = store.manifest_of(variant.digest)
    layers = [
        layer
        for layer in manifest.layers
        if layer.annotations.get(mediatypes.MODELPACK_FILEPATH) != SPEC_PATH
    ]
    config = load_json_object(store.read_blob(manifest.config), "The model's config")
    described = config.get("descriptor")
    licenses = described.get("licenses") if isinstance(described, dict) else None
    return _Base(
        layers=tuple(layers),
        facts=variant.facts,
        licenses=tuple(map(str, licenses)) if isinstance(licenses, list) else (),
        spec=variant.spec,
    )


def _only_variant(package: Package) -> Variant:
    if len(package.variants) != 1:
        ids = ", ".join(variant.id for variant in package.variants)
        raise UsageError(
            f"The model {package.name} has several variants: {ids}.", hint="Name one build's model."
        )
    return package.variants[0]


def _write(session: Session, base: _Base, spec: ModelSpec) -> tuple[Descriptor, str]:
    """Write spec, config and manifest over the base's layers; gives the manifest and the variant's id."""
    spec_bytes = merge(base.spec, spec).to_canonical_bytes()
    layers = [
        *base.layers,
        modelpack_layer(
            media_type=mediatypes.MODELPACK_WEIGHT_CONFIG,
            digest=session.put(spec_bytes),
            size=len(spec_bytes),
            path=SPEC_PATH,
        ),
    ]
    config = modelpack_config(
        architecture=base.facts.architecture,
        format=base.facts.format,
        quantization=base.facts.quantization,
        parameters=base.facts.parameters,
        licenses=base.licenses,
        diff_ids=[layer.digest for layer in layers],
    )
    variant = variant_id(base.facts.format, base.facts.quantization)
    manifest = modelpack_manifest(
        config=Descriptor(
            media_type=mediatypes.MODELPACK_CONFIG, digest=session.put(config), size=len(config)
        ),
        layers=layers,
        annotations={
            mediatypes.SLMCTL_VARIANT: variant,
            mediatypes.SLMCTL_FACTS: canonical_json(base.facts.to_json()).decode(),
        },
    )
    digest = session.put(manifest.raw)
    descriptor = Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=digest,
        size=len(manifest.raw),
        artifact_type=mediatypes.MODELPACK_ARTIFACT,
    )
    return descriptor, variant
