"""Where a name came from: its pinned source, the place without the pin, and whether two are one place.

    oci://host/path:tag@sha256:...       the manifest or index that the tag named
    ollama://namespace/name:tag@sha256:...
    hf://org/repo@COMMIT[:SELECTOR]

A name belongs to a place (`registry.store.store.Replace`); what the place had when it was asked is the pin.
"""

from __future__ import annotations

import re
from dataclasses import replace

from registry.digest import Digest
from registry.errors import InvalidReference
from registry.names import DEFAULT_TAG, HUGGINGFACE_HOST, ModelRef, Source, parse
from registry.store.index import Entry

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_DEFAULT_REVISION = "main"


def place_of(source: str | None) -> ModelRef | None:
    """The reference that a source was pinned from; None where the name came from no registry."""
    ref = _parsed(source)
    if ref is None:
        return None
    revision = None if ref.revision is None or _COMMIT.fullmatch(ref.revision) else ref.revision
    return replace(ref, digest=None, revision=revision)


def pulled_from(entry: Entry) -> ModelRef | None:
    """The place that a name was pulled from here; None for one that only says so, as out of a bundle.

    What a stranger's file says sends no request anywhere: only a command that names the place does.
    """
    return None if entry.claimed else place_of(entry.source)


def is_same_place(one: str | None, other: str | None) -> bool:
    """Whether two sources differ in their pins at most."""
    places = [place_of(source) for source in (one, other)]
    if places[0] is None or places[1] is None:
        return one == other
    return _key(places[0]) == _key(places[1])


def pin_of(source: str | None) -> Digest | str | None:
    """What the place had: a digest, or the commit of a Hugging Face repository; None without a pin."""
    ref = _parsed(source)
    if ref is None:
        return None
    if ref.digest is not None:
        return ref.digest
    return ref.revision if ref.revision and _COMMIT.fullmatch(ref.revision) else None


def _parsed(source: str | None) -> ModelRef | None:
    if source is None:
        return None
    try:
        ref = parse(source)
    except InvalidReference:
        return None
    return ref if ref.source not in {Source.FILE, Source.BARE} else None


def _key(ref: ModelRef) -> tuple[str, str, str, str]:
    """Hosts, and Hugging Face's selectors, are the same in any case."""
    host = (ref.host or HUGGINGFACE_HOST).lower()
    if ref.source is Source.HUGGINGFACE:
        revision = ref.revision or _DEFAULT_REVISION
        return host, ref.path.lower(), (ref.tag or "").lower(), revision
    return host, ref.path, ref.tag or DEFAULT_TAG, ""
