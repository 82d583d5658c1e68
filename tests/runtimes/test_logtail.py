from __future__ import annotations

import os
from typing import IO

from runtimes.logtail import LogTail


def pipe() -> tuple[IO[bytes], int]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", buffering=0), writer


def test_the_end_of_both_streams_is_kept() -> None:
    (out, out_writer), (err, err_writer) = pipe(), pipe()
    log = LogTail([out, err], limit_bytes=10)
    os.write(out_writer, b"a" * 100_000)  # more than a pipe holds
    os.close(out_writer)
    os.write(err_writer, "é".encode())
    os.close(err_writer)
    log.finish()
    assert len(log.text()) <= 10
    assert "a" in log.text()
    assert out.closed
    assert err.closed


def test_a_cut_character_is_no_error() -> None:
    stream, writer = pipe()
    log = LogTail([stream], limit_bytes=3)
    os.write(writer, "ééé".encode())
    os.close(writer)
    log.finish()
    assert log.text() == "\ufffdé"


def test_a_writer_that_stays_holds_nobody_up() -> None:
    stream, writer = pipe()
    log = LogTail([stream])
    os.write(writer, b"still here")
    log.finish()
    assert log.text() == "still here"
    os.close(writer)
