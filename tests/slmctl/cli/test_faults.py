"""What goes wrong while a model runs, and what is left afterwards: nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import until, wait_until_gone, worker_of
from tests.slmctl.cli.program import REPOSITORY, Program
from tools.random_model import TINY, Shape, write_random_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# long enough that nothing is finished before the blow falls
ENDLESS = ("--raw", "--max-tokens", "90000", "--ctx", "100000", "the")


@pytest.fixture
def tiny(slmctl: Program, tmp_path: Path) -> Program:
    """With a model that can answer for minutes: the engine caps a context at what a model was trained for."""
    path = tmp_path / "tiny.gguf"
    write_random_model(path, shape=replace(TINY, context=131072))
    assert slmctl("create", "tiny", "--from", str(path), "--move").code == 0
    return slmctl


def folders(slmctl: Program) -> list[Path]:
    return list(Path(slmctl.environment["XDG_RUNTIME_DIR"]).glob("slmctl-*/w-*"))


def start_answering(slmctl: Program) -> tuple[subprocess.Popen[bytes], int]:
    """slmctl in the middle of an answer, and its worker."""
    process = slmctl.start("run", "tiny", *ENDLESS)
    assert process.stdout is not None
    assert process.stdout.read(20)
    worker = until(lambda: worker_of(process.pid))
    return process, worker


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and stderr."""
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


def test_the_death_of_the_worker_is_told_in_a_sentence(tiny: Program) -> None:
    process, worker = start_answering(tiny)
    os.kill(worker, signal.SIGKILL)
    code, err = end_of(process)
    assert code == 1
    sentence, hint = err.splitlines()
    assert sentence.startswith("slmctl: ")
    assert "killed" in sentence.lower() or "SIGKILL" in sentence
    assert hint.strip()
    assert folders(tiny) == []


def test_the_death_of_slmctl_is_the_workers_and_its_folder_is_swept(tiny: Program) -> None:
    process, worker = start_answering(tiny)
    process.kill()
    assert wait_until_gone(worker, 20)
    end_of(process)
    assert len(folders(tiny)) == 1
    assert tiny("run", "tiny", "--max-tokens", "1", "x").code == 0
    assert folders(tiny) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "group"])
def test_a_signal_ends_it_all(tiny: Program, number: int, code: int, whole_group: bool) -> None:
    """Ctrl-C reaches the whole foreground group; the worker is not in it and slmctl puts it away."""
    process, worker = start_answering(tiny)
    os.killpg(process.pid, number) if whole_group else process.send_signal(number)
    assert end_of(process) == (code, "")
    assert wait_until_gone(worker, 20)
    assert folders(tiny) == []


def test_an_interrupted_command_still_writes_its_document(tiny: Program) -> None:
    process = tiny.start("run", "tiny", "--json", *ENDLESS)
    until(lambda: worker_of(process.pid))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_an_interrupt_at_any_moment_leaves_nothing(tiny: Program) -> None:
    """Sixty interrupts spread over start, load and answer: no worker, no folder, no lease, no half file."""
    chance = random.Random(7)
    for _ in range(60):
        process = tiny.start("run", "tiny", "--max-tokens", "200", "the")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.06 + chance.random() * 0.3)
        worker = worker_of(process.pid)
        process.send_signal(signal.SIGINT)
        code, err = end_of(process)
        # before our first line of code it is Python's KeyboardInterrupt, before Python's first the system's end
        assert code in {0, 130, -signal.SIGINT} or "KeyboardInterrupt" in err, (code, err)
        assert worker is None or wait_until_gone(worker, 20)
        assert folders(tiny) == []
    assert list((tiny.store / "leases").iterdir()) == []
    assert list((tiny.store / "ingest").iterdir()) == []


def test_two_and_eight_runs_at_once_do_not_disturb_each_other(tiny: Program) -> None:
    ask = ("run", "tiny", "--temperature", "0", "--max-tokens", "20", "--raw", "once upon a")
    alone = tiny(*ask)
    assert alone.code == 0
    for count in (2, 8):
        with ThreadPoolExecutor(count) as pool:
            outcomes = list(pool.map(lambda _: tiny(*ask), range(count)))
        assert {(outcome.code, outcome.out) for outcome in outcomes} == {(0, alone.out)}
    assert folders(tiny) == []


