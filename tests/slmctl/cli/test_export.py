"""Exporting: the same bytes for the same models, nothing half written, nothing where it must not be."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from registry.errors import NoSpace, OperationFailed
from registry.names import parse
from registry.store import bundle_writer
from registry.store.store import Store
from slmctl.app.exporting import ExportRequest, export
from tests.processes import until
from tests.slmctl.cli.program import Program
from tools.random_model import TINY, write_random_model


@pytest.fixture
def store(slmctl: Program, tiny_model: Path) -> Program:
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    return slmctl


@pytest.fixture
def both(store: Program, tiny_model: Path, tmp_path: Path) -> Program:
    """A second model with two builds, one of them the first model's."""
    (tmp_path / "sources").mkdir()
    write_random_model(tmp_path / "sources" / "q8.gguf", tensor_type="Q8_0")
    text = f"FROM {tiny_model}\nFROM {tmp_path}/sources/q8.gguf\nSYSTEM hello\n"
    assert store("create", "both", "-f", "-", stdin=text.encode()).code == 0
    return store


def members(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return archive.getmembers()


def exported(program: Program, *arguments: str, target: Path) -> bytes:
    done = program("export", *arguments, "-o", str(target), "--force")
    assert done.code == 0, done.err
    return target.read_bytes()


def test_a_bundle_says_nothing_but_what_the_models_are(both: Program, tmp_path: Path) -> None:
    data = exported(both, "tiny", "both", target=tmp_path / "b.tar")
    index = json.loads(data[1536 : 1536 + members(tmp_path / "b.tar")[1].size])
    assert [row["annotations"] for row in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": "both:latest"},
        {"org.opencontainers.image.ref.name": "tiny:latest"},
    ]
    for secret in (str(tmp_path), str(Path.home()), "dev.slmctl.linked", "create"):
        assert secret.encode() not in data


def test_members_are_plain_constant_and_in_order(both: Program, tmp_path: Path) -> None:
    exported(both, "tiny", "both", target=tmp_path / "b.tar")
    found = members(tmp_path / "b.tar")
    for member in found:
        assert member.isreg()
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
        assert member.mode == 0o644
    assert [member.name for member in found[:2]] == ["oci-layout", "index.json"]
    names = [member.name for member in found[2:]]
    assert len(set(names)) == len(names), "what models share is there once"
    sizes = [member.size for member in found]
    assert sizes[-1] == max(sizes), "weights come last"


@pytest.mark.parametrize("way", ["path", "umask", "order", "stdout", "again", "case"])
def test_the_same_models_give_the_same_bytes(both: Program, tmp_path: Path, way: str) -> None:
    first = exported(both, "tiny", "both", target=tmp_path / "b.tar")
    if way == "path":
        (tmp_path / "else" / "where").mkdir(parents=True)
        second = exported(both, "tiny", "both", target=tmp_path / "else" / "where" / "other name.tar")
    elif way == "umask":
        old = os.umask(0o077)
        try:
            second = exported(both, "tiny", "both", target=tmp_path / "c.tar")
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "c.tar").stat().st_mode) == 0o600, "it is the user's"
    elif way == "order":
        second = exported(both, "both", "tiny", "both:latest", target=tmp_path / "c.tar")
    elif way == "case":
        second = exported(both, "BOTH", "Tiny", target=tmp_path / "c.tar")
    elif way == "stdout":
        command = both.command("export", "tiny", "both", "-o", "-")
        second = subprocess.run(command, capture_output=True, env=both.environment, check=True).stdout
    else:
        second = exported(both, "tiny", "both", target=tmp_path / "b.tar")
    assert sha256(second).hexdigest() == sha256(first).hexdigest()


@pytest.mark.parametrize("day", ["2001-01-01 12:00:00", "2037-06-30 00:00:00"])
def test_another_day_and_another_machine_give_the_same_bytes(
    store: Program, tiny_model: Path, tmp_path: Path, day: str
) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("needs libfaketime")
    first = exported(store, "tiny", target=tmp_path / "b.tar")
    other = Program(tmp_path / "other", Path(store.environment["XDG_RUNTIME_DIR"]))
    faked = {"LD_PRELOAD": str(library), "FAKETIME": f"@{day}", "TZ": "Asia/Kathmandu"}
    assert other("create", "tiny", "--from", str(tiny_model), environment=faked).code == 0
    assert other("export", "tiny", "-o", str(tmp_path / "c.tar"), environment=faked).code == 0
    assert (tmp_path / "c.tar").read_bytes() == first


