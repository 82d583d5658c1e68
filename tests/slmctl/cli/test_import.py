"""Importing: all or nothing, bounded, and nobody's name is taken."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from registry import mediatypes
from registry.errors import OperationFailed, SlmctlError, StoreUnusable
from registry.store.keeper import Keeper
from registry.store.store import Store
from slmctl.app.checking import CheckRequest, check
from slmctl.app.importing import ImportRequest, import_bundle
from tests.bundles import NOW, Parts, read_in, small
from tests.slmctl.cli.program import Program
from tools.random_model import TINY, write_random_model

SMALL = small()
OTHER = small(weights=b"others " * 1000)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[Parts], str]:
    def write(parts: Parts) -> str:
        path = tmp_path / "bundle.tar"
        path.write_bytes(parts.to_tar())
        return str(path)

    return write


def blobs(program: Program) -> set[str]:
    return {path.name for path in (program.store / "blobs" / "sha256").iterdir()}


def test_a_name_is_not_taken_from_another_source(
    slmctl: Program, tiny_model: Path, put: Callable[[Parts], str]
) -> None:
    """Whatever the bundle says about where it came from."""
    assert slmctl("create", "mine", "--from", str(tiny_model)).code == 0
    before = slmctl("show", "mine", "--json").json["digest"]
    for source in (None, "create", "import", "slmctl", "hf://org/repo"):
        parts = SMALL.renamed("mine:latest")
        if source is not None:
            annotations = {mediatypes.REF_NAME: "mine:latest", mediatypes.SLMCTL_SOURCE: source}
            parts = replace(parts, models=[{**parts.models[0], "annotations": annotations}])
        refused = slmctl("import", put(parts))
        assert refused.code == 1, source
        assert "belongs to a model from create" in refused.err or "already" in refused.err
        assert "--force" in refused.hint
        assert "--as" in refused.hint
        assert slmctl("import", "-", stdin=parts.to_tar()).code == 1
    assert slmctl("show", "mine", "--json").json["digest"] == before
    path = put(SMALL.renamed("mine:latest"))
    assert slmctl("import", path, "--as", "other").code == 0
    assert slmctl("import", path, "--force").code == 0
    assert slmctl("show", "mine", "--json").json["digest"] != before


def test_all_names_or_none(slmctl: Program, tiny_model: Path, put: Callable[[Parts], str]) -> None:
    assert slmctl("create", "b", "--from", str(tiny_model)).code == 0
    before = blobs(slmctl)
    assert slmctl("import", put(SMALL.renamed("a:latest", "b:latest", "c:latest"))).code == 1
    assert [model["name"] for model in slmctl("list", "--json").json["models"]] == ["b:latest"]
    assert blobs(slmctl) == before
    assert slmctl("import", put(SMALL.renamed("a:latest", "b:latest")), "--as", "d").code == 2
    assert blobs(slmctl) == before


def test_a_newer_bundle_moves_what_an_older_one_brought(slmctl: Program, put: Callable[[Parts], str]) -> None:
    assert slmctl("import", put(SMALL)).out.startswith("imported 'small'")
    assert slmctl("import", put(SMALL)).out.startswith("already here: 'small'")
    assert slmctl("import", put(OTHER)).out.startswith("imported 'small'")
    assert blobs(slmctl) == set(OTHER.blobs), "what nobody needs any more is gone"
    assert slmctl("import", put(SMALL.renamed("SMALL:latest"))).code == 0
    assert [model["name"] for model in slmctl("list", "--json").json["models"]] == ["small:latest"]


def test_only_what_a_bundle_has_can_be_made_of_the_rest(slmctl: Program, put: Callable[[Parts], str]) -> None:
    assert slmctl("import", put(SMALL), "--as", "first").code == 0
    identity = slmctl("show", "first", "--json").json["variants"][0]["id"]
    annotations = {
        mediatypes.REF_NAME: "small:latest",
        mediatypes.SLMCTL_SOURCE: "hf://org/repo@abc:Q8_0",
        mediatypes.SLMCTL_MADE: f"{identity} \x1b[2J {'a' * 5000} {identity}",
    }
    parts = replace(SMALL, models=[{**SMALL.models[0], "annotations": annotations}])
    assert slmctl("import", put(parts)).code == 0
    entry = Store(slmctl.store).names().find("small:latest")
    assert entry is not None
    assert entry.made == (identity,)


def test_what_a_bundle_says_of_its_source_is_kept_and_gives_no_rights(
    slmctl: Program, put: Callable[[Parts], str]
) -> None:
    def said(parts: Parts, source: str) -> Parts:
        annotations = {mediatypes.REF_NAME: "small:latest", mediatypes.SLMCTL_SOURCE: source}
        return replace(parts, models=[{**parts.models[0], "annotations": annotations}])

    first = slmctl("import", put(said(SMALL, "hf://org/repo@abc:Q8_0")), "--json").json
    assert first["models"][0]["source"] == "hf://org/repo@abc:Q8_0"
    assert slmctl("import", put(said(OTHER, "hf://org/repo@abc:Q8_0"))).code == 1
    for text in ("/home/me/x", "create", "\x1b[2J", "a" * 5000):
        done = slmctl("import", put(said(SMALL, text)), "--as", "again", "--force", "--json")
        assert done.json["models"][0]["source"] == "import"


def test_a_model_that_slmctl_cannot_read_is_not_taken(slmctl: Program, put: Callable[[Parts], str]) -> None:
    """A container image, say."""
    manifest = json.loads(SMALL.blobs[str(SMALL.models[0]["digest"]).removeprefix("sha256:")])
    del manifest["artifactType"]
    manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    for layer in manifest["layers"]:
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
    raw = json.dumps(manifest).encode()
    parts = SMALL.with_blob(raw)
    digest = next(name for name, data in parts.blobs.items() if data is raw)
    parts = replace(parts, models=[{**SMALL.models[0], "digest": f"sha256:{digest}", "size": len(raw)}])
    assert slmctl("import", put(parts)).code == 4
    assert blobs(slmctl) == set()


def test_a_damaged_blob_in_the_store_is_replaced(
    slmctl: Program, put: Callable[[Parts], str], tmp_path: Path
) -> None:
    for way in ("file", "pipe", "folder"):
        assert slmctl("import", put(SMALL)).code == 0
        for name in SMALL.blobs:
            path = slmctl.store / "blobs" / "sha256" / name
            path.chmod(0o644)
            path.write_bytes(b"rotten".ljust(path.stat().st_size, b"!"))
        if way == "file":
            assert slmctl("import", put(SMALL)).code == 0
        elif way == "pipe":
            assert slmctl("import", "-", stdin=SMALL.to_tar()).code == 0
        else:
            assert slmctl("import", str(SMALL.to_folder(tmp_path / "folder"))).code == 0
        for name, data in SMALL.blobs.items():
            assert (slmctl.store / "blobs" / "sha256" / name).read_bytes() == data


def test_a_bundle_without_a_name_gets_one(slmctl: Program, put: Callable[[Parts], str]) -> None:
    nameless = replace(SMALL, models=[{**SMALL.models[0], "annotations": {}}])
    assert slmctl("import", put(nameless)).code == 5
    assert slmctl("import", put(nameless), "--as", "named").code == 0
    assert slmctl("import", put(SMALL), "--as", "../x").code == 2
    assert slmctl("import", put(SMALL), "--as", "./x").code == 2


def test_the_store_is_no_bundle_of_itself(
    slmctl: Program, put: Callable[[Parts], str], tmp_path: Path
) -> None:
    assert slmctl("import", put(SMALL)).code == 0
    (tmp_path / "link").symlink_to(slmctl.store)
    assert slmctl("import", str(slmctl.store)).code == 2
    assert slmctl("import", str(tmp_path / "link")).code == 2
    other = Program(tmp_path / "other", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    assert other("import", str(slmctl.store)).code == 0, "another store is one"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of some 200 MB."""
    folder = tmp_path_factory.mktemp("large")
    write_random_model(folder / "large.gguf", shape=replace(TINY, feed_forward=1 << 17))
    program = Program(folder / "home", folder)
    assert program("create", "large", "--from", str(folder / "large.gguf"), "--move").code == 0
    assert program("export", "large", "-o", str(folder / "large.tar")).code == 0
    return folder / "large.tar"