def test_removing_a_model_does_not_hurt_the_answer_that_runs(tiny: Program) -> None:
    process, _ = start_answering(tiny)
    assert tiny("rm", "tiny").code == 0
    assert process.stdout is not None
    assert process.stdout.read(2000)
    process.send_signal(signal.SIGINT)
    assert end_of(process) == (130, "")


@pytest.mark.slow
def test_slmctl_killed_while_a_gigabyte_loads(slmctl: Program, tmp_path: Path) -> None:
    big = tmp_path / "big.gguf"
    command = [sys.executable, "-m", "tools.random_model", str(big), "--shape", "gigabyte"]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    assert slmctl("create", "big", "--from", str(big), "--move").code == 0
    process = slmctl.start("run", "big", *ENDLESS)
    worker = until(lambda: worker_of(process.pid))
    blob = next(
        path for path in (slmctl.store / "blobs" / "sha256").iterdir() if path.stat().st_size > 1 << 29
    )
    until(lambda: str(blob) in Path(f"/proc/{worker}/maps").read_text() or None)  # now it is loading
    process.kill()
    assert wait_until_gone(worker, 20)
    end_of(process)
    slmctl("run", "big", "--max-tokens", "1", "--ctx", "64", "x")
    assert folders(slmctl) == []
    shutil.rmtree(slmctl.store)


def test_a_file_that_kills_the_engine_gets_a_sentence(
    slmctl: Program, tiny_model: Path, tmp_path: Path
) -> None:
    """Our reader has nothing against this number; llama.cpp aborts on it."""
    data = tiny_model.read_bytes()
    key = b"llama.block_count" + struct.pack("<I", 4)
    at = data.index(key) + len(key)
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
    assert slmctl("create", "bad", "--from", str(bad)).code == 0
    outcome = slmctl("run", "bad", "hello")
    assert outcome.code == 1
    assert outcome.out == ""
    assert len([line for line in outcome.err.splitlines() if line.startswith("slmctl: ")]) == 1
    assert outcome.hint


