"""The table of names as a value: finding, changing and writing it, whatever other tools wrote there."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import mediatypes
from registry.digest import Digest
from registry.manifest import Descriptor, Index, Manifest
from registry.names import DEFAULT_TAG
from registry.store import gc
from registry.store.index import Entry, NameTable
from registry.store.layout import Layout
from registry.store.store import Replace, Store
from tests.registry.store.models import NOW, add, write_manifest

DESCRIPTOR = {"mediaType": mediatypes.OCI_MANIFEST, "digest": str(Digest.of(b"x")), "size": 1}

names = st.sampled_from(
    ["a", "A", "a:latest", "A:latest", "a:LATEST", "b:v1", "B:v1", "ß:latest", "ss:latest"]
)
texts = st.text(max_size=8) | st.just('", "row ') | st.just("\n")
rows = st.one_of(
    st.builds(lambda name: {**DESCRIPTOR, "annotations": {mediatypes.REF_NAME: name}}, names),
    st.builds(
        lambda name, size: {"digest": "no", "size": size, "annotations": {mediatypes.REF_NAME: name}},
        names,
        st.integers(),
    ),
    st.just(DESCRIPTOR),
    st.lists(texts, max_size=4),
    st.dictionaries(texts, texts, max_size=3),
    st.none(),
)
tables = st.builds(
    lambda rows, more: NameTable.parse(
        json.dumps({"schemaVersion": 2, **more, "manifests": rows}, ensure_ascii=False).encode()
    ),
    st.lists(rows, max_size=6),
    st.dictionaries(st.sampled_from(["annotations", "x y", "zebra"]), texts, max_size=2),
)


def entry(name: str, content: bytes) -> Entry:
    descriptor = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(content), size=len(content))
    return Entry(name=name, descriptor=descriptor, source="create", linked=NOW)


@given(tables, names)
def test_a_name_is_found_as_written_or_else_in_any_case_or_without_its_tag(
    table: NameTable, name: str
) -> None:
    """Told the slow way: each wish in its order, over all entries."""
    folded = {each.casefold(): each for each in table.entries}
    bare = name.removesuffix(f":{DEFAULT_TAG}")
    wishes = [name, folded.get(name.casefold()), bare, folded.get(bare.casefold())]
    found = next((table.entries[wish] for wish in wishes if wish is not None and wish in table.entries), None)
    assert table.find(name) == found


@given(tables)
def test_what_is_written_reads_back_a_row_a_line(table: NameTable) -> None:
    raw = table.to_bytes()
    assert json.loads(raw) == dict(table.document)
    assert NameTable.parse(raw).entries == table.entries
    rows = table.document["manifests"]
    assert isinstance(rows, list)
    assert [json.loads(line.removesuffix(b",")) for line in raw.splitlines()[1:-1]] == rows


@given(tables, st.lists(st.builds(entry, names, st.binary(max_size=1)), max_size=5))
def test_several_entries_at_once_are_as_one_after_the_other(table: NameTable, entries: list[Entry]) -> None:
    one_by_one = table
    for each in entries:
        one_by_one = one_by_one.with_entry(each)
    at_once = table.with_entries(entries)
    assert at_once.entries == one_by_one.entries
    assert at_once.document == one_by_one.document


@given(tables, st.lists(names, max_size=3))
def test_what_is_taken_out_is_gone_and_all_else_stays(table: NameTable, gone: list[str]) -> None:
    left = table.without(gone)
    assert left.entries == {name: each for name, each in table.entries.items() if name not in gone}


@given(tables)
def test_a_row_that_points_somewhere_is_seen_whatever_else_it_says(table: NameTable) -> None:
    rows = table.document["manifests"]
    assert isinstance(rows, list)
    pointed = [row for row in rows if isinstance(row, dict) and row.get("digest") == DESCRIPTOR["digest"]]
    assert table.has(Digest.of(b"x")) == bool(pointed)
    assert not table.has(Digest.of(b"y"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_another_tools_half_a_character_is_kept_as_it_is() -> None:
    """JSON can say it, and UTF-8 cannot."""
    row = '{"digest": "sha256:0", "annotations": {"x": "\\ud800 \u00fc"}}'
    table = NameTable.parse(f'{{"schemaVersion": 2, "manifests": [{row}]}}'.encode())
    assert NameTable.parse(table.to_bytes()) == table
    assert b"\\ud800" in table.to_bytes()


def test_the_same_bytes_are_parsed_once_and_other_ones_anew(store: Store) -> None:
    add(store, "a:latest", b"1")
    table = store.names()
    assert store.names() is table
    copied = table.entries["a:latest"].descriptor
    Store(store.root).link("b:latest", copied, source=None, linked=NOW, replace_rule=Replace.NOTHING)
    assert sorted(store.names().entries) == ["a:latest", "b:latest"]
    store.layout.index.write_bytes(b"torn")
    assert sorted(store.names().entries) == ["a:latest"]
    assert store.names().generation == "previous"


def test_names_that_are_linked_at_once_and_differ_in_case_are_one_name(store: Store) -> None:
    with store.session("test") as session:
        first = write_manifest(session, session.put(b"1"), 1)
        second = write_manifest(session, session.put(b"2"), 1)
        entries = [
            Entry(name=name, descriptor=descriptor, source="create", linked=NOW)
            for name, descriptor in (("m:latest", first), ("n:latest", first), ("M:latest", second))
        ]
        linked = store.link_all(entries, lambda _old, _new: None)
    assert [each.name for each in linked] == ["m:latest", "n:latest", "m:latest"]
    found = {name: each.descriptor.digest for name, each in store.names().entries.items()}
    assert found == {"m:latest": second.digest, "n:latest": first.digest}


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_other_models_manifests_are_read_before_the_lock_is_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With ten thousand models that takes seconds, and everybody would wait."""
    for number in range(20):
        add(store, f"m{number}:latest", b"%d" % number)
    with store.session("test") as session:
        other = write_manifest(session, session.put(b"other"), 5)
        while_locked = []
        read = gc.read_document

        def noted(layout: Layout, digest: Digest) -> Manifest | Index:
            with (layout.locks / "store.lock").open("rb") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    while_locked.append(False)
                except BlockingIOError:
                    while_locked.append(True)
            return read(layout, digest)

        monkeypatch.setattr(gc, "read_document", noted)
        if way == "removed":
            assert store.unlink(["m7:latest"]).freed_bytes > 0
        else:
            store.link("m7:latest", other, source="create", linked=NOW, replace_rule=Replace.ANYTHING)
    assert while_locked.count(False) >= 20
    assert while_locked.count(True) <= 4, "only what is new, and what is deleted"