def test_another_user_gives_the_same_bytes(store: Program, tiny_model: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    first = exported(store, "tiny", target=tmp_path / "b.tar")
    target = Path("/tmp") / f"slmctl-export-{os.getpid()}"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    other = Program(target / "home", target)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    try:
        shutil.copy(tiny_model, target)
        for words in (
            ["create", "tiny", "--from", str(target / tiny_model.name)],
            ["export", "tiny", "-o", str(target / "c.tar")],
        ):
            done = subprocess.run(
                [*drop, *other.command(*words)], capture_output=True, env=other.environment, check=False
            )
            if b"ermission" in done.stderr and done.returncode == 126:
                pytest.skip("another user cannot start this Python")
            assert done.returncode == 0, done.stderr
        assert (target / "c.tar").stat().st_uid == 65534
        assert (target / "c.tar").read_bytes() == first
    finally:
        shutil.rmtree(target)


def test_there_and_back_again_gives_the_same_bytes(both: Program, tmp_path: Path) -> None:
    first = exported(both, "tiny", "both", target=tmp_path / "b.tar")
    other = Program(tmp_path / "other", Path(both.environment["XDG_RUNTIME_DIR"]))
    assert other("import", str(tmp_path / "b.tar")).code == 0
    assert exported(other, "tiny", "both", target=tmp_path / "c.tar") == first
    assert other("export", "tiny", "both", "-o", f"{tmp_path}/folder/").code == 0
    third = Program(tmp_path / "third", Path(both.environment["XDG_RUNTIME_DIR"]))
    assert third("import", str(tmp_path / "folder")).code == 0
    assert exported(third, "tiny", "both", target=tmp_path / "d.tar") == first
    assert third("run", "tiny", "--verify", "--max-tokens", "2", "x").code == 0


def test_a_source_goes_along_only_when_it_is_a_registry(store: Program, tmp_path: Path) -> None:
    index = store.store / "index.json"
    for source, kept in (
        ("hf://org/repo@0123abc:Q8_0", True),
        ("oci://localhost:5000/t/m:v1", True),
        ("/home/somebody/secret.gguf", False),
        ("file:///home/somebody/secret.gguf", False),
        ("~/secret.gguf", False),
        ("oci://user:password@host/t/m", False),
    ):
        document = json.loads(index.read_text())
        document["manifests"][0]["annotations"]["dev.slmctl.source"] = source
        index.write_text(json.dumps(document))
        data = exported(store, "tiny", target=tmp_path / "b.tar")
        assert (source.encode() in data) is kept, source


def test_one_build_of_several(both: Program, tmp_path: Path) -> None:
    """The name then points at the build's own manifest, as if the model had been made of it alone."""
    whole = both("show", "both", "--json").json
    exported(both, "both", "--variant", "q8", target=tmp_path / "b.tar")
    shown = both("show", str(tmp_path / "b.tar"), "--json").json
    assert [variant["id"] for variant in shown["variants"]] == ["gguf-q8_0"]
    assert shown["digest"] == whole["variants"][1]["digest"]
    exported(both, "both", "--variant", "q8", "--variant", "f32", target=tmp_path / "b.tar")
    assert both("show", str(tmp_path / "b.tar"), "--json").json["digest"] == whole["digest"]


def test_a_model_that_is_not_all_here(both: Program, tmp_path: Path) -> None:
    weights = both("show", "both", "--json").json["variants"][1]["files"][0]["digest"]
    (both.store / "blobs" / "sha256" / weights.removeprefix("sha256:")).unlink()
    target = tmp_path / "b.tar"
    refused = both("export", "both", "-o", str(target))
    assert (refused.code, target.exists()) == (3, False)
    assert "gguf-q8_0" in refused.err
    assert "--variant gguf-f32" in refused.hint
    exported(both, "both", "--variant", "gguf-f32", target=target)
    other = Program(tmp_path / "other", Path(both.environment["XDG_RUNTIME_DIR"]))
    assert other("import", str(target)).code == 0
    assert other("run", "both", "--max-tokens", "2", "x").code == 0


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_damaged_blob_fails_the_export_and_leaves_nothing(
    store: Program, tmp_path: Path, as_folder: bool
) -> None:
    blob = max((store.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    before = set(tmp_path.rglob("*"))
    outcome = store("export", "tiny", "-o", f"{tmp_path}/out/" if as_folder else str(tmp_path / "out.tar"))
    assert outcome.code == 5, outcome.err
    assert set(tmp_path.rglob("*")) == before


def test_targets_that_are_refused(store: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(store.store)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    for target, code in (
        (tmp_path / "file", 1),
        (tmp_path / "full", 2),
        (f"{tmp_path}/file/", 1),
        (tmp_path / "fifo", 2),
        ("/dev/null", 2),
        (tmp_path / "none" / "b.tar", 3),
        (f"{tmp_path}/none/b/", 3),
        (store.store, 2),
        (store.store / "b.tar", 2),
        (f"{store.store}/blobs/b/", 2),
        (tmp_path / "link" / "b.tar", 2),
        (tmp_path / "full" / ".." / "link" / "cache" / "b.tar", 2),
        ("", 2),
        ("/proc/b.tar", 1),
        (tmp_path / "loop", 1),
        (tmp_path / "loop" / "b.tar", 1),
        (f"{tmp_path}/loop/", 1),
    ):
        outcome = store("export", "tiny", "-o", str(target))
        assert outcome.code == code, (target, outcome.err)
        assert outcome.hint
        assert "bug" not in outcome.hint
    for target in ("/dev/null", str(tmp_path / "fifo"), str(tmp_path / "full"), str(store.store)):
        assert store("export", "tiny", "-o", target, "--force").code == 2
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "precious").read_text() == "precious"
    assert store("export", "tiny", "-o", str(tmp_path / "file"), "--force").code == 0
    assert store("show", str(tmp_path / "file")).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"file", "full", "link", "loop", "fifo", "home"}


def test_a_terminal_gets_no_bundle(store: Program) -> None:
    leader, follower = pty.openpty()
    command = store.command("export", "tiny", "-o", "-")
    done = subprocess.run(
        command, stdout=follower, stderr=subprocess.PIPE, env=store.environment, check=False
    )
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2
    assert b"terminal" in done.stderr


def test_a_folder_is_filled_and_replaced(both: Program, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    assert both("export", "both", "-o", str(target)).code == 0
    old = {path.name for path in (target / "blobs" / "sha256").iterdir()}
    refused = both("export", "tiny", "-o", str(target))
    assert (refused.code, refused.hint) == (1, "Add --force to replace it.")
    assert both("export", "tiny", "-o", str(target), "--force").code == 0
    new = {path.name for path in (target / "blobs" / "sha256").iterdir()}
    assert old - new, "what no model has any more is gone"
    assert both("export", "tiny", "-o", f"{tmp_path}/fresh/").code == 0
    assert {path.name for path in (tmp_path / "fresh/blobs/sha256").iterdir()} == new
    assert (tmp_path / "fresh/index.json").read_bytes() == (target / "index.json").read_bytes()
    some = max((target / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    some.write_bytes(b"damaged")
    assert both("export", "tiny", "-o", str(target), "--force").code == 0
    assert sha256(some.read_bytes()).hexdigest() == some.name, "what is damaged is written again"


def test_a_read_only_store_is_exported(store: Program, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    first = exported(store, "tiny", target=tmp_path / "b.tar")
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    command = [
        "unshare", "--mount", "sh", "-c", script, "sh", str(store.store),
        *store.command("export", "tiny", "-o", str(tmp_path / "c.tar")),
    ]  # fmt: skip
    done = store.run(command)
    if "unshare" in done.err or "mount" in done.err:
        pytest.skip("cannot mount here")
    assert done.code == 0, done.err
    assert (tmp_path / "c.tar").read_bytes() == first


@pytest.fixture
def large(slmctl: Program, tmp_path: Path) -> Program:
    """A model of some 100 MB: an export of it can be interrupted."""
    write_random_model(tmp_path / "large.gguf", shape=replace(TINY, feed_forward=1 << 17))
    assert slmctl("create", "large", "--from", str(tmp_path / "large.gguf"), "--move").code == 0
    return slmctl


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_killed_export_leaves_no_bundle_and_the_next_succeeds(
    large: Program, tmp_path: Path, number: signal.Signals, as_folder: bool
) -> None:
    target = tmp_path / "out"
    given = f"{target}/" if as_folder else str(target)
    for _ in range(20):  # it may be faster than the signal
        process = large.start("export", "large", "-o", given, "--progress", "json", "--force")
        assert process.stderr is not None
        assert process.stderr.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
        if process.returncode != 0:
            break
        shutil.rmtree(target) if as_folder else target.unlink()
    assert process.returncode == (-9 if number is signal.SIGKILL else 128 + number)
    assert not (target / "index.json").exists() if as_folder else not target.exists()
    if number is not signal.SIGKILL:
        assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert large("export", "large", "-o", given).code == 0
    assert large("import", str(target), "--as", "again").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home", "out"}
    assert not list(tmp_path.rglob("*.partial*"))


def test_a_removal_meanwhile_waits_for_nobody_and_breaks_nothing(large: Program, tmp_path: Path) -> None:
    """The export's lease keeps the blobs; the name is gone at once."""
    process = large.start("export", "large", "-o", str(tmp_path / "b.tar"), "--progress", "json")
    until(lambda: True if list((large.store / "leases").glob("*")) else None)
    assert process.stderr is not None
    assert process.stderr.readline()
    assert large("rm", "large").code == 0
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert large("import", str(tmp_path / "b.tar")).code == 0


def test_two_exports_to_one_place(large: Program, tmp_path: Path) -> None:
    target = str(tmp_path / "b.tar")
    process = large.start("export", "large", "-o", target, "--progress", "json")
    assert process.stderr is not None
    assert process.stderr.readline()
    process.send_signal(signal.SIGSTOP)
    try:
        second = large("export", "large", "-o", target)
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert (process.returncode, second.code) in {(0, 1), (1, 0)}
    assert large("show", target).code == 0


@pytest.fixture
def fat(tmp_path: Path) -> Iterator[Path]:
    """A real FAT file system of 6 GB, sparse, on a loop device."""
    if os.geteuid() != 0 or shutil.which("mkfs.vfat") is None:
        pytest.skip("needs root and mkfs.vfat")
    image, folder = tmp_path / "fat.img", tmp_path / "stick"
    with image.open("wb") as stream:
        os.truncate(stream.fileno(), 6 << 30)
    subprocess.run(["mkfs.vfat", "-F", "32", str(image)], capture_output=True, check=True)
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a loop device here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_fat_stick_takes_what_it_can(fat: Path, both: Program, tmp_path: Path) -> None:
    assert both("export", "both", "-o", f"{fat}/bundle/").code == 0
    assert both("export", "both", "-o", f"{fat}/b.tar").code == 0
    assert both("export", "both", "-o", f"{fat}/b.tar").code == 1
    assert both("export", "both", "-o", f"{fat}/b.tar", "--force").code == 0
    assert both("export", "tiny", "-o", f"{fat}/bundle", "--force").code == 0
    assert both("import", f"{fat}/b.tar", "--as", "again").code == 0
    assert both("run", f"{fat}/bundle", "--max-tokens", "2", "x").code == 0
    _pretend_size(both, tmp_path, 4 << 30)
    before = set(fat.rglob("*"))
    for target in (f"{fat}/c.tar", f"{fat}/large/"):
        refused = both("export", "tiny", "-o", target)
        assert refused.code == 4, refused.err
        assert "FAT32" in refused.err
    assert set(fat.rglob("*")) == before, "before the first byte"


def test_a_limit_on_file_sizes_counts(store: Program, tmp_path: Path) -> None:
    command = [
        "sh",
        "-c",
        'ulimit -f 100; exec "$@"',
        "sh",
        *store.command("export", "tiny", "-o", f"{tmp_path}/b.tar"),
    ]
    done = store.run(command)
    assert done.code == 4, done.err
    assert not (tmp_path / "b.tar").exists()


def test_no_room_is_said_before_the_first_byte(store: Program, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    target = tmp_path / "small"
    target.mkdir()
    script = 'mount -t tmpfs -o size=200k none "$1" && shift && "$@"; code=$?; ls -A "$0"; exit $code'
    for given in (f"{target}/b.tar", f"{target}/b/"):
        command = [
            "unshare", "--mount", "sh", "-c", script, str(target), str(target),
            *store.command("export", "tiny", "-o", given),
        ]  # fmt: skip
        done = store.run(command)
        assert done.code == 1, done.err
        assert "left" in done.err
        assert done.out == ""


def test_a_store_on_a_full_disk_is_exported(slmctl: Program, tiny_model: Path, tmp_path: Path) -> None:
    """To carry models off is what people then want to do."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    slmctl.home.mkdir(exist_ok=True)
    script = (
        'mount -t tmpfs -o size=4m none "$0" && slmctl=$1 && "$slmctl" create tiny --from "$2" && '
        '{ head -c 5000000 /dev/zero > "$0/rest"; "$slmctl" export tiny -o "$3" && "$slmctl" export tiny -o "$4"; }'
    )
    words = [slmctl.command()[0], str(tiny_model), str(tmp_path / "b.tar"), f"{tmp_path}/b/"]
    done = slmctl.run(["unshare", "--mount", "sh", "-c", script, str(slmctl.home), *words])
    if "unshare" in done.err or "mount" in done.err:
        pytest.skip("cannot mount here")
    assert done.code == 0, done.err
    assert slmctl("import", str(tmp_path / "b.tar")).code == 0
    assert slmctl("import", str(tmp_path / "b"), "--as", "again").code == 0


@pytest.mark.parametrize("target", ["b.tar", "b/"])
def test_a_store_that_cannot_be_read_is_not_the_targets_fault(
    store: Program, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    keeper = Store(store.store)
    monkeypatch.setattr(keeper, "open_blob", lambda _: Failing())
    with pytest.raises(OperationFailed, match=r"The blob .* cannot be read") as raised:
        export(keeper, ExportRequest(names=[parse("tiny")], target=f"{tmp_path}/{target}"))
    assert raised.value.hint == "Check the disk that the store is on."
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


@pytest.mark.parametrize("kind", ["another user's", "fifo", "folder's"])
def test_what_a_stranger_put_where_a_bundle_is_written_is_not_used(
    store: Program, tmp_path: Path, kind: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    target = tmp_path / "b.tar"
    token = sha256(b"b.tar").hexdigest()[:16]
    partial = tmp_path / f".slmctl-export-{token}.partial"
    if kind == "fifo":
        os.mkfifo(partial)
    elif kind == "folder's":
        partial.mkdir()
    else:
        partial.touch()
        os.chown(partial, 65534, 65534)
    outcome = store("export", "tiny", "-o", str(target))
    assert outcome.code == (1 if kind == "folder's" else 0), outcome.err
    if kind != "folder's":
        assert (target.stat().st_uid, stat.S_ISREG(target.stat().st_mode)) == (0, True)
        assert not partial.exists()


def test_an_export_that_fails_with_its_last_file_leaves_nothing(
    store: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bundle_writer, "write_file", write_file)
    with pytest.raises(NoSpace):
        export(Store(store.store), ExportRequest(names=[parse("tiny")], target=f"{tmp_path}/b/"))
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


@pytest.mark.parametrize("target", ["b.tar", "b/"])
def test_a_disk_without_locks_takes_a_bundle(
    store: Program, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    keeper = Store(store.store)
    monkeypatch.setattr(fcntl, "flock", flock)
    export(keeper, ExportRequest(names=[parse("tiny")], target=f"{tmp_path}/{target}"))
    monkeypatch.undo()
    assert store("verify", f"{tmp_path}/{target}").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home", target.removesuffix("/")}


def _pretend_size(program: Program, tmp_path: Path, size: int) -> None:
    """Give the first model a sparse weight file of `size` bytes, whose digest nobody asks before it is copied."""
    index = program.store / "index.json"
    document = json.loads(index.read_text())
    row = next(
        row
        for row in document["manifests"]
        if row["annotations"]["org.opencontainers.image.ref.name"] == "tiny:latest"
    )
    blobs = program.store / "blobs" / "sha256"
    manifest = json.loads((blobs / row["digest"].removeprefix("sha256:")).read_text())
    manifest["layers"][0] |= {"size": size, "digest": f"sha256:{'e' * 64}"}
    raw = json.dumps(manifest).encode()
    (blobs / sha256(raw).hexdigest()).write_bytes(raw)
    row |= {"digest": f"sha256:{sha256(raw).hexdigest()}", "size": len(raw)}
    index.write_text(json.dumps(document))
    (blobs / ("e" * 64)).touch()
    os.truncate(blobs / ("e" * 64), size)
