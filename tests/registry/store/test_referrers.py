"""What refers to a manifest: it stays as long as that does, and goes with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry import mediatypes
from registry.digest import Digest
from registry.errors import NotFound
from registry.manifest import EMPTY, Descriptor, Index, Manifest, artifact_about, parse
from registry.store.findings import Scope
from registry.store.index import NameTable, Referrer
from registry.store.joined import JoinedReader
from registry.store.keeper import Keeper
from registry.store.reader import FurtherStore
from registry.store.usage import usage_of
from registry.store.verify import verify
from tests.registry.store.models import add, add_several, link


@pytest.fixture
def store(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "store")


def refer(
    store: Keeper, subject: Descriptor, text: bytes = b"said", *, instead_of: tuple[Digest, ...] = ()
) -> Referrer:
    """Something that is said about a manifest."""
    with store.session("test") as session:
        session.put(EMPTY)
        layer = Descriptor(media_type=mediatypes.QUALITY, digest=session.put(text), size=len(text))
        manifest = artifact_about(subject, layer, artifact_type=mediatypes.QUALITY, annotations={"k": "v"})
        descriptor = Descriptor(
            media_type=manifest.media_type,
            digest=session.put(manifest.raw),
            size=len(manifest.raw),
            artifact_type=manifest.artifact_type,
        )
        referrer = Referrer(subject=subject.digest, descriptor=descriptor)
        store.refer(referrer, instead_of=instead_of)
    return referrer


def parts(text: bytes, referrer: Referrer) -> set[Digest]:
    return {Digest.of(EMPTY), Digest.of(text), referrer.descriptor.digest}


def test_the_manifest_says_what_it_is_about() -> None:
    subject = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"m"), size=1)
    layer = Descriptor(media_type=mediatypes.QUALITY, digest=Digest.of(b"l"), size=1)
    manifest = artifact_about(subject, layer, artifact_type=mediatypes.QUALITY, annotations={})
    assert (manifest.subject, manifest.layers, manifest.artifact_type) == (
        subject,
        (layer,),
        mediatypes.QUALITY,
    )
    assert manifest.config.media_type == mediatypes.OCI_EMPTY
    assert manifest.config.digest == Digest.of(b"{}")
    assert parse(manifest.raw) == manifest


def test_it_is_a_row_without_a_name(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    referrer = refer(store, entry.descriptor)
    names = store.names()
    assert names.referrers == (referrer,)
    assert list(names.entries) == ["a:latest"]
    assert [root.digest for root in names.roots()] == [entry.descriptor.digest]
    rows = json.loads(store.layout.index.read_bytes())["manifests"]
    assert rows[1]["annotations"] == {"dev.slmctl.subject": str(entry.descriptor.digest)}
    assert rows[1]["artifactType"] == mediatypes.QUALITY
    assert NameTable.parse(names.to_bytes()) == names


def test_nothing_collects_it_and_verify_hashes_it(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    before = set(store.stored())
    referrer = refer(store, entry.descriptor)
    assert store.collect().garbage == ()
    assert set(store.stored()) == before | parts(b"said", referrer)
    report = verify(store, Scope(), keeper=store)
    assert (report.is_well, report.findings, report.blobs) == (True, (), len(before) + 3)
    usage = usage_of(store)
    assert usage.unneeded == 0
    assert usage.names[0].alone == sum(store.stored().values())


def test_it_goes_with_its_subject(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    refer(store, entry.descriptor)
    removed = store.unlink(["a:latest"])
    assert removed.freed_bytes > 0
    assert store.stored() == {}
    assert store.names().referrers == ()


def test_it_stays_while_another_name_has_its_subject(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    referrer = refer(store, entry.descriptor)
    link(store, "b:latest", entry.descriptor)
    store.unlink(["a:latest"])
    assert store.names().referrers == (referrer,)
    assert store.collect().garbage == ()
    store.unlink(["b:latest"])
    assert store.stored() == {}


def test_it_is_about_one_variant_of_several_and_outlives_the_index(store: Keeper) -> None:
    entry = add_several(store, "a:latest", [b"one", b"two"])
    index = store.manifest(entry.descriptor)
    assert isinstance(index, Index)
    first, second = index.manifests
    referrers = (refer(store, first, b"of one"), refer(store, second, b"of two"))
    assert store.names().referrers == referrers
    link(store, "a:latest", second)  # the first is a variant of nothing any more
    (left,) = store.names().referrers
    assert left.subject == second.digest
    assert Digest.of(b"of one") not in store.stored()
    assert Digest.of(b"of two") in store.stored()
    assert verify(store, Scope(), keeper=store).findings == ()


def test_one_takes_the_place_of_another(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    old = refer(store, entry.descriptor, b"once")
    new = refer(store, entry.descriptor, b"again", instead_of=(old.descriptor.digest,))
    assert store.names().referrers == (new,)
    assert Digest.of(b"once") not in store.stored()
    same = refer(store, entry.descriptor, b"again", instead_of=(new.descriptor.digest,))
    assert (same, store.names().referrers) == (new, (new,))
    assert store.collect().garbage == ()


def test_about_what_is_gone_nothing_is_said(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    store.unlink(["a:latest"])
    with pytest.raises(NotFound):
        refer(store, entry.descriptor)
    assert store.stored() == {}


def test_rows_that_another_program_left_behind_are_swept(store: Keeper) -> None:
    """As an older slmctl leaves them: it takes them for another tool's."""
    entry = add(store, "a:latest", b"one")
    add(store, "b:latest", b"two")
    referrer = refer(store, entry.descriptor)
    names = store.names().without(["a:latest"])
    store.layout.index.write_bytes(names.to_bytes())
    assert verify(store, Scope(), keeper=store).is_well
    garbage = {each.digest for each in store.collect(dry_run=True).garbage}
    assert garbage >= parts(b"said", referrer)
    assert store.names().referrers == (referrer,)
    store.collect()
    assert store.names().referrers == ()
    assert verify(store, Scope(), keeper=store).findings == ()


