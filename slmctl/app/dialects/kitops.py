"""KitOps' ModelKits: the config is the Kitfile as JSON, and all layers are tars.

Nothing in them can be used where it lies: `unpacking` makes a model of their files. What the Kitfile says
serves to list them. Source: KitOps 1.6 (pkg/artifact/kitfile.go, pkg/lib/constants/mediatype).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, DoesNotFit
from registry.manifest import Descriptor, Manifest, load_json_object
from slmctl.app.dialects.described import BlobReader, Described, Part, format_by_names, texts
from slmctl.app.file_names import checked_path

_LAYER = re.compile(
    r"application/vnd\.kitops\.modelkit\.(?P<kind>[a-z]{1,32})\.v1\.(?P<packing>tar(?:\+[a-z]{1,16})?)",
    re.ASCII,
)
_ROLES = {"model": "weights", "modelpart": "weights", "docs": "doc", "prompt": "doc"}
_LEFT_OUT = {"code", "dataset", "datasets"}


def is_kitops(manifest: Manifest) -> bool:
    """Whether a manifest is of this dialect."""
    return manifest.config.media_type == mediatypes.KITOPS_CONFIG


def describe(blobs: BlobReader, manifest: Manifest) -> Described:
    """What the manifest and the Kitfile say. Raises DoesNotFit for a kit that only refers to another's model,
    MalformedFile, NotFound and other BadContent."""
    kitfile = _kitfile(blobs, manifest)
    entries = _entries(kitfile)
    parts: list[Part] = []
    left_out: list[Part] = []
    seen: dict[str, int] = {}
    for layer in manifest.layers:
        match = _LAYER.fullmatch(layer.media_type)
        if match is None:
            continue
        kind = match["kind"]
        number = seen[kind] = seen.get(kind, -1) + 1
        path = _path(kind, number, entries.get(kind, []), layer)
        part = Part(path=path, role=_ROLES.get(kind, "doc"), layer=layer, packing=match["packing"])
        (left_out if kind in _LEFT_OUT else parts).append(part)
    if not any(part.role == "weights" for part in parts):
        refers = _text(kitfile.get("model"), "path")
        elsewhere = f"; it refers to {refers!a:.200}" if refers else ""
        raise DoesNotFit(
            f"The KitOps ModelKit {manifest.digest} has no model of its own{elsewhere}.",
            hint="Pull the ModelKit that has the weights.",
        )
    return Described(
        dialect="KitOps ModelKit",
        format=_format(kitfile),
        quantization=None,
        parts=tuple(parts),
        left_out=tuple(left_out),
        licenses=tuple(
            dict.fromkeys((*texts(kitfile, "model", "license"), *texts(kitfile, "package", "license")))
        ),
    )


def format_of(blobs: BlobReader, manifest: Manifest) -> tuple[str, str | None]:
    """Format and quantization by the Kitfile alone, for listings. Raises as `describe`."""
    return _format(_kitfile(blobs, manifest)) or "unknown", None


def diff_ids(blobs: BlobReader, manifest: Manifest) -> dict[Digest, Digest]:
    """The digests of layers' tars behind their compression, by the layers' own, as far as the Kitfile says.

    Raises MalformedFile, NotFound and other BadContent.
    """
    found = {}
    for info in _infos(_kitfile(blobs, manifest)):
        try:
            found[Digest.parse(info.get("digest"))] = Digest.parse(info.get("diffId"))
        except BadContent:
            continue  # older kits have none
    return found


def _kitfile(blobs: BlobReader, manifest: Manifest) -> dict[str, object]:
    return load_json_object(blobs.read_blob(manifest.config), "The Kitfile")


def _format(kitfile: dict[str, object]) -> str | None:
    model = kitfile.get("model")
    parts = model.get("parts") if isinstance(model, dict) else None
    paths = [
        _text(model, "path"),
        *(_text(part, "path") for part in (parts if isinstance(parts, list) else [])),
    ]
    return format_by_names(path for path in paths if path)


def _entries(kitfile: dict[str, object]) -> dict[str, list[object]]:
    """What the Kitfile lists, by the kind of its layers and in their order."""
    model = kitfile.get("model")
    lists = {
        "model": [model],
        "modelpart": model.get("parts") if isinstance(model, dict) else None,
        "docs": kitfile.get("docs"),
        "code": kitfile.get("code"),
        "dataset": kitfile.get("datasets"),
    }
    return {kind: each for kind, each in lists.items() if isinstance(each, list)}


def _infos(kitfile: dict[str, object]) -> Iterator[dict[str, object]]:
    for entries in _entries(kitfile).values():
        for entry in entries:
            info = entry.get("layerInfo") if isinstance(entry, dict) else None
            if isinstance(info, dict):
                yield info


def _path(kind: str, number: int, entries: list[object], layer: Descriptor) -> str:
    """What to call a layer: the path that the Kitfile packs into it. Raises MalformedFile for a bad one."""
    entry: object = entries[number] if number < len(entries) else None
    for each in entries:
        info = each.get("layerInfo") if isinstance(each, dict) else None
        if isinstance(info, dict) and info.get("digest") == str(layer.digest):
            entry = each
    written = (_text(entry, "path") or "").removeprefix("./").rstrip("/")
    if written in {"", "."}:
        return f"{kind}-{number}"
    return checked_path(written)


def _text(value: object, key: str) -> str | None:
    text = value.get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) else None
