"""Models that are used where they lie: `PATH` of a bundle with one, `PATH:NAME` where there are several."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from registry.errors import InvalidReference, MalformedFile, NotFound, OperationFailed, UsageError
from registry.manifest import Descriptor
from registry.names import ModelRef, parse_name, short_name
from registry.store.bundle import Bundle, open_bundle, shown
from registry.store.index import Entry
from registry.store.reader import StoreReader
from slmctl.app.package import Package

_SHOWN_NAMES = 8


def open_in_bundle(ref: ModelRef, scratch: Path) -> tuple[Bundle, Package]:
    """The bundle that a file reference names, and its one model or the one named behind a colon.

    `scratch` is the folder for the copy that an engine needs of weights in a tar. Raises NotFound, UsageError
    where there are several models, BadContent.
    """
    path, name = split_path(ref.path)
    bundle = open_bundle(path, [scratch])
    return bundle, Package.of(bundle, _entry(bundle, path, name))


def split_path(text: str) -> tuple[Path, str | None]:
    """The file that `text` names and the name behind it: what exists as a whole is a path.

    Else the path is the longest that exists in front of a colon, as skopeo's `oci-archive:PATH:NAME` has it.
    """
    try:
        path = Path(text).expanduser()
        if path.exists():
            return path, None
        at = len(text)
        while (at := text.rfind(":", 1, at)) > 0:
            front = Path(text[:at]).expanduser()
            if front.exists():
                return front, text[at + 1 :]
    except (OSError, RuntimeError, ValueError) as error:
        raise OperationFailed(
            f"{text!r:.120} cannot be looked at ({error}).", hint="Check the path."
        ) from None
    return path, None


def named_in(reader: StoreReader, path: Path, name: str) -> Entry:
    """The entry `name` of the bundle or store at `path`. Raises NotFound, InvalidReference."""
    ref = parse_name(name)
    names = reader.names()
    entry = names.find(ref.full_name)
    if entry is None:
        raise NotFound(
            f"There is no model {ref.short_name} in {shown(path)}.", hint=f"It has {_listed(names.entries)}."
        )
    if ref.digest is not None and ref.digest != entry.descriptor.digest:
        raise NotFound(f"{ref.short_name} in {shown(path)} is not at {ref.digest}.")
    return entry


def _entry(bundle: Bundle, path: Path, name: str | None) -> Entry:
    entries = bundle.names().entries
    if name is not None:
        return named_in(bundle, path, name)
    if len(entries) > 1:
        names = _names(entries)
        if not names:
            raise MalformedFile(f"{shown(path)} has {len(entries)} models, and none has a name.")
        raise UsageError(
            f"{shown(path)} has {len(entries)} models: {_listed(entries)}.",
            hint=f"Name one behind a colon: {shown(path)}:{names[0]}",
        )
    if entries:
        return next(iter(entries.values()))
    roots: list[Descriptor] = bundle.names().roots()
    if len(roots) != 1:
        raise MalformedFile(f"{shown(path)} names no model.")
    return Entry(name=path.stem, descriptor=roots[0], source=None, linked=None)


def _names(entries: Iterable[str]) -> list[str]:
    """The names that can be asked for: a stranger's table may have others."""
    return sorted(short_name(name) for name in entries if _is_name(name))


def _listed(entries: Iterable[str]) -> str:
    names = _names(entries)
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _is_name(text: str) -> bool:
    try:
        parse_name(text)
    except InvalidReference:
        return False
    return True
