"""What garbage collection takes, and what it must never take."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import BadContent
from registry.manifest import Index, Manifest
from registry.store import gc
from registry.store.findings import Scope
from registry.store.keeper import Keeper
from registry.store.layout import Layout
from registry.store.leases import RUNS
from registry.store.verify import verify
from tests.registry.store.models import add, add_several, link, write_manifest

DEAD = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Keeper:
    store = Keeper(tmp_path / "store")
    add(store, "a:latest", b"one")
    return store


def put(store: Keeper, content: bytes) -> Digest:
    """A blob that nothing needs."""
    with store.session("test") as session:
        return session.put(content)


def dead_lease(store: Keeper, *contents: bytes, purpose: str = "create x") -> Path:
    path = store.layout.leases / DEAD
    lines = [json.dumps({"purpose": purpose}), *(str(Digest.of(content)) for content in contents)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_no_name_needs_goes_and_all_else_stays(store: Keeper) -> None:
    add_several(store, "b:latest", [b"two", b"three"], source="ollama://library/b")
    store.layout.blob(Digest.of(b"three")).unlink()  # a sparse model
    before = store.stored()
    garbage = put(store, b"nobody's")
    dry = store.collect(dry_run=True)
    assert garbage in store.stored()
    assert dry == store.collect()
    assert [(each.kind, each.digest, each.size) for each in dry.garbage] == [("blob", garbage, 8)]
    assert dry.freed_bytes == 8
    assert store.stored() == before
    assert store.collect().garbage == ()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    store = Keeper(tmp_path / "none")
    assert store.collect().garbage == ()
    assert not store.root.exists()


def test_what_a_held_lease_lists_stays_with_all(store: Keeper) -> None:
    with store.session("test") as session:
        digest = session.put(b"mine")
        (store.layout.ingest / f"{session._lease.id}.7").write_bytes(b"half")
        assert store.collect(everything=True).garbage == ()
        assert digest in store.stored()
    kinds = [each.kind for each in store.collect().garbage]
    assert kinds == ["blob", "temporary"]


def test_what_a_killed_command_had_put_in_stays_until_all(store: Keeper) -> None:
    digest = put(store, b"put in")
    lease = dead_lease(store, b"put in", b"not yet")
    temporary = store.layout.ingest / f"{DEAD}.1"
    temporary.write_bytes(b"half")
    first = store.collect()
    assert [each.kind for each in first.garbage] == ["temporary"]  # which nobody could go on with
    assert first.crashed_bytes == 6
    assert digest in store.stored()
    assert lease.exists()
    second = store.collect(everything=True)
    assert [each.kind for each in second.garbage] == ["blob", "lease"]
    assert digest not in store.stored()
    assert not lease.exists()


def test_a_dead_lease_that_keeps_nothing_goes(store: Keeper) -> None:
    lease = dead_lease(store, b"one")
    assert [each.kind for each in store.collect().garbage] == ["lease"]
    assert not lease.exists()
    assert Digest.of(b"one") in store.stored()


def test_a_dead_run_keeps_nothing(store: Keeper) -> None:
    dead_lease(store, b"put in", purpose=f"{RUNS}a:latest")
    digest = put(store, b"put in")
    assert [each.kind for each in store.collect().garbage] == ["blob", "lease"]
    assert digest not in store.stored()


def test_foreign_files_and_damage_stay(store: Keeper) -> None:
    for name in ("blobs/sha256/notes.txt", "ingest/download.part", "README", "leases/.DS_Store"):
        (store.root / name).write_text("somebody's")
    (store.layout.leases / "a folder").mkdir()
    (store.layout.leases / DEAD).mkdir()
    (store.layout.leases / "link").symlink_to("nowhere")
    (store.layout.blobs / Digest.of(b"a folder").hex).mkdir()
    store.layout.quarantine.mkdir(exist_ok=True)
    (store.layout.quarantine / f"{Digest.of(b'x').hex}.1").write_bytes(b"damaged")
    assert store.collect(everything=True).garbage == ()


def test_a_folder_in_the_place_of_a_blob_does_not_stop_a_removal(store: Keeper) -> None:
    blob = store.layout.blob(Digest.of(b"one"))
    blob.unlink()
    blob.mkdir()
    assert store.unlink(["a:latest"]).freed_bytes > 0
    assert list(store.layout.blobs.iterdir()) == [blob]


def damaged_table(store: Keeper) -> None:
    store.layout.index.write_bytes(b"{")


def missing_manifest(store: Keeper) -> None:
    store.layout.blob(store.names().entries["a:latest"].descriptor.digest).unlink()


def flipped_digest(store: Keeper) -> None:
    """The manifest still parses, and names another blob: what it really needs must not go."""
    path = store.layout.blob(store.names().entries["a:latest"].descriptor.digest)
    raw = path.read_bytes()
    position = raw.index(Digest.of(b"one").hex.encode())
    path.chmod(0o644)
    path.write_bytes(
        raw[:position] + (b"1" if raw[position : position + 1] == b"0" else b"0") + raw[position + 1 :]
    )


@pytest.mark.parametrize("damage", [damaged_table, missing_manifest, flipped_digest])
def test_where_it_is_not_known_what_is_needed_nothing_goes(store: Keeper, damage: object) -> None:
    put(store, b"nobody's")
    damage(store)  # type: ignore[operator]
    before = store.stored()
    for dry_run in (True, False):
        with pytest.raises(BadContent, match=r"damaged|missing|cannot be read"):
            store.collect(everything=True, dry_run=dry_run)
    store.free(before)
    assert store.stored() == before


def test_what_a_table_put_aside_names_stays_and_is_told(store: Keeper) -> None:
    add(store, "b:latest", b"two")
    torn = store.layout.index.read_bytes()[:-8]
    store.layout.index.write_bytes(torn)
    add(store, "c:latest", b"three")  # the table is mended, without b
    collection = store.collect(everything=True)
    assert collection.garbage == ()
    assert collection.damaged_bytes > 3
    assert Digest.of(b"two") in store.stored()
    (store.root / "index.json.damaged").unlink()
    assert Digest.of(b"two") in {each.digest for each in store.collect().garbage}


def test_a_manifest_is_read_once(store: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the lock only what came meanwhile is read."""
    reads: list[Digest] = []
    real = gc.read_document

    def counted(layout: Layout, digest: Digest) -> Manifest | Index:
        reads.append(digest)
        return real(layout, digest)

    monkeypatch.setattr(gc, "read_document", counted)
    for number in range(5):
        add(store, f"b{number}:latest", b"%d" % number)
    reads.clear()
    store.collect()
    assert len(reads) == len(set(reads)) == 6