@given(
    st.lists(st.sampled_from(["hf://org/repo@dev:Q4_K_M", "hf://other/repo", "oci://h.x/m:v1"]), max_size=3),
    st.lists(st.sampled_from([f"hf://org/repo@{'a' * 40}", f"hf://o/r@{'b' * 40}:Q8_0"]), max_size=3),
    st.booleans(),
)
def test_what_a_name_tracks_stands_in_its_row_and_not_in_the_descriptor(
    tracks: list[str], pins: list[str], claimed: bool
) -> None:
    one = replace(entry("m:latest", b"x"), tracks=tuple(tracks), pins=tuple(pins), claimed=claimed)
    raw = NameTable.empty().with_entry(one).to_bytes()
    assert NameTable.parse(raw).find("m:latest") == one
    (row,) = json.loads(raw)["manifests"]
    assert row["annotations"].get(mediatypes.SLMCTL_TRACKS, "").split() == tracks


@pytest.mark.parametrize("key", [mediatypes.SLMCTL_TRACKS, mediatypes.SLMCTL_PINS])
def test_a_row_whose_tracks_are_no_text_names_nothing(key: str) -> None:
    annotations = {mediatypes.REF_NAME: "m:latest", key: 1}
    row = {**DESCRIPTOR, "annotations": annotations}
    table = NameTable.parse(json.dumps({"schemaVersion": 2, "manifests": [row]}).encode())
    assert table.find("m:latest") is None
