"""Where a name came from: its pinned source, the places that a pull of it asks, and whose a name is.

    oci://host/path:tag@sha256:...       the manifest or index that the tag named
    ollama://namespace/name:tag@sha256:...
    hf://org/repo@COMMIT[:SELECTOR]

What a place had when it was asked is the pin. Without it the source is the place that the name belongs to and
that the next pull asks, unless the entry says what it tracks instead: a branch, since a commit does not say
of which it is; a version that the user pinned by himself, which stays; a repository by its old name; or, for
a model of the library, several places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
    return None if ref is None else _unpinned(ref)


def tracked(entry: Entry) -> tuple[ModelRef, ...]:
    """The places that a pull of the name asks, the source's first; none where it came from no registry.

    Nor are there any where a bundle only says that its model is from some place: what a stranger's file says
    sends no request anywhere, only a command that names the place does.
    """
    place = None if entry.claimed else place_of(entry.source)
    if place is None:
        return ()
    found = [ref for text in entry.tracks if (ref := _parsed(text)) is not None]
    return tuple(found) if found and len(found) == len(entry.tracks) else (place,)


def tracks_to_keep(source: str, asked: Iterable[ModelRef]) -> tuple[str, ...]:
    """What the entry of a model must say that came from `source` when `asked` were asked: nothing where the
    source says it."""
    place = place_of(source)
    refs = [_pinned_by_digest(ref, source) for ref in asked]
    if place is None or ([_key(ref) for ref in refs] == [_key(place)] and not any(map(_is_pinned, refs))):
        return ()
    return tuple(str(ref) for ref in refs)


def public_source(source: str | None) -> str | None:
    """A name's source if it is a reference to some registry; what was made here says nothing elsewhere."""
    return source if _parsed(source) is not None else None


def is_same_place(one: str | None, other: str | None) -> bool:
    """Whether two sources differ in their pins at most."""
    places = [place_of(source) for source in (one, other)]
    if places[0] is None or places[1] is None:
        return one == other
    return _key(places[0]) == _key(places[1])


def are_same_places(some: Sequence[ModelRef], others: Sequence[ModelRef]) -> bool:
    """Whether both are the same places, in any order, whatever they are pinned to."""
    return {_key(ref) for ref in some} == {_key(ref) for ref in others}


def is_same_repository(one: ModelRef, other: ModelRef) -> bool:
    """Whether two references differ in what they mean of a repository at most."""
    return one.source is other.source and _key(one)[:2] == _key(other)[:2]


def is_taken_over(before: str | None, now: str | None, asked: Iterable[ModelRef]) -> bool:
    """Whether a repository of the hub that had another name by then has been made anew under its old one: by
    whoever came first, who need not be its owner."""
    was, is_ = place_of(before), place_of(now)
    if was is None or is_ is None or not was.source is is_.source is Source.HUGGINGFACE:
        return False
    paths = {ref.path.lower() for ref in asked if ref.source is Source.HUGGINGFACE}
    return is_.path.lower() in paths and was.path.lower() not in paths


def pin_of(source: str | None) -> Digest | str | None:
    """What the place had: a digest, or the commit of a Hugging Face repository; None without a pin."""
    ref = _parsed(source)
    if ref is None:
        return None
    if ref.digest is not None:
        return ref.digest
    return ref.revision if _is_pinned(ref) else None


def _parsed(source: str | None) -> ModelRef | None:
    if source is None:
        return None
    try:
        ref = parse(source)
    except InvalidReference:
        return None
    return ref if ref.source not in {Source.FILE, Source.BARE} else None


def _is_pinned(ref: ModelRef) -> bool:
    return ref.digest is not None or (
        ref.revision is not None and _COMMIT.fullmatch(ref.revision) is not None
    )


def _pinned_by_digest(ref: ModelRef, source: str) -> ModelRef:
    """A repository of files has no digests: what stays is its commit."""
    return parse(source) if ref.source is Source.HUGGINGFACE and ref.digest is not None else ref


def _unpinned(ref: ModelRef) -> ModelRef:
    revision = None if ref.revision is None or _COMMIT.fullmatch(ref.revision) else ref.revision
    return replace(ref, digest=None, revision=revision)


def _key(ref: ModelRef) -> tuple[str, str, str, str]:
    """Hosts, and Hugging Face's selectors, are the same in any case."""
    ref = _unpinned(ref)
    host = (ref.host or HUGGINGFACE_HOST).lower()
    if ref.source is Source.HUGGINGFACE:
        revision = ref.revision or _DEFAULT_REVISION
        return host, ref.path.lower(), (ref.tag or "").lower(), revision
    return host, ref.path, ref.tag or DEFAULT_TAG, ""
