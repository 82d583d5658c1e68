"""Bundles that are nearly right: a valid one, and what chance did to it.

Bytes of the tar change anywhere, and headers get a checksum that fits again; or a JSON document inside changes
and everything that names it by its digest follows; or a file in a folder becomes something else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from registry.errors import SlmctlError
from registry.store.gc import reached_from
from registry.store.store import Store
from tests.bundles import Parts, read_in, read_piped, row, small

SMALL = small(weights=b"weights " * 80)
TAR = SMALL.to_tar()
MANIFEST = str(SMALL.models[0]["digest"]).removeprefix("sha256:")

_TEXTS = [
    b"../",
    b"/etc/passwd",
    b"\0",
    b"\\",
    b"[",
    b"{",
    b'"',
    b"-1",
    b"1e999",
    b"9" * 30,
    b"sha256:",
    b"\xff",
    b"null",
]
_FIELDS = [(0, 100), (100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 8), (345, 155)]

Step = tuple[str, int, int, bytes]

steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat", "field", "type", "block"]),
        st.integers(0, 1 << 16),
        st.integers(0, 1 << 11),
        st.one_of(st.binary(min_size=1, max_size=16), st.sampled_from(_TEXTS)),
    ),
    min_size=1,
    max_size=5,
)
kinds = st.sampled_from(["link", "link out", "fifo", "folder", "gone", "cut", "grown", "other"])
targets = st.sampled_from(
    ["index.json", "oci-layout", "blobs", "blobs/sha256", *(f"blobs/sha256/{name}" for name in SMALL.blobs)]
)


def mutated(data: bytes, changes: list[Step], *, mend: bool = False) -> bytes:
    """`data` after `changes`; with `mend` every header that is left has the checksum that it should have."""
    text = bytearray(data)
    for kind, place, length, new in changes:
        at = place % (len(text) + 1)
        block = at - at % 512
        if kind == "set":
            text[at : at + len(new)] = new
        elif kind == "insert":
            text[at:at] = new
        elif kind == "delete":
            del text[at : at + length % 600]
        elif kind == "repeat":
            text[at:at] = text[block : block + length]
        elif kind == "block":
            text[block:block] = text[(length % 8) * 512 : (length % 8 + 3) * 512]
        elif kind == "field":
            start, size = _FIELDS[length % len(_FIELDS)]
            text[block + start : block + start + size] = new[:size].ljust(size, b"\0")
        else:
            text[block + 156 : block + 157] = b"0123456789xgLKS\0"[length % 16 : length % 16 + 1]
    if mend:
        for block in range(0, len(text) - 511, 512):
            if text[block + 257 : block + 262] == b"ustar":
                text[block + 148 : block + 156] = b" " * 8
                text[block + 148 : block + 156] = f"{sum(text[block : block + 512]):06o}\0 ".encode()
    return bytes(text)


def rewritten(changes: list[Step], *, what: int) -> Parts:
    """The small bundle with another manifest, config or index, named by its digest wherever it is named."""
    if what == 0:
        index = mutated(SMALL.index, changes)

        class Changed(Parts):
            @property
            def index(self) -> bytes:
                return index

        return Changed(models=SMALL.models, blobs=SMALL.blobs)
    blobs = dict(SMALL.blobs)
    if what == 1:
        raw = mutated(blobs.pop(MANIFEST), changes)
    else:
        config = next(name for name in blobs if name != MANIFEST and blobs[name].startswith(b"{"))
        new = mutated(blobs.pop(config), changes)
        raw = blobs.pop(MANIFEST).replace(config.encode(), sha256(new).hexdigest().encode())
        raw = raw.replace(f'"size":{len(SMALL.blobs[config])}}}'.encode(), f'"size":{len(new)}}}'.encode())
        blobs[sha256(new).hexdigest()] = new
    blobs[sha256(raw).hexdigest()] = raw
    return replace(SMALL, models=[row("small:latest", raw)], blobs=blobs)


def spoil(folder: Path, target: str, kind: str, outside: Path) -> None:
    """Make something else of a file or a folder in a bundle."""
    path = folder / target
    if not path.exists() or path.is_symlink():
        return
    aside = outside / "aside"
    if kind == "cut" or kind == "grown" or kind == "other":
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(
                data[:-1] if kind == "cut" else data + b"x" if kind == "grown" else b"x" + data[1:]
            )
        return
    if aside.exists():
        return
    path.rename(aside)
    if kind == "link":
        path.symlink_to(aside)
    elif kind == "link out":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder where flushing costs nothing, if there is one."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="slmctl-fuzz-", dir=shm if os.access(shm, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def hold(folder: Path, data: bytes | Path) -> None:
    """Import a tar's bytes, from a file and from a pipe, or a folder: all of it or nothing, and nothing else."""
    if isinstance(data, Path):
        _hold(folder, lambda store: read_in(store, data))
        return
    path = folder / "bundle.tar"
    path.write_bytes(data)
    _hold(folder, lambda store: read_in(store, path))
    _hold(folder, lambda store: read_piped(store, data))


def _hold(folder: Path, take: Callable[[Store], object]) -> None:
    store = Store(folder / "store")
    outside = {path for path in folder.rglob("*") if not path.is_relative_to(store.root)}
    try:
        take(store)
        imported = True
    except SlmctlError as error:
        assert error.message  # noqa: PT017 - everything else goes through
        imported = False
    names = store.names().entries
    assert bool(names) is imported
    blobs = {path.name for path in store.layout.blobs.iterdir()} if store.layout.blobs.exists() else set()
    reached = {
        digest.hex
        for digest in reached_from(store.layout, [each.descriptor.digest for each in names.values()])
    }
    assert blobs == reached
    for name in blobs:
        assert sha256((store.layout.blobs / name).read_bytes()).hexdigest() == name
    for temporary in (store.layout.ingest, store.layout.leases):
        assert not temporary.exists() or not list(temporary.iterdir())
    assert {path for path in folder.rglob("*") if not path.is_relative_to(store.root)} == outside
    shutil.rmtree(store.root, ignore_errors=True)


def _changed_tar(changes: list[Step], mend: bool) -> None:
    with scratch() as folder:
        hold(folder, mutated(TAR, changes, mend=mend))


def _changed_document(changes: list[Step], what: int) -> None:
    with scratch() as folder:
        parts = rewritten(changes, what=what)
        hold(folder, parts.to_tar())
        hold(folder, parts.to_folder(folder / "bundle"))


def _changed_folder(spoilt: list[tuple[str, str]]) -> None:
    with scratch() as folder:
        bundle = SMALL.to_folder(folder / "bundle")
        (folder / "outside").mkdir()
        for target, kind in spoilt:
            spoil(bundle, target, kind, folder / "outside")
        hold(folder, bundle)


LAWS: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "tar": (_changed_tar, (steps, st.booleans())),
    "document": (_changed_document, (steps, st.integers(0, 2))),
    "folder": (_changed_folder, (st.lists(st.tuples(targets, kinds), min_size=1, max_size=3),)),
}


def law_of(name: str, *, examples: int, number: int | None = None) -> Callable[[], None]:
    """A law as a function that holds it for so many examples; `number` chooses which."""
    law, strategies = LAWS[name]
    held = given(*strategies)(law)
    if number is not None:
        held = seed(number)(held)
    bounds = settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return bounds(held)
