"""Which variants a repository of files holds: by the names of its files, and better by its small files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from registry.errors import DoesNotFit, SlmctlError
from registry.remotes.base import HubFile, Listing
from slmctl.app.hub.card import read_card
from slmctl.app.hub.folders import CARD, folder_variants, telling_files
from slmctl.app.hub.ggufs import gguf_sets, gguf_variants
from slmctl.app.hub.variant import NOTHING_READ, HubPart, HubVariant

_DOCUMENT = re.compile(
    r"(?:LICEN[CS]E|COPYING|NOTICE|USE_POLICY|README)(?:[-._ ][A-Za-z0-9._ -]*)?", re.IGNORECASE
)
_TEXT_ENDINGS = frozenset({"", ".md", ".txt", ".rst"})
_MAX_DOCUMENT_BYTES = 4 << 20
_MAX_DOCUMENTS = 32
MAX_VARIANTS = 500
"""How many builds of a repository are looked at; the store takes no more of one model."""

_ID = re.compile(r"[^a-z0-9._-]+", re.ASCII)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def files_to_read(listing: Listing) -> list[HubFile]:
    """The small files that `variants_of` says more with: the configurations of folders, and the card."""
    told = telling_files(listing.files)
    cards = [file for file in listing.files if file.path == CARD and file.size <= _MAX_DOCUMENT_BYTES]
    return [*told, *cards] if told else []


def variants_of(listing: Listing, read: Mapping[str, bytes] = NOTHING_READ) -> list[HubVariant]:
    """All variants of a repository, GGUF builds first, each with the licence and the card as documents.

    Nothing is asked of the remote: `read` holds the contents of `files_to_read` by path, as far as they were
    read. Without them an MLX folder looks like any safetensors folder. No two have one id. A repository that
    holds none gives an empty list; `why_none` says why.
    """
    card = read_card(read.get(CARD, b""))
    found = [
        *gguf_variants(listing.files),
        *folder_variants(listing.files, read, card.library == "mlx"),
    ]
    documents = _documents(listing.files)
    return _told_apart(
        [replace(each, parts=(*each.parts, *_of(each, documents))) for each in found[:MAX_VARIANTS]]
    )


def why_none(repository: str, listing: Listing) -> SlmctlError:
    """What to say of a repository without a variant. `repository` is `org/repo`."""
    names = [PurePosixPath(file.path).name.lower() for file in listing.files]
    url = f"https://huggingface.co/{repository}"
    other = "Look for a GGUF, safetensors, MLX or ONNX GenAI build of it"
    if any(each.role == "adapter" for each in gguf_sets(listing.files)) or "adapter_config.json" in names:
        return DoesNotFit(
            f"The repository hf.co/{repository} holds a LoRA adapter and no model.",
            hint=f"Pull the model that it was made for; {url} says which.",
        )
    if any(each.role == "projector" for each in gguf_sets(listing.files)):
        return DoesNotFit(
            f"The repository hf.co/{repository} holds a projector and no model.", hint=f"{other}; see {url}."
        )
    if "model_index.json" in names:
        what = "a Diffusers pipeline, which makes images and not text"
    elif any(name.endswith(_PICKLES) for name in names):
        what = "only pickled weights (.bin, .pt), which can run code when they are loaded and are never read"
    elif any(name.endswith(".onnx") for name in names):
        what = "ONNX files without a genai_config.json, which ONNX GenAI cannot run"
    elif any(name.endswith((".safetensors", ".h5", ".msgpack")) for name in names):
        what = "weights without a config.json that slmctl knows"
    else:
        what = "no model that slmctl knows"
    return DoesNotFit(f"The repository hf.co/{repository} holds {what}.", hint=f"{other}.")


def _documents(files: Sequence[HubFile]) -> dict[PurePosixPath, list[HubFile]]:
    """The licences, the notices and the cards, by their folders."""
    found: dict[PurePosixPath, list[HubFile]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        fits = _DOCUMENT.fullmatch(path.name) and path.suffix.lower() in _TEXT_ENDINGS
        if fits and file.size <= _MAX_DOCUMENT_BYTES:
            found.setdefault(path.parent, []).append(file)
    return found


def _of(variant: HubVariant, documents: Mapping[PurePosixPath, Sequence[HubFile]]) -> list[HubPart]:
    """The documents of the repository, and over them those of the variant's folder."""
    folder = PurePosixPath(variant.name) if variant.format != "gguf" else PurePosixPath(variant.name).parent
    found: dict[str, HubPart] = {}
    for place in dict.fromkeys((PurePosixPath(), folder)):
        for file in documents.get(place, ())[:_MAX_DOCUMENTS]:
            name = PurePosixPath(file.path).name
            found[name] = HubPart(path=name, role="doc", file=file)
    taken = {part.path for part in variant.parts}
    return [found[name] for name in sorted(found) if name not in taken]


def _told_apart(variants: Sequence[HubVariant]) -> list[HubVariant]:
    """The variants with ids of their own: where several have one, it stays with the one that alone lies
    nearest to the top of the repository, and the others have one made from their names."""
    depths: dict[str, Counter[int]] = {}
    for each in variants:
        depths.setdefault(each.id, Counter())[_depth(each)] += 1
    keeps = [depths[each.id][_depth(each)] == 1 and _depth(each) == min(depths[each.id]) for each in variants]
    used = {each.id for each, kept in zip(variants, keeps, strict=True) if kept}
    result = []
    for each, kept in zip(variants, keeps, strict=True):
        identity = each.id if kept else _own_id(each, used)
        used.add(identity)
        result.append(replace(each, id=identity))
    return result


def _depth(variant: HubVariant) -> int:
    return variant.name.count("/") + bool(variant.name)


def _own_id(variant: HubVariant, used: set[str]) -> str:
    """An id from the variant's name, in the grammar of ids, that nobody has."""
    name = _ID.sub("-", (PurePosixPath(variant.name).name or "model").lower()).strip("-._") or "model"
    base = f"{variant.format}-{name}"[:56]
    identity, number = base, 2
    while identity in used:
        identity, number = f"{base}-{number}", number + 1
    return identity
