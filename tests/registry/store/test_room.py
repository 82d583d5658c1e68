import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.digest import Digest
from registry.errors import DoesNotFit, NoSpace
from registry.store import bundle_target, room
from registry.store.bundle_writer import Content

MOUNTS = """\
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
36 22 8:17 / /media/stick rw,nosuid shared:20 master:3 - vfat /dev/sdb1 rw,fmask=0022
37 22 8:18 / /media/with\\040blank rw,nosuid - exfat /dev/sdb2 rw
38 22 0:50 / /mnt/- rw - fuse.sshfs me@host:/ rw
broken
"""


@pytest.mark.parametrize(
    ("device", "kind"),
    [((253, 1), "ext4"), ((8, 17), "vfat"), ((8, 18), "exfat"), ((0, 50), "fuse.sshfs"), ((9, 9), None)],
)
def test_the_kind_of_a_file_system_is_read(device: tuple[int, int], kind: str | None) -> None:
    assert room.find_file_system(MOUNTS, *device) == kind


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_it_is_what_stat_says(tmp_path: Path) -> None:
    done = subprocess.run(["stat", "-f", "-c", "%T", "/proc"], capture_output=True, text=True, check=True)
    assert room.file_system(Path("/proc")) == done.stdout.strip()
    assert room.largest_file(tmp_path)[0] is None


def content(size: int) -> Content:
    return Content(models=[], blobs={Digest("e" * 64): size}, documents=frozenset())


def test_a_fat_disk_takes_files_of_four_gibibytes_less_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind of the file system is all that is made up: no kernel has vfat everywhere."""
    monkeypatch.setattr(room, "file_system", lambda _: "vfat")
    monkeypatch.setattr(bundle_target, "free_bytes", lambda _: 1 << 40)
    target = tmp_path / "bundle"
    largest = room.FAT32_LARGEST
    bundle_target.check_room(target, content(largest), as_folder=True)
    with pytest.raises(DoesNotFit, match="FAT32"):
        bundle_target.check_room(target, content(largest + 1), as_folder=True)
    fits = largest - content(0).archive_bytes
    fits -= fits % 512
    assert content(fits).archive_bytes <= largest
    bundle_target.check_room(target, content(fits), as_folder=False)
    with pytest.raises(DoesNotFit, match="FAT32"):
        bundle_target.check_room(target, content(fits + 1), as_folder=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_target, "free_bytes", lambda _: 100_000)
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with pytest.raises(NoSpace, match="100000 left"):
        bundle_target.check_room(tmp_path, content(1 << 20), as_folder=True)
    with (blobs / ("e" * 64)).open("wb") as stream:
        os.truncate(stream.fileno(), 1 << 20)
    bundle_target.check_room(tmp_path, content(1 << 20), as_folder=True)
