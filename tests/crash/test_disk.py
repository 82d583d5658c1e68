"""The model disk and the reader of strace's output, by small cases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.crash.disk import Disk
from tests.crash.tracing import Event, _read, parse


def hexed(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return "".join(f"\\x{byte:02x}" for byte in raw)


class Recording:
    """Lines of strace's output, as a run in `root` would have made them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = Disk(root)
        self._counts: Counter[str] = Counter()

    def line(self, call: str, arguments: str, result: str = "0") -> Event:
        event = parse(f"1.5 {call}({arguments}) = {result}", 0, self._counts, str(self.root))
        assert event is not None
        self.disk.apply(event)
        return event

    def path(self, name: str) -> str:
        return f'"{hexed(str(self.root / name))}"'

    def fd(self, number: int, name: str) -> str:
        return f"{number}<{hexed(str(self.root / name))}>"

    def create(self, name: str, data: bytes) -> None:
        here = f"AT_FDCWD<{hexed(str(self.root))}>"
        self.line("openat", f"{here}, {self.path(name)}, O_WRONLY|O_CREAT|O_EXCL, 0644", self.fd(3, name))
        self.line("write", f'{self.fd(3, name)}, "{hexed(data)}", {len(data)}', str(len(data)))

    def states(self) -> set[tuple[tuple[str, bytes | None], ...]]:
        return {tuple(sorted(state.tree.items())) for state in self.disk.states()}


def test_a_new_file_may_be_gone_or_empty_or_torn_until_both_are_flushed(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    made.create("a", b"1234")
    assert {(), (("a", b""),), (("a", b"12"),), (("a", bytes(4)),), (("a", b"1234"),)} < made.states()
    made.line("fsync", made.fd(3, "a"))
    assert made.states() == {(), (("a", b"1234"),)}
    made.line("fsync", made.fd(4, "."))
    assert made.states() == {(("a", b"1234"),)}


def test_a_rename_is_there_or_not_and_its_folders_are_flushed_apart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "new").write_bytes(b"new")
    (tmp_path / "final").write_bytes(b"old")
    made = Recording(tmp_path)
    made.line("rename", f"{made.path('in/new')}, {made.path('final')}")
    before = (("final", b"old"), ("in", None), ("in/new", b"new"))
    after = (("final", b"new"), ("in", None))
    assert made.states() == {before, after}
    made.line("fsync", made.fd(4, "."))
    assert made.states() == {after, (("final", b"new"), ("in", None), ("in/new", b"new"))}


def test_an_append_may_be_lost_and_what_was_flushed_stays(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    made.create("a", b"12")
    made.line("fsync", made.fd(3, "a"))
    made.line("fsync", made.fd(4, "."))
    made.line("write", f'{made.fd(3, "a")}, "{hexed(b"34")}", 2', "2")
    assert (("a", b"12"),) in made.states()
    assert dict(made.disk.tree()) == {"a": b"1234"}


def test_what_failed_or_never_returned_did_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    made = Recording(tmp_path)
    failed = made.line("unlink", made.path("a"), "-1 EIO (Input/output error) (INJECTED)")
    assert (failed.result, failed.error) == (-1, "EIO")
    died = made.line("unlink", made.path("a"), "?")
    assert died.result is None
    assert (died.ordinal, died.paths) == (2, (str(tmp_path / "a"),))
    assert made.disk.tree() == {"a": b"1"}


def test_two_names_of_a_file_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    made = Recording(tmp_path)
    here = f"AT_FDCWD<{hexed(str(tmp_path))}>"
    made.line("openat", f'{here}, "{hexed("b")}", O_WRONLY|O_TRUNC', made.fd(3, "b"))
    assert made.disk.tree() == {"a": b"", "b": b""}
    state = next(made.disk.states())
    state.write(tmp_path.with_name("again"))
    assert (tmp_path.with_name("again") / "a").samefile(tmp_path.with_name("again") / "b")


def test_folders_and_links_are_calls_like_others(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    made.line("mkdir", f"{made.path('x')}, 0777")
    made.create("x/a", b"1")
    here = f"AT_FDCWD<{hexed(str(tmp_path))}>"
    made.line("linkat", f"{here}, {made.path('x/a')}, {here}, {made.path('b')}, 0")
    made.line("unlinkat", f'{made.fd(5, "x")}, "{hexed("a")}", 0')
    made.line("symlink", f'"{hexed("b")}", {made.path("c")}')
    made.line("ftruncate", f"{made.fd(3, 'b')}, 3")
    assert made.disk.tree() == {"x": None, "b": b"1\0\0", "c": b"-> b"}


def test_whoever_is_asked_beyond_this_machine_fails_the_reading(tmp_path: Path) -> None:
    def line(address: str) -> str:
        return f'1.5 connect(3, {{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("{hexed(address)}")}}, 16) = 0\n'

    (tmp_path / "t.1").write_text(line("127.0.0.1"))
    assert list(_read(tmp_path, tmp_path)) == []
    (tmp_path / "t.1").write_text(line("8.8.8.8"))
    with pytest.raises(AssertionError, match=r"8\.8\.8\.8 was asked"):
        list(_read(tmp_path, tmp_path))