@pytest.mark.parametrize("way", ["file", "pipe"])
def test_memory_is_bounded(slmctl: Program, large: Path, way: str) -> None:
    """A bundle that is larger than the address space it is imported in."""
    limit = 120 << 20
    assert large.stat().st_size > limit
    with large.open("rb") as stream:
        process = subprocess.Popen(
            slmctl.command("import", str(large) if way == "file" else "-"),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=slmctl.environment,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        assert process.stdin is not None
        if way == "pipe":
            while data := stream.read(1 << 20):
                process.stdin.write(data)
        process.stdin.close()
        assert process.stderr is not None
        assert process.wait(120) == 0, process.stderr.read()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("lines", [1, 3, 100])
def test_a_killed_import_leaves_what_can_be_swept(
    slmctl: Program, large: Path, number: signal.Signals, lines: int
) -> None:
    process = slmctl.start("import", str(large), "--progress", "json")
    assert process.stderr is not None
    for _ in range(lines):
        assert process.stderr.readline()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number is signal.SIGKILL else 143)
    assert slmctl("list", "--json").json["models"] == []
    for blob in (slmctl.store / "blobs" / "sha256").iterdir():
        assert blob.stat().st_mode & 0o777 == 0o444
    if number is signal.SIGTERM:
        assert not [*(slmctl.store / "ingest").iterdir(), *(slmctl.store / "leases").iterdir()]
        assert not list((slmctl.store / "blobs" / "sha256").iterdir())
    assert slmctl("import", str(large)).code == 0
    assert slmctl("show", "large").code == 0