def test_a_manifest_that_another_one_has_as_a_layer_is_followed(store: Keeper) -> None:
    """Whoever makes such a model must not thereby free the blobs of others, in whichever order they are read."""
    several = add_several(store, "b:latest", [b"two", b"three"])
    with store.session("test") as session:
        for number, variant in enumerate(json.loads(store.read_blob(several.descriptor))["manifests"] * 3):
            digest = Digest.parse(variant["digest"])
            link(store, f"{number}:latest", write_manifest(session, digest, variant["size"], f"{number}"))
    before = store.stored()
    store.free(before)
    assert store.collect(everything=True).garbage == ()
    assert store.stored() == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_dry_run_on_a_read_only_mount(store: Keeper) -> None:
    put(store, b"nobody's")
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; shift; exec "$@"'
    program = (
        "import sys; from pathlib import Path; from registry.store.keeper import Keeper\n"
        "print(Keeper(Path(sys.argv[1])).collect(dry_run=True).freed_bytes)"
    )
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
            str(store.root),
            sys.executable,
            "-c",
            program,
            str(store.root),
        ],
        capture_output=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("cannot mount here")
    assert (done.returncode, done.stdout) == (0, b"8\n"), done.stderr


def test_beside_commands_that_make_and_remove(store: Keeper) -> None:
    """Nothing that was named is lost, and in the end nothing is left."""
    rounds = 40

    def work(worker: int) -> None:
        for number in range(rounds):
            shared, own = b"shared", b"%d" % worker
            add(store, f"w{worker}:latest", shared if number % 2 else own)
            if number % 5 == 4:
                store.unlink([f"w{worker}:latest"])
                add(store, f"w{worker}:latest", own)

    def sweep() -> None:
        for number in range(rounds * 2):
            store.collect(everything=bool(number % 2))

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(work, worker) for worker in range(3)] + [pool.submit(sweep)]:
            job.result()
    assert {f"w{worker}:latest" for worker in range(3)} <= set(store.names().entries)
    store.collect()
    assert verify(store, Scope(threads=2), keeper=store).findings == ()
