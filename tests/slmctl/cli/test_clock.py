"""Clocks that jump, and times of files from any year: nothing is judged by its age."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry.store.leases import find_leases
from registry.store.store import Store
from tests.registry.store.models import add
from tests.slmctl.cli.program import Program

CLOCKS = {
    "ten years ago": "-10y",
    "in ten years": "+10y",
    "1970": "@1970-01-01 00:00:10",
    "2100": "@2100-01-01 00:00:00",
}
LONG_AGO, FAR_OFF = 0, 4_102_444_800
"""1970 and 2100, in seconds."""


@pytest.fixture
def at() -> Callable[[str], Mapping[str, str]]:
    """The environment in which a program sees another clock: libfaketime's.

    The time of day alone, as where a clock is set: the monotonic one does not jump.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("needs libfaketime")
    return lambda clock: {
        "LD_PRELOAD": str(library),
        "FAKETIME": clock,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def tiny(slmctl: Program, tiny_model: Path) -> Program:
    """With two names, garbage that nobody needs, and what a killed command left."""
    assert slmctl("create", "m", "--from", str(tiny_model)).code == 0
    assert slmctl("cp", "m", "copy").code == 0
    store = Store(slmctl.store)
    leave(store)
    return slmctl


def leave(store: Store) -> None:
    """A blob that no name lists, and the lease, the blob and the half file of a command that was killed."""
    with store.session("test") as session:
        session.put(b"nobody's")
    pid = os.fork()
    if pid == 0:
        try:
            with store.session("create killed") as session:
                session.put(b"a killed command's")
                (store.layout.ingest / f"{next(store.layout.leases.iterdir()).name}.9").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def files(store: Path) -> dict[str, bytes]:
    """What counts: all files but locks and the notes of `list`."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.relative_to(store).parts[0] not in {"locks", "cache"}
    }


def findings(program: Program, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    checked = program("verify", "--json", environment=environment)
    assert checked.code == 0
    found: list[dict[str, Any]] = checked.json["findings"]
    return found


def look_and_collect(program: Program, out: Path, environment: Mapping[str, str]) -> list[object]:
    """Everything that could depend on the clock: findings, bundles, what is collected, and what is left."""
    seen: list[object] = [findings(program, environment)]
    assert program("export", "m", "copy", "-o", str(out), environment=environment).code == 0
    seen.append(out.read_bytes())
    for options in (("--dry-run",), (), ("--dry-run", "--all"), ("--all",)):
        collected = program("gc", *options, "--json", environment=environment)
        assert collected.code == 0
        seen.append(collected.json)
        seen.append(files(program.store))
    seen.append(findings(program, environment))
    assert seen[-1] == []
    shown = program("show", "m", "--json", environment=environment)
    seen.append(shown.json)
    return seen


def copied(program: Program, home: Path) -> Program:
    """Another program with the same store, times of files included."""
    subprocess.run(["cp", "-a", str(program.home), str(home)], check=True)
    return Program(home, Path(program.environment["XDG_RUNTIME_DIR"]))


def without_paths(seen: object, program: Program) -> str:
    return repr(seen).replace(str(program.home), "HOME")


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
def test_a_clock_that_jumps_changes_no_result(
    tiny: Program, tmp_path: Path, at: Callable[[str], Mapping[str, str]], clock: str
) -> None:
    other = copied(tiny, tmp_path / "other")
    expected = look_and_collect(tiny, tmp_path / "a.tar", {})
    seen = look_and_collect(other, tmp_path / "b.tar", at(clock))
    assert without_paths(seen, other) == without_paths(expected, tiny)
    imported = other("import", str(tmp_path / "a.tar"), "--force", "--json", environment=at(clock))
    assert imported.code == 0
    assert findings(other, {}) == []
    assert other("run", "m", "--verify", "--max-tokens", "2", "x").code == 0


@pytest.mark.parametrize("seconds", [LONG_AGO, FAR_OFF], ids=["1970", "2100"])
def test_times_of_files_change_no_result(tiny: Program, tmp_path: Path, seconds: int) -> None:
    """Blobs, leases, temporaries, tables and folders."""
    other = copied(tiny, tmp_path / "other")
    expected = look_and_collect(tiny, tmp_path / "a.tar", {})
    for path in (other.store, *other.store.rglob("*")):
        os.utime(path, (seconds, seconds), follow_symlinks=False)
    seen = look_and_collect(other, tmp_path / "b.tar", {})
    assert without_paths(seen, other) == without_paths(expected, tiny)
    assert other("run", "m", "--verify", "--max-tokens", "2", "x").code == 0


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
def test_what_a_running_command_holds_stays_and_ends_with_it(
    slmctl: Program, at: Callable[[str], Mapping[str, str]], clock: str
) -> None:
    """The lease of one that runs is held however old it looks, and no lease outlives its owner."""
    store = Store(slmctl.store)
    add(store, "m:latest", b"needed")
    with store.session("create") as session:
        held = session.put(b"soon to be named")
        (lease,) = store.layout.leases.iterdir()
        for seconds in (LONG_AGO, FAR_OFF):
            for path in (lease, store.layout.blob(held)):
                os.utime(path, (seconds, seconds))
            assert slmctl("gc", "--all", environment=at(clock)).code == 0
            assert store.has(held)
            assert lease.exists()
    assert list(find_leases(store.layout.leases)) == []
    assert slmctl("gc", environment=at(clock)).code == 0
    assert not store.has(held)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
def test_a_command_with_another_clock_leaves_what_others_find(
    slmctl: Program, tiny_model: Path, at: Callable[[str], Mapping[str, str]], clock: str
) -> None:
    assert slmctl("create", "then", "--from", str(tiny_model), environment=at(clock)).code == 0
    assert slmctl("run", "then", "--max-tokens", "2", "x", environment=at(clock)).code == 0
    assert slmctl("create", "now", "--from", "then").code == 0
    assert slmctl("gc", "--all").code == 0
    assert findings(slmctl, {}) == []
    assert slmctl("run", "then", "--verify", "--max-tokens", "2", "x").code == 0
    assert list((slmctl.store / "leases").iterdir()) == []
    assert slmctl("rm", "then", "now").code == 0
    assert list((slmctl.store / "blobs" / "sha256").iterdir()) == []


def test_list_says_sane_times(
    slmctl: Program, tiny_model: Path, at: Callable[[str], Mapping[str, str]]
) -> None:
    assert slmctl("create", "now", "--from", str(tiny_model)).code == 0
    assert slmctl("create", "old", "--from", "now", environment=at(CLOCKS["1970"])).code == 0
    assert slmctl("create", "new", "--from", "now", environment=at(CLOCKS["2100"])).code == 0
    modified = {row["name"]: row["modified"] for row in slmctl("list", "--json").json["models"]}
    assert modified["old:latest"].startswith("1970-01-01T")
    assert modified["new:latest"].startswith("2100-01-01T")
    assert modified["now:latest"][:4] == time.strftime("%Y", time.gmtime())
    rows = {line.split()[0]: line for line in slmctl("list").out.splitlines()[1:]}
    assert rows["old:latest"].endswith(" years ago")
    assert rows["new:latest"].endswith("in the future")
    for clock in CLOCKS.values():
        assert slmctl("list", environment=at(clock)).code == 0
        assert slmctl("show", "now", environment=at(clock)).code == 0


@pytest.mark.parametrize(
    "moment", ["", "yesterday", "0000-00-00T00:00:00Z", "99999-01-01T00:00:00Z", "2026-11-22"]
)
def test_a_moment_that_is_none_is_no_failure(slmctl: Program, tiny_model: Path, moment: str) -> None:
    """An index that another tool wrote may say anything."""
    assert slmctl("create", "m", "--from", str(tiny_model)).code == 0
    index = slmctl.store / "index.json"
    said = slmctl("list", "--json").json["models"][0]["modified"]
    index.write_text(index.read_text().replace(said, moment))
    assert slmctl("list").code == 0
    assert slmctl("show", "m").code == 0
    assert slmctl("cp", "m", "n").code == 0
