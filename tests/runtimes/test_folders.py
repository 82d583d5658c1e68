from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.errors import OperationFailed
from runtimes.folders import LOCK_NAME, SOCKET_PATH_BYTES, RuntimeFolder, sweep
from tests.runtimes.launches import REPOSITORY

_OWNER_THAT_DIES = """
import os, sys, pathlib
from runtimes.folders import RuntimeFolder
folder = RuntimeFolder.create([pathlib.Path(sys.argv[1])])
(folder.path / "deep").mkdir()
(folder.path / "deep" / "link").symlink_to("/etc")
print(folder.path, flush=True)
os.kill(os.getpid(), 9)
"""


def shared_base(base: Path) -> Path:
    return base / f"slmctl-{os.geteuid()}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_private_locked_and_gone_after_remove(base: Path) -> None:
    old = os.umask(0o022)
    try:
        folder = RuntimeFolder.create([base])
    finally:
        os.umask(old)
    assert mode(folder.path) == mode(shared_base(base)) == 0o700
    assert folder.path.parent == shared_base(base)
    assert not folder.socket.exists()
    assert folder.socket.name.endswith(".sock")
    with (folder.path / LOCK_NAME).open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder.remove()
    folder.remove()
    assert not folder.path.exists()


def test_a_living_owners_folder_is_not_swept(base: Path) -> None:
    first = RuntimeFolder.create([base])
    second = RuntimeFolder.create([base])
    assert sweep(shared_base(base)) == 0
    assert first.path.is_dir()
    first.remove()
    second.remove()


def test_a_killed_owners_folder_is_swept_by_the_next_start(base: Path) -> None:
    owner = subprocess.run(
        [
            sys.executable,
            "-c",
            _OWNER_THAT_DIES,
            str(base),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    left = Path(owner.stdout.strip())
    assert left.is_dir()
    folder = RuntimeFolder.create([base])
    assert not left.exists()
    assert Path("/etc/passwd").exists()
    folder.remove()


def test_a_folder_without_a_lock_is_a_crashed_owners(base: Path) -> None:
    RuntimeFolder.create([base]).remove()
    (shared_base(base) / "w-00000000").mkdir()
    assert sweep(shared_base(base)) == 1


def test_nothing_is_swept_while_somebody_makes_a_folder(base: Path) -> None:
    RuntimeFolder.create([base]).remove()
    stale = shared_base(base) / "w-00000000"
    stale.mkdir()
    with (shared_base(base) / LOCK_NAME).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert sweep(shared_base(base)) == 0
    assert sweep(shared_base(base)) == 1


def test_sweeping_follows_no_link_and_leaves_what_is_not_ours(base: Path, tmp_path: Path) -> None:
    RuntimeFolder.create([base]).remove()
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    link = shared_base(base) / "w-11111111"
    link.symlink_to(victim)
    (shared_base(base) / "other").mkdir()
    (shared_base(base) / "w-file").write_text("x")
    assert sweep(shared_base(base)) == 0
    assert (victim / "precious").exists()
    assert (shared_base(base) / "other").is_dir()
    link.unlink()
    (shared_base(base) / "w-file").unlink()


def test_a_lock_that_is_a_link_is_not_followed(base: Path, tmp_path: Path) -> None:
    RuntimeFolder.create([base]).remove()
    odd = shared_base(base) / "w-22222222"
    odd.mkdir()
    (odd / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    assert sweep(shared_base(base)) == 0
    assert not (tmp_path / "elsewhere").exists()
    (odd / LOCK_NAME).unlink()
    assert sweep(shared_base(base)) == 1


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_another_users_folder_is_not_swept(base: Path) -> None:
    RuntimeFolder.create([base]).remove()
    foreign = shared_base(base) / "w-33333333"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    assert sweep(shared_base(base)) == 0
    foreign.rmdir()


@pytest.mark.parametrize("squat", ["link", "file", "open", "foreign"])
def test_a_base_that_is_not_ours_alone_is_not_used(base: Path, tmp_path: Path, squat: str) -> None:
    target = shared_base(base)
    match squat:
        case "link":
            target.symlink_to(tmp_path)
        case "file":
            target.write_text("x")
        case "open":
            target.mkdir(mode=0o755)
            target.chmod(0o755)
        case "foreign":
            if os.geteuid() != 0:
                pytest.skip("only root can give folders away")
            target.mkdir(mode=0o700)
            os.chown(target, 12345, 12345)
    folder = RuntimeFolder.create([base])
    private = folder.path.parent
    assert private != target
    assert private.parent == base
    assert mode(private) == 0o700
    folder.remove()
    assert list(base.iterdir()) == [target]
    assert list(tmp_path.iterdir()) == []


def test_too_long_a_base_falls_to_the_next_candidate(base: Path, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    folder = RuntimeFolder.create([long, base])
    assert folder.path.is_relative_to(base)
    assert list(long.iterdir()) == []
    folder.remove()


def test_the_longest_base_that_fits_gives_a_socket_that_binds(base: Path) -> None:
    tail = len(f"/slmctl-{os.geteuid()}/w-00000000/e.sock")
    exact = base / ("x" * (SOCKET_PATH_BYTES - tail - len(os.fsencode(base)) - 1))
    exact.mkdir()
    one_more = base / (exact.name + "x")
    one_more.mkdir()
    folder = RuntimeFolder.create([one_more, exact])
    assert folder.path.is_relative_to(exact)
    assert len(os.fsencode(folder.socket)) == SOCKET_PATH_BYTES
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder.socket))
    folder.remove()


def test_unusable_candidates_are_named(base: Path) -> None:
    missing = base / "missing"
    loose = base / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    with pytest.raises(OperationFailed, match="not sticky") as caught:
        RuntimeFolder.create([missing, Path("relative"), loose])
    assert str(missing) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None


def test_no_candidate_at_all() -> None:
    with pytest.raises(OperationFailed):
        RuntimeFolder.create([])


def test_many_at_once_neither_collide_nor_sweep_each_other(base: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: RuntimeFolder.create([base]), range(64)))
    assert len({folder.path for folder in folders}) == 64
    assert all(folder.path.is_dir() for folder in folders)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(RuntimeFolder.remove, folders))