def test_a_folder_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    """CVE-2021-32760, CVE-2025-47290: what lies outside has other bytes under the same names."""
    inside, outside = tmp_path / "bundle", tmp_path / "outside"
    secret = b"secret! " * 1000
    SMALL.to_folder(inside)
    (outside / "sha256").mkdir(parents=True)
    for name, data in SMALL.blobs.items():
        (outside / "sha256" / name).write_bytes(secret[: len(data)].ljust(len(data), b"!"))
    store = Store(tmp_path / "store")
    store.prepare()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for path, target in (
                (inside / "blobs", outside),
                (inside / "blobs" / "sha256", outside / "sha256"),
            ):
                aside = path.with_name("aside")
                with suppress(OSError):
                    path.rename(aside)
                    path.symlink_to(target)
                with suppress(OSError):
                    path.unlink()
                aside.rename(path)

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes: set[str] = set()
    try:
        for number in range(30_000):
            if number >= 300 and len(outcomes) > 1:
                break
            try:
                read_in(store, inside)
                outcomes.add("imported")
                store.unlink(["small:latest"])
            except SlmctlError as error:
                outcomes.add(type(error).__name__)
            for path in store.layout.blobs.iterdir():
                assert path.read_bytes() == SMALL.blobs[path.name]
    finally:
        stop.set()
        thread.join()
    assert outcomes <= {"imported", "MalformedFile", "OperationFailed"}, outcomes
    assert len(outcomes) > 1, "nothing was swapped in time"


@pytest.mark.parametrize("way", ["tar", "folder"])
def test_what_is_lost_later_comes_out_of_the_bundle_again(slmctl: Program, tmp_path: Path, way: str) -> None:
    path = SMALL.to_folder(tmp_path / "bundle")
    if way == "tar":
        path = tmp_path / "bundle.tar"
        path.write_bytes(SMALL.to_tar())
    assert slmctl("import", path.name, cwd=tmp_path).code == 0
    for blob in (slmctl.store / "blobs" / "sha256").iterdir():
        blob.unlink()
    done = slmctl("verify", "--repair", "--json")
    assert done.code == 0, done.err
    assert len(done.json["findings"]) == 3
    assert all(str(path) in each["repaired"] for each in done.json["findings"])
    path.rename(tmp_path / "elsewhere")
    (slmctl.store / "blobs" / "sha256" / max(SMALL.blobs, key=lambda name: len(SMALL.blobs[name]))).unlink()
    gone = slmctl("verify", "--repair")
    assert gone.code == 5
    assert f"{path}" in gone.err


def failing_reads(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """From now on the system cannot read the file at `path`."""
    real = os.preadv

    def preadv(fd: int, buffers: Sequence[bytearray], offset: int, /) -> int:
        if os.path.samestat(os.fstat(fd), path.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)


@pytest.mark.parametrize("way", ["tar", "folder"])
def test_a_bundle_that_cannot_be_read_is_not_the_stores_fault(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SMALL.to_folder(tmp_path / "bundle")
    unreadable = path / "blobs" / "sha256" / max(SMALL.blobs, key=lambda name: len(SMALL.blobs[name]))
    if way == "tar":
        path = unreadable = tmp_path / "bundle.tar"
        path.write_bytes(SMALL.to_tar())
    failing_reads(monkeypatch, unreadable)
    with pytest.raises(OperationFailed, match=r"bundle.* cannot be read") as raised:
        read_in(Store(tmp_path / "store"), path)
    assert not isinstance(raised.value, StoreUnusable)
    assert not Store(tmp_path / "store").names().entries


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bundle.tar"
    path.write_bytes(SMALL.to_tar())
    failing_reads(monkeypatch, path)
    found = check(Keeper(tmp_path / "store"), CheckRequest(target=str(path)))
    assert {finding.kind for finding in found.findings if finding.is_bad} == {"unreadable"}
    assert len(found.findings) == 3


def test_many_importers_of_one_bundle(tmp_path: Path) -> None:
    path = SMALL.to_folder(tmp_path / "bundle")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                import_bundle(Store(tmp_path / "store"), ImportRequest(path=path), now=NOW)
        except BaseException as error:  # noqa: BLE001 - it is shown
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store = tmp_path / "store"
    assert {path.name for path in (store / "blobs" / "sha256").iterdir()} == set(SMALL.blobs)
    assert not [*(store / "ingest").iterdir(), *(store / "leases").iterdir()]