@pytest.mark.root
def test_a_missing_libgomp_is_named_with_its_package(tiny: Program, without_libgomp: list[str]) -> None:
    done = subprocess.run(
        [*without_libgomp, *tiny.command("run", "tiny", "hello")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=tiny.environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    sentence, hint = done.stderr.decode().splitlines()
    assert "libgomp.so.1" in sentence
    assert "libgomp1" in hint


# Disks


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[list[Path]]:
    """Mount points that are unmounted afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    points: list[Path] = []
    yield points
    for point in reversed(points):
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.root
def test_a_full_disk_leaves_the_store_whole(
    slmctl: Program, tiny_model: Path, mounted: list[Path], tmp_path: Path
) -> None:
    slmctl.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(slmctl.home)], check=True)
    mounted.append(slmctl.home)
    assert slmctl("create", "one", "--from", str(tiny_model)).code == 0
    other = tmp_path / "other.gguf"
    subprocess.run(
        [sys.executable, "-m", "tools.random_model", str(other), "--seed", "9"], cwd=REPOSITORY, check=True
    )
    before = sorted(path for path in slmctl.store.rglob("*") if path.is_file() and "locks" not in path.parts)
    for extra in ((), ("--json",)):
        outcome = slmctl("create", "two", "--from", str(other), *extra)
        assert outcome.code == 1
        assert "no space left" in (outcome.json["error"]["message"] if extra else outcome.err)
    assert (
        sorted(path for path in slmctl.store.rglob("*") if path.is_file() and "locks" not in path.parts)
        == before
    )
    assert [row["name"] for row in slmctl("list", "--json").json["models"]] == ["one:latest"]
    assert slmctl("run", "one", "--max-tokens", "2", "x").code == 0
    assert slmctl("rm", "one").code == 0
    assert slmctl("create", "two", "--from", str(other)).code == 0


@pytest.mark.root
def test_a_disk_that_fills_up_at_any_write_leaves_the_store_whole(
    slmctl: Program, tiny_model: Path, mounted: list[Path]
) -> None:
    """The disk grows page by page, so that each write of a create is once the one that finds no room."""
    slmctl.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(slmctl.home)], check=True)
    mounted.append(slmctl.home)
    codes = []
    pages = -(-tiny_model.stat().st_size // 4096)
    for size in (1, 2, 4, 6, 8, *range(pages, pages + 24)):
        subprocess.run(["mount", "-o", f"remount,size={size * 4}k", str(slmctl.home)], check=True)
        outcome = slmctl("create", "one", "--from", str(tiny_model))
        codes.append(outcome.code)
        listed = slmctl("list", "--json")
        assert listed.code == 0
        if outcome.code == 0:
            assert [row["name"] for row in listed.json["models"]] == ["one:latest"]
            break
        assert outcome.code == 1
        assert "no space left" in outcome.err
        assert len(outcome.err.splitlines()) == 2
        assert listed.json["models"] == []
        for folder in ("blobs/sha256", "leases"):
            assert not any((slmctl.store / folder).glob("*"))
    assert codes.count(1) >= 8
    assert codes[-1] == 0
    assert slmctl("run", "one", "--verify", "--max-tokens", "2", "x").code == 0


@pytest.mark.root
def test_a_read_only_store_runs(tiny: Program, mounted: list[Path]) -> None:
    subprocess.run(["mount", "--bind", str(tiny.home), str(tiny.home)], check=True)
    mounted.append(tiny.home)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(tiny.home)], check=True)
    assert tiny("run", "tiny", "--verify", "--max-tokens", "2", "x").code == 0
    assert tiny("list").code == 0
    assert tiny("show", "tiny").code == 0
    for arguments in (("rm", "tiny"), ("cp", "tiny", "b"), ("create", "c", "--from", "tiny")):
        outcome = tiny(*arguments)
        assert outcome.code == 1
        assert "cannot be written (Read-only file system)" in outcome.err
        assert outcome.hint


@pytest.mark.root
@pytest.mark.parametrize(("system", "megabytes"), [("btrfs", 256), ("xfs", 320)])
def test_a_reflink_file_system_holds_no_second_copy(
    slmctl: Program, mounted: list[Path], tmp_path: Path, system: str, megabytes: int
) -> None:
    """On btrfs and XFS the stored model shares the blocks of the user's file."""
    maker = shutil.which(f"mkfs.{system}")
    if maker is None:
        pytest.skip(f"needs mkfs.{system}")
    image, point = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    subprocess.run([maker, "-q", str(image)], check=True, capture_output=True)
    point.mkdir()
    if subprocess.run(
        ["mount", "-o", "loop", str(image), str(point)], capture_output=True, check=False
    ).returncode:
        pytest.skip(f"cannot mount {system} here")
    mounted.append(point)
    program = Program(point / "home", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    mine = point / "mine.gguf"
    size = 40 << 20
    write_model_of(mine, size)
    os.sync()
    before = used_bytes(point)
    assert program("create", "m", "--from", str(mine)).code == 0
    os.sync()
    assert used_bytes(point) - before < size // 4
    blob = max((program.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    assert blob.stat().st_ino != mine.stat().st_ino
    with mine.open("r+b") as stream:
        stream.write(b"\0" * size)
    assert program("run", "m", "--verify", "--max-tokens", "2", "x").code == 0


def write_model_of(path: Path, size: int) -> None:
    """A model with feed-forward layers so wide that its file has about `size` bytes."""
    feed_forward = size // (3 * 256 * 4 * 2) // 32 * 32
    write_random_model(path, shape=Shape(feed_forward=feed_forward))
    assert path.stat().st_size >= size * 0.8


def used_bytes(point: Path) -> int:
    usage = os.statvfs(point)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize
