"""What a pull shows while it runs: on a terminal, in a log, to programs; and what it leaves when it is stopped."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
from collections.abc import Iterator

import pexpect
import pytest

from slmctl.app.events import Transfer
from slmctl.cli.transfers import LogLines, Speed, human_left, shortened, summary
from tests.fakes.hub import FakeHub, serve_hub
from tests.gguf_bytes import tiny
from tests.slmctl.cli.program import DEADLINE_SECONDS, SCRIPT, Program

SIZE = 16 << 20
NAME = "hf.co/org/large-GGUF"
_SEQUENCE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n])")


@pytest.fixture(scope="module")
def large_model() -> bytes:
    """A valid GGUF file of 16 MiB."""
    made = tiny()
    made.tensor("filling", (SIZE // 4,), data=random.Random(6).randbytes(SIZE))
    return made.build()


@pytest.fixture
def hub(large_model: bytes, slmctl: Program) -> Iterator[FakeHub]:
    with serve_hub({"org/large-GGUF": {"large-F32.gguf": large_model}}) as fake:
        slmctl.go_online()
        slmctl.environment |= {"HF_ENDPOINT": fake.endpoint, "SLMCTL_CHUNK_SIZE": str(1 << 20)}
        yield fake


def screen_of(text: str, columns: int) -> list[str]:
    """The lines that a terminal shows in the end: enough of one for what slmctl writes."""
    lines, row, column = [""], 0, 0
    for found in _SEQUENCE.finditer(text):
        argument, command, control, character = found.groups()
        if command == "A":
            row = max(0, row - int(argument or 1))
        elif command == "K":
            lines[row] = "" if argument == "2" else lines[row][:column]
        elif command is not None:
            assert command in "mhl", found[0]
        elif control == "\r":
            column = 0
        elif control == "\n" or column == columns:
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        if character is not None:
            lines[row] = f"{lines[row].ljust(column)[:column]}{character}{lines[row][column + 1 :]}"
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_a_terminal_shows_bars_and_keeps_what_came_of_it(slmctl: Program, hub: FakeHub) -> None:
    child: pexpect.spawn[str] = pexpect.spawn(
        str(SCRIPT),
        ["pull", NAME, "--limit-rate", "8MB"],
        env={**slmctl.environment, "TERM": "xterm-256color"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    text = child.before or ""
    frames = [frame for frame in re.split(r"pulling ", text) if "MB/s" in frame]
    assert re.match(r" *[0-9]{1,2}% of 17 MB, [0-9.]+ [kM]B/s, [0-9]+ s left", frames[0])
    assert re.search(r"large-F32\.gguf .*[0-9]{1,2}% of 17 MB", text)
    shown = screen_of(text, 80)
    assert shown[0].startswith(f"pulled '{NAME}' (gguf-f32, 17 MB) from hf://org/large-GGUF@"), shown
    assert len("".join(shown)) < 160  # one line, which a terminal of 80 columns folds
    assert text.endswith("\r\n")


def test_a_log_gets_lines_without_a_control_character(slmctl: Program, hub: FakeHub) -> None:
    done = slmctl("pull", NAME, "--limit-rate", "4MB")
    lines = done.err.splitlines()
    assert done.code == 0
    assert [line for line in lines if re.match(r"pulling +[0-9]+% of 17 MB, .*/s, [0-9]+ s left", line)]
    assert all(line.isprintable() for line in (*lines, *done.out.splitlines()))
    assert len(lines) < 8


def test_a_reader_that_goes_away_after_the_first_line_had_what_it_wanted(
    slmctl: Program, hub: FakeHub
) -> None:
    line = f"{SCRIPT} pull {NAME} | head -n 1; test ${{PIPESTATUS[0]}} = 0"
    done = subprocess.run(
        ["bash", "-c", line], env=slmctl.environment, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout[:6]) == (0, b"pulled"), done.stderr


def test_what_ctrl_c_stops_goes_on_where_it_was(slmctl: Program, hub: FakeHub) -> None:
    child = slmctl.start("pull", NAME, "--limit-rate", "3MB", "--progress", "json")
    assert child.stderr is not None
    for line in child.stderr:
        event = json.loads(line)
        if event["event"] == "pull" and event["done"] >= 3 << 20:
            break
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=DEADLINE_SECONDS)
    assert child.returncode == 130
    assert slmctl("list", "--json").json["models"] == []
    served = len(hub.cdn.requests)
    done = slmctl("pull", NAME, "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines()]
    pulled = [event for event in events if event["event"] == "pull"]
    assert done.code == 0
    assert pulled[0]["reused"] >= 1 << 20
    assert pulled[-1]["all_done"] == pulled[-1]["all_total"] > SIZE
    ranges = [request.headers.get("range", "") for request in hub.cdn.requests[served:]]
    assert 0 < len(ranges) < 17  # of 17 chunks, and the header's
    assert slmctl("verify").code == 0
    assert list((slmctl.store / "ingest").iterdir()) == []


def test_two_at_once_fetch_it_once(slmctl: Program, hub: FakeHub, large_model: bytes) -> None:
    pulls = [slmctl.start("pull", NAME, "--as", name, "--limit-rate", "8MB") for name in ("one", "two")]
    said = [child.communicate(timeout=DEADLINE_SECONDS) for child in pulls]
    assert [child.returncode for child in pulls] == [0, 0], said
    assert b"Another slmctl is fetching large-F32.gguf" in said[0][1] + said[1][1]
    served = 0
    for request in hub.cdn.requests:
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", request.headers.get("range", ""))
        served += int(found[2]) - int(found[1]) + 1 if found else len(large_model)
    assert served < len(large_model) + (4 << 20)  # the headers are read by both
    assert {row["name"] for row in slmctl("list", "--json").json["models"]} == {"one:latest", "two:latest"}


def _moved(done: int, *, reused: int = 0) -> Transfer:
    return Transfer(
        stage="pull", item="m", done=done, total=1000, all_done=done, all_total=1000, reused=reused
    )


def test_the_speed_is_that_of_the_last_seconds_and_of_what_really_came() -> None:
    now = 0.0
    speed = Speed(lambda: now)
    speed.take(_moved(500, reused=500))
    assert speed.bytes_per_second is None
    for now, done in ((1.0, 510), (2.0, 520), (20.0, 700)):  # noqa: B007 - the clock reads it
        speed.take(_moved(done, reused=500))
    assert speed.bytes_per_second == pytest.approx(10)
    assert summary(_moved(700, reused=500), speed) == " 70% of 1.0 kB, 10 B/s, 30 s left"
    assert summary(_moved(1000, reused=500), speed) == "100% of 1.0 kB, 10 B/s"


def test_a_log_gets_its_first_line_soon_and_others_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    log = LogLines(lambda: now)
    for moment in range(25):
        now = float(moment)
        log.show(_moved(10 * moment))
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["2%", "12%", "22%"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3700, "1 h 1 min")],
)
def test_what_is_left_is_said_in_two_units(seconds: float, text: str) -> None:
    assert human_left(seconds) == text


def test_a_long_label_keeps_its_end() -> None:
    assert shortened("model.gguf") == "model.gguf"
    assert (
        shortened("a-very-long-folder/of-a-model-00001-of-00002.gguf") == "…/of-a-model-00001-of-00002.gguf"
    )
    assert shortened("a\x1b[31m\n") == "a\ufffd[31m "