def test_a_damaged_one_is_found_and_keeps_nothing_else(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    referrer = refer(store, entry.descriptor)
    path = store.layout.blob(referrer.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"said", b"lied").replace(b'"k"', b'"j"'))
    (finding,) = (each for each in verify(store, Scope(), keeper=store).findings if each.kind == "damaged")
    assert [user.name for user in finding.users] == ["a:latest"]
    removed = store.unlink(["a:latest"])
    assert removed.freed_bytes > 0
    store.collect()
    assert set(store.stored()) == set()


@pytest.mark.parametrize(
    "row",
    [
        {"annotations": {"dev.slmctl.subject": "sha256:0"}},
        {"annotations": {"dev.slmctl.subject": 5}},
        {"annotations": {"dev.slmctl.subject": "sha256:" + "0" * 64}, "size": -1},
        {"annotations": {"dev.slmctl.subject": "sha256:" + "0" * 64, "x": 1}},
        {"annotations": ["dev.slmctl.subject"]},
        "dev.slmctl.subject",
    ],
)
def test_rows_that_make_no_sense_are_no_referrers(row: object) -> None:
    whole = {"mediaType": mediatypes.OCI_MANIFEST, "digest": "sha256:" + "1" * 64, "size": 1}
    rows = [{**whole, **row} if isinstance(row, dict) else row]
    names = NameTable.parse(json.dumps({"schemaVersion": 2, "manifests": rows}).encode())
    assert names.referrers == ()
    assert names.without_referrers([Digest("1" * 64)]).document == names.document


def test_a_row_with_a_name_is_a_model_whatever_else_it_says(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    document = json.loads(store.layout.index.read_bytes())
    document["manifests"][0]["annotations"]["dev.slmctl.subject"] = str(entry.descriptor.digest)
    names = NameTable.parse(json.dumps(document).encode())
    assert names.referrers == ()
    assert list(names.entries) == ["a:latest"]
    assert len(names.roots()) == 1


def test_a_lost_table_is_made_anew_with_them(store: Keeper) -> None:
    entry = add(store, "a:latest", b"one")
    referrer = refer(store, entry.descriptor)
    for path in (store.layout.index, store.layout.previous_index):
        path.write_bytes(b"{")
    assert store.mend_names()
    names = store.names()
    assert [each.descriptor.digest for each in names.entries.values()] == [entry.descriptor.digest]
    assert names.referrers == (referrer,)
    assert verify(store, Scope(), keeper=store).is_well


def test_what_a_further_store_says_is_read(store: Keeper, tmp_path: Path) -> None:
    other = Keeper(tmp_path / "other")
    entry = add(other, "b:latest", b"two")
    referrer = refer(other, entry.descriptor)
    add(store, "a:latest", b"one")
    joined = JoinedReader(store, [FurtherStore(other.root)])
    assert joined.names().referrers == (referrer,)
    assert isinstance(joined.manifest(referrer.descriptor), Manifest)
    assert store.names().referrers == ()
