"""The notes that make `slmctl list` fast: they save time, and are never believed over the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry import mediatypes
from registry.errors import DigestMismatch, NotFound, SizeMismatch, SlmctlError
from registry.manifest import Descriptor, canonical_json
from registry.store.index import Entry
from registry.store.store import Replace, Store
from slmctl.app.listing import list_models
from slmctl.app.summaries import WORTH_WRITING, Summaries, Summary
from tests.processes import until

NOW = "2026-11-22T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, name: str, document: dict[str, Any]) -> Descriptor:
    raw = canonical_json({"schemaVersion": 2, **document})
    with store.session("test") as session:
        descriptor = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=session.put(raw), size=len(raw))
        store.link(name, descriptor, source=None, linked=NOW, replace_rule=Replace.ANYTHING)
    return descriptor


def put_model(store: Store, name: str, *, size: int) -> Descriptor:
    """A manifest without its blobs: `list` needs no more."""
    blob = {"mediaType": "x", "digest": f"sha256:{size:064x}", "size": size}
    annotations = {mediatypes.SLMCTL_VARIANT: "gguf-q8_0"}
    return put(store, name, {"config": {**blob, "size": 2}, "layers": [blob], "annotations": annotations})


def summarize(store: Store, *, save: bool = True) -> dict[str, Summary | type[SlmctlError]]:
    """What is said of every name, as `list` asks."""
    names = store.names()
    summaries = Summaries(store, worth_writing=1)

    def of(entry: Entry) -> Summary | type[SlmctlError]:
        try:
            return summaries.of(entry.descriptor)
        except SlmctlError as error:
            return type(error)

    found = {name: of(entry) for name, entry in names.entries.items()}
    if save:
        summaries.save(names)
    return found


def notes_file(store: Store) -> Path:
    return store.layout.cache / "summaries.json"


def test_a_note_saves_reading_the_manifest(store: Store) -> None:
    first = put_model(store, "a:latest", size=1)
    assert summarize(store) == {"a:latest": (("gguf-q8_0",), 1)}
    document = json.loads(notes_file(store).read_text())
    document["manifests"][first.digest.hex][3] = 77  # nobody but the test can tell the two ways apart
    notes_file(store).write_text(json.dumps(document))
    put_model(store, "b:latest", size=2)
    expected = {"a:latest": (("gguf-q8_0",), 77), "b:latest": (("gguf-q8_0",), 2)}
    assert summarize(store) == expected
    assert summarize(store) == expected, "the new note stands beside the old one"


def test_notes_of_what_has_no_name_any_more_are_dropped(store: Store) -> None:
    put_model(store, "a:latest", size=1)
    summarize(store)
    store.unlink(["a:latest"])
    left = put_model(store, "b:latest", size=2)
    summarize(store)
    assert list(json.loads(notes_file(store).read_text())["manifests"]) == [left.digest.hex]


def test_a_manifest_that_changed_is_read_again(store: Store) -> None:
    descriptor = put_model(store, "a:latest", size=1)
    summarize(store)
    path = store.layout.blob(descriptor.digest)
    path.chmod(0o644)
    before = store.stamp(descriptor)

    def spoil() -> bool | None:
        path.write_bytes(b"x" * descriptor.size)
        return True if store.stamp(descriptor) != before else None

    until(spoil)  # the clock of the file system ticks every few milliseconds only
    assert summarize(store) == {"a:latest": DigestMismatch}
    path.write_bytes(b"x")
    assert summarize(store) == {"a:latest": SizeMismatch}
    path.unlink()
    assert summarize(store) == {"a:latest": NotFound}


def test_an_index_is_read_every_time(store: Store) -> None:
    """Its own file does not say whether what it names is still there."""
    inner = put_model(store, "a:latest", size=1)
    row = {"mediaType": inner.media_type, "digest": str(inner.digest), "size": inner.size}
    put(store, "b:latest", {"manifests": [row]})
    assert summarize(store) == dict.fromkeys(("a:latest", "b:latest"), (("gguf-q8_0",), 1))
    store.layout.blob(inner.digest).unlink()
    assert summarize(store) == {"a:latest": NotFound, "b:latest": NotFound}


GARBAGE = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b"[]",
    b"{}",
    b'{"schema": "slmctl.summaries/2", "manifests": {}}',
    b'{"schema": "slmctl.summaries/1"}',
    b'{"schema": "slmctl.summaries/1", "manifests": []}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_damaged_file_is_replaced(store: Store, garbage: bytes) -> None:
    put_model(store, "a:latest", size=1)
    notes_file(store).write_bytes(garbage)
    assert summarize(store) == {"a:latest": (("gguf-q8_0",), 1)}
    assert len(json.loads(notes_file(store).read_text())["manifests"]) == 1


@pytest.mark.parametrize("change", [{0: 0}, {1: 0}, {2: None}, {3: "1"}, {3: None}, {4: 0}])
def test_a_damaged_note_is_passed_over(store: Store, change: dict[int, Any]) -> None:
    descriptor = put_model(store, "a:latest", size=1)
    summarize(store)
    document = json.loads(notes_file(store).read_text())
    note = dict(enumerate(document["manifests"][descriptor.digest.hex]))
    document["manifests"][descriptor.digest.hex] = list({**note, **change}.values())
    notes_file(store).write_text(json.dumps(document))
    assert summarize(store) == {"a:latest": (("gguf-q8_0",), 1)}


def test_where_nothing_can_be_written_it_only_takes_longer(store: Store) -> None:
    put_model(store, "a:latest", size=1)
    notes_file(store).mkdir()
    assert summarize(store) == {"a:latest": (("gguf-q8_0",), 1)}
    assert list(store.layout.cache.iterdir()) == [notes_file(store)]
    notes_file(store).rmdir()
    store.layout.cache.rmdir()  # as in a layout that another tool made
    assert summarize(store) == {"a:latest": (("gguf-q8_0",), 1)}
    assert not store.layout.cache.exists()


def test_only_a_large_store_gets_notes(store: Store) -> None:
    for number in range(WORTH_WRITING):
        assert not notes_file(store).exists()
        put_model(store, f"m{number:03}:latest", size=number)
        rows = list_models(store)
    assert notes_file(store).exists()
    assert list_models(store) == rows
    assert [row.size for row in rows] == list(range(WORTH_WRITING))
