"""A big model that comes from the disk is told of, and one that is in memory is not."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from registry.errors import SlmctlError
from registry.names import parse_name
from registry.store.store import Store
from slmctl.app.events import Event, ReadsFromDisk
from slmctl.app.finding import find_package
from slmctl.app.load import LoadRequest, load
from slmctl.app.pagecache import is_in_memory
from slmctl.cli.render import Output
from slmctl.config import Settings
from tests.slmctl.cli.program import Program


def forget(path: Path) -> None:
    """Take a file out of memory; skips where that cannot be done, or not be seen."""
    if sys.platform != "linux":
        pytest.skip("needs posix_fadvise and preadv2")
    with path.open("rb") as stream:
        stream.read()
        if is_in_memory(stream.fileno()) is None:
            pytest.skip("this file system does not say what is in memory")
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def told(slmctl: Program, *, big_bytes: int, verify: bool = False) -> list[Event]:
    """The events of loading the model `tiny` that are about the disk."""
    settings = Settings.load(slmctl.environment)
    store = Store(settings.store)
    request = LoadRequest(package=find_package(store, parse_name("tiny")), verify=verify)
    events: list[Event] = []
    with load(store, settings, request, events.append, big_bytes=big_bytes):
        pass
    return [event for event in events if isinstance(event, ReadsFromDisk)]


def weights(slmctl: Program) -> Path:
    return max((slmctl.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


@pytest.fixture
def tiny(slmctl: Program, tiny_model: Path) -> Program:
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    return slmctl


def test_a_big_model_is_told_of_when_it_comes_from_the_disk(tiny: Program) -> None:
    size = weights(tiny).stat().st_size
    forget(weights(tiny))
    assert told(tiny, big_bytes=size + 1) == []
    forget(weights(tiny))
    assert told(tiny, big_bytes=size) == [ReadsFromDisk(size=size)]
    assert told(tiny, big_bytes=size) == [], "now it is in memory"
    forget(weights(tiny))
    assert told(tiny, big_bytes=size, verify=True) == [], "hashing has its own progress"


def test_where_the_system_does_not_say_it_is_told_at_the_first_run(
    tiny: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slmctl.app.opening.is_in_memory", lambda _: None)
    assert len(told(tiny, big_bytes=1)) == 1
    assert told(tiny, big_bytes=1) == []


def test_an_empty_file_and_a_pipe_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as stream:
        assert is_in_memory(stream.fileno()) in {False, None}
    reader, writer = os.pipe()
    try:
        assert is_in_memory(reader) in {False, None}
    finally:
        os.close(reader)
        os.close(writer)


class Terminal(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "as_json", "progress", "lines"),
    [
        (True, False, "auto", 1),
        (False, False, "auto", 0),
        (True, True, "auto", 0),
        (True, False, "none", 0),
        (True, False, "json", 0),
    ],
)
def test_only_somebody_who_waits_is_told(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, as_json: bool, progress: str, lines: int
) -> None:
    stream = Terminal(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    Output("run", as_json=as_json, progress=progress).on_event(ReadsFromDisk(size=4_700_000_000))
    assert len(stream.getvalue().splitlines()) == lines
    assert ("4.7 GB" in stream.getvalue()) is bool(lines)


def test_a_model_that_cannot_be_opened_is_not_told_of(tiny: Program) -> None:
    weights(tiny).unlink()
    with pytest.raises(SlmctlError):
        told(tiny, big_bytes=1)
