"""What of a worker's output reaches a file, and how large that gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.logfile import SEGMENT_BYTES, LogFile, older

FIRST = b'{"name": "m"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.1.log"
    path.write_bytes(FIRST)
    return path


def test_lines_are_put_together_from_pieces_of_two_streams(path: Path) -> None:
    log = LogFile(path, lambda _: None)
    for stream, piece in ((0, b"one "), (1, b"two\nthr"), (0, b"line\r\n"), (1, b"ee")):
        log.feed(stream, piece)
    log.close("the end")
    assert path.read_bytes() == FIRST + b"two\none line\nthree\nthe end\n"


def test_what_was_begun_before_the_prompts_is_judged_by_its_end(path: Path) -> None:
    log = LogFile(path, lambda line: "kept" if line == "load done" else None)
    log.feed(0, b"before\nload ")
    log.expect_prompts()
    log.feed(0, b"done\nsecret\nand more")
    log.close("end")
    assert path.read_bytes() == FIRST + b"before\nkept\nend\n"


def test_the_newest_lines_are_kept_and_both_files_begin_alike(path: Path) -> None:
    log = LogFile(path, lambda _: None)
    for number in range(10_000):
        log.feed(0, b"line %d\n" % number)
        assert path.stat().st_size <= SEGMENT_BYTES
    log.feed(0, b"x" * 100_000 + b"\nlast\n")  # one line is cut, and only one
    log.close("end")
    old, new = older(path).read_bytes(), path.read_bytes()
    assert old.startswith(FIRST)
    assert new.startswith(FIRST)
    lines = (old.removeprefix(FIRST) + new.removeprefix(FIRST)).splitlines()
    assert lines[-2:] == [b"last", b"end"]
    numbers = [int(line.split()[1]) for line in lines if line.startswith(b"line ")]
    assert numbers == list(range(numbers[0], 10_000))
    assert len(old) + len(new) > SEGMENT_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_there_or_goes_away_stops_nobody(path: Path, tmp_path: Path) -> None:
    for missing in (tmp_path / "none", tmp_path, tmp_path / "link"):
        if missing.name == "link":
            missing.symlink_to(path)
        log = LogFile(missing, lambda _: None)
        log.feed(0, b"line\n")
        log.close("end")
    log = LogFile(path, lambda _: None)
    path.unlink()
    log.feed(0, b"x" * 1000 + b"\n")
    log.feed(0, b"line\n" * SEGMENT_BYTES)
    log.close("end")
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_nobody() -> None:
    log = LogFile(Path("/dev/full"), lambda _: None)
    log.feed(0, b"line\n")
    log.close("end")


KNOWN = (
    "0.00.014.321 I slot get_availabl: id  0 | task -1 | selected slot by LRU, t_last = -1",
    "0.00.014.357 I slot launch_slot_: id  0 | task 0 | processing task, is_child = 0",
    "0.00.015.710 I slot print_timing: id  0 | task 0 | prompt eval time =       0.62 ms /    35 tokens (    0.02 ms per token, 56634.30 tokens per second)",
    "0.00.015.720 I slot print_timing: id  0 | task 0 |        eval time =       0.68 ms /     5 tokens (    0.17 ms per token,  5856.52 tokens per second)",
    "0.00.015.847 I slot      release: id  0 | task 0 | stop processing: n_tokens = 39, truncated = 0",
    "0.00.022.555 E srv    send_error: task id = 12, error: request (55005 tokens) exceeds the available context size (512 tokens), try increasing it",
)

QUOTING = {
    # a compiler's words in a prompt; only its own sources may be named
    "secret_project.cpp:10: fatal error: foo": None,
    # a chat template's raise_exception
    '0.00.027.905 W srv    operator(): got exception: {"error":{"code":400,"message":"SECRET"}}': "0.00.027.905 W srv    operator(): [left out]",
    # where a prompt leaves the cached one
    "0.01.027.905 W slot update_slots: id  0 | task 7 | old: ... SECRET ": "0.01.027.905 W slot update_slots: [left out]",
    "0.00.014.357 D slot process_toke: id  0 | task 0 | n_gen = 1, n_remaining = 4, next token:   7 'SECRET'": "0.00.014.357 D slot process_toke: [left out]",
    # an answer that its parser does not take, over several lines
    "common_chat_peg_parse: unparsed peg-native output: SECRET": None,
    "SECRET": None,
    "0.00.000.000 I SECRET: SECRET": None,
    "0.00.014.357 I slot launch_slot_: id  0 | task 0 | processing task, is_child = 0 SECRET": "0.00.014.357 I slot launch_slot_: [left out]",
    # the end of it
    "/build/ggml/src/ggml.c:1234: GGML_ASSERT(SECRET) failed": "ggml.c:1234: GGML_ASSERT",
    "terminate called after throwing an instance of 'std::runtime_error'": "terminate called after throwing an instance of 'std::runtime_error'",
    "  what():  SECRET": None,
    "  what():  std::bad_alloc": "std::bad_alloc",
    "": None,
}


@pytest.mark.parametrize("line", KNOWN)
def test_lines_of_numbers_are_kept_whole(line: str) -> None:
    assert LLAMA_CPP.loggable(line) == line


@pytest.mark.parametrize(("line", "kept"), QUOTING.items())
def test_lines_that_may_quote_are_not(line: str, kept: str | None) -> None:
    assert LLAMA_CPP.loggable(line) == kept
