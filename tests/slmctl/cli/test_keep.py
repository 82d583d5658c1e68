"""`run --keep`: a model stays loaded between two runs, and leaves nothing when its time is over."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.processes import until, wait_until_gone
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.terminal.driver import CTRL_D, Terminal
from tools.random_model import TINY, write_random_model

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning"),
]

ASK = ("run", "tiny", "--raw", "--temperature", "0", "--max-tokens", "12")
ENDLESS = ("run", "tiny", "--raw", "--max-tokens", "90000", "--ctx", "100000")
PROMPT = "once upon a"


@pytest.fixture
def tiny(slmctl: Program, tmp_path: Path) -> Iterator[Program]:
    """With a model that can answer for minutes; whatever is still kept afterwards is stopped."""
    path = tmp_path / "tiny.gguf"
    write_random_model(path, shape=replace(TINY, context=131072))
    assert slmctl("create", "tiny", "--from", str(path), "--move").code == 0
    yield slmctl
    assert slmctl("stop", "--all").code == 0
    assert kept(slmctl) == []


def kept(slmctl: Program) -> list[dict[str, Any]]:
    models = slmctl("ps", "--json").json["models"]
    assert isinstance(models, list)
    return models


def worker(slmctl: Program) -> int:
    """The process of the one model that is kept."""
    (model,) = kept(slmctl)
    return int(model["pid"])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def left(slmctl: Program) -> list[Path]:
    """Folders of workers and holders, and links to them."""
    return [
        path for path in Path(slmctl.environment["XDG_RUNTIME_DIR"]).glob("slmctl-*/*") if path.name != "lock"
    ]


def test_the_next_run_uses_the_worker_that_was_kept(tiny: Program) -> None:
    alone = tiny(*ASK, PROMPT)
    first = tiny(*ASK, "--keep", "5m", PROMPT)
    (model,) = kept(tiny)
    assert (model["name"], model["variant"], model["in_use"]) == ("tiny:latest", "gguf-f32", False)
    assert 0 < model["seconds_left"] <= 300
    again, other = tiny(*ASK, PROMPT), tiny(*ASK, "the")
    assert worker(tiny) == model["pid"]
    assert {alone.out, first.out, again.out} == {alone.out}
    assert other.out != alone.out
    assert [outcome.code for outcome in (alone, first, again, other)] == [0] * 4


def test_a_run_that_wants_it_loaded_otherwise_loads_its_own(tiny: Program) -> None:
    tiny(*ASK, "--keep", "5m", PROMPT)
    before = worker(tiny)
    for options in (("--ctx", "64"), ("-o", "num_thread=1"), ("--verify",)):
        assert tiny(*ASK, *options, PROMPT).code == 0
        assert worker(tiny) == before
    assert tiny(*ASK, "--ctx", "64", "--keep", "5m", PROMPT).code == 0
    assert {model["context_length"] for model in kept(tiny)} == {64, 16384}


def test_it_leaves_when_its_time_is_over(tiny: Program) -> None:
    assert tiny(*ASK, "--keep", "5m", PROMPT).code == 0
    process = worker(tiny)
    assert tiny(*ASK, "--keep", "1s", PROMPT).code == 0
    holder = parent(process)
    assert wait_until_gone(process, 20)
    assert wait_until_gone(holder, 20)
    assert left(tiny) == []


def test_each_use_begins_the_time_anew_and_may_change_it(tiny: Program) -> None:
    assert tiny(*ASK, "--keep", "1000s", PROMPT).code == 0
    assert tiny(*ASK, "--keep", "-1", PROMPT).code == 0
    assert kept(tiny)[0]["seconds_left"] is None
    assert tiny(*ASK, "--keepalive", "1h", PROMPT).code == 0
    assert 3500 < kept(tiny)[0]["seconds_left"] <= 3600
    process = worker(tiny)
    assert tiny(*ASK, "--keep", "0", PROMPT).code == 0
    assert wait_until_gone(process, 20)
    until(lambda: left(tiny) == [] or None)


def test_a_time_longer_than_a_selector_waits(tiny: Program) -> None:
    assert tiny(*ASK, "--keep", "1000h", PROMPT).code == 0
    before = worker(tiny)
    assert tiny(*ASK, PROMPT).code == 0
    assert worker(tiny) == before


def test_stop_unloads_by_name_and_is_done_when_it_returns(tiny: Program) -> None:
    assert tiny("cp", "tiny", "other").code == 0
    tiny(*ASK, "--keep", "5m", PROMPT)
    process = worker(tiny)
    assert tiny("stop", "other").code == 3
    assert tiny("stop").code == tiny("stop", "tiny", "--all").code == 2
    assert tiny("stop", "tiny", "--json").json["stopped"] == ["tiny:latest"]
    assert wait_until_gone(process, 0.1)
    assert left(tiny) == []


def test_a_long_time_is_a_long_time(tiny: Program) -> None:
    """A selector takes no more than 24 days."""
    assert tiny(*ASK, "--keep", "1000h", PROMPT).code == 0
    before = worker(tiny)
    assert tiny(*ASK, PROMPT).code == 0
    assert worker(tiny) == before
    assert kept(tiny)[0]["seconds_left"] > 3_500_000
    assert tiny("stop", "TINY").code == 0


def test_verify_loads_anew_whatever_is_kept(tiny: Program) -> None:
    tiny(*ASK, "--keep", "5m", PROMPT)
    before = worker(tiny)
    assert tiny(*ASK, "--verify", PROMPT).code == 0
    assert worker(tiny) == before
    assert tiny(*ASK, "--verify", "--keep", "5m", PROMPT).code == 0
    assert wait_until_gone(before, 20)
    assert worker(tiny) != before


def test_a_conversation_keeps_one_model_at_a_time(tiny: Program) -> None:
    with Terminal(tiny, "tiny", "--keep", "5m", "--max-tokens", "3") as terminal:
        terminal.ask("hello")
        before = worker(tiny)
        terminal.ask("/set parameter num_ctx 256")
        assert terminal.ask("hello")
        assert wait_until_gone(before, 20)
        assert kept(tiny)[0]["context_length"] == 256
        terminal.keys(CTRL_D)
        terminal.child.wait()
    assert kept(tiny)[0]["context_length"] == 256


def test_a_worker_in_use_is_not_waited_for(tiny: Program) -> None:
    """Two runs at once: the second loads one of its own rather than queue behind an endless answer."""
    process = tiny.start(*ENDLESS, "--keep", "5m", "the")
    assert process.stdout is not None
    assert process.stdout.read(20)
    (model,) = kept(tiny)
    assert model["in_use"]
    ask = (*ENDLESS[:-3], "3", *ENDLESS[-2:])
    assert tiny(*ask, "--keep", "5m", PROMPT).code == 0
    assert worker(tiny) == model["pid"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: not kept(tiny)[0]["in_use"] or None)
    assert tiny(*ask, PROMPT).code == 0


def test_runs_that_start_together_end_with_one_kept(tiny: Program) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: tiny(*ASK, "--keep", "5m", PROMPT), range(4)))
    assert {(outcome.code, outcome.out) for outcome in outcomes} == {(0, outcomes[0].out)}
    # one holder's folder, its worker's, and the link to the first
    until(lambda: len(left(tiny)) == 3 or None)
    assert len(kept(tiny)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_holders_take_their_worker_along(tiny: Program, number: int) -> None:
    tiny(*ASK, "--keep", "5m", PROMPT)
    process = worker(tiny)
    os.kill(parent(process), number)
    assert wait_until_gone(process, 20)
    until(lambda: kept(tiny) == [] or None)
    assert tiny(*ASK, PROMPT).code == 0  # and sweeps what a SIGKILL left
    assert left(tiny) == []
    assert tiny(*ASK, "--keep", "5m", PROMPT).code == 0
    assert worker(tiny) != process


def test_a_killed_run_leaves_the_worker_for_the_next(tiny: Program) -> None:
    process = tiny.start(*ENDLESS, "--keep", "5m", "the")
    assert process.stdout is not None
    assert process.stdout.read(20)
    before = worker(tiny)
    process.kill()
    process.communicate()
    until(lambda: not kept(tiny)[0]["in_use"] or None)
    outcome = tiny("run", "tiny", "--raw", "--ctx", "100000", "--max-tokens", "3", "the")
    assert outcome.code == 0
    assert worker(tiny) == before


def test_who_cannot_be_found_any_more_leaves_with_its_user(tiny: Program) -> None:
    """Somebody cleared the folder up, for example at the end of a login."""
    process = tiny.start(*ENDLESS, "--keep", "-1", "the")
    assert process.stdout is not None
    assert process.stdout.read(20)
    before = worker(tiny)
    (link,) = [path for path in left(tiny) if path.is_symlink()]
    link.unlink()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert wait_until_gone(before, 20)
    until(lambda: left(tiny) == [] or None)


@pytest.mark.parametrize("mode", ["open to others", "without a link"])
def test_where_nobody_would_find_it_nothing_stays(tiny: Program, mode: str) -> None:
    base = Path(tiny.environment["XDG_RUNTIME_DIR"]) / f"slmctl-{os.geteuid()}"
    if mode == "open to others":
        base.mkdir(mode=0o755)
    else:  # a folder with something in it cannot be replaced by a link
        tiny(*ASK, "--keep", "5m", PROMPT)
        (link,) = [path for path in left(tiny) if path.is_symlink()]
        tiny("stop", "--all")
        (link / "in").mkdir(parents=True)
    outcome = tiny(*ASK, "--keep", "-1", PROMPT)
    assert outcome.code == 0
    assert "The model does not stay loaded: " in outcome.err
    assert kept(tiny) == []
    runtime = Path(tiny.environment["XDG_RUNTIME_DIR"])
    until(lambda: list(runtime.glob("slmctl-*/w-*")) == [] or None)


def test_who_has_no_descriptor_left_for_a_visitor_leaves(tiny: Program) -> None:
    """Nobody could reach it, and to wait for who stands at the door would take a whole CPU."""
    tiny(*ASK, "--keep", "-1", PROMPT)
    before = worker(tiny)
    _, hard = resource.prlimit(parent(before), resource.RLIMIT_NOFILE)
    resource.prlimit(parent(before), resource.RLIMIT_NOFILE, (3, hard))
    assert tiny(*ASK, PROMPT).code == 0
    assert wait_until_gone(before, 20)
    until(lambda: left(tiny) == [] or None)


def test_a_worker_that_dies_while_it_is_kept_is_replaced(tiny: Program) -> None:
    tiny(*ASK, "--keep", "5m", PROMPT)
    os.kill(worker(tiny), signal.SIGKILL)
    until(lambda: left(tiny) == [] or None)
    assert tiny(*ASK, "--keep", "5m", PROMPT).code == 0
    assert len(kept(tiny)) == 1


def test_the_death_of_a_kept_worker_is_told_in_a_sentence(tiny: Program) -> None:
    process = tiny.start(*ENDLESS, "--keep", "5m", "the")
    assert process.stdout is not None
    assert process.stdout.read(20)
    os.kill(worker(tiny), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    sentence, hint = err.decode().splitlines()
    assert sentence.startswith("slmctl: ")
    assert "killed" in sentence
    assert hint.strip()


@pytest.mark.parametrize("kind", ["aborts", "unknown"])
def test_a_model_that_does_not_load_says_the_same_as_without(
    slmctl: Program, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    data = tiny_model.read_bytes()
    bad = tmp_path / "bad.gguf"
    if kind == "aborts":
        key = b"llama.block_count" + struct.pack("<I", 4)
        at = data.index(key) + len(key)
        bad.write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
    else:
        bad.write_bytes(data.replace(b"llama", b"zlama"))
    assert slmctl("create", "bad", "--from", str(bad)).code == 0
    without = slmctl("run", "bad", "hello")
    held = slmctl("run", "bad", "--keep", "5m", "hello")
    assert (held.code, held.out, held.err) == (without.code, without.out, without.err)
    assert held.code == (1 if kind == "aborts" else 4)
    assert kept(slmctl) == []
    until(lambda: left(slmctl) == [] or None)


def test_an_interrupt_while_it_loads_leaves_nothing(tiny: Program) -> None:
    """At thirty moments of the start."""
    for tenths in range(30):
        process = tiny.start(*ENDLESS, "--keep", "0.5s", "the")
        try:
            process.wait(0.05 + tenths / 100)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    until(lambda: left(tiny) == [] or None)


def test_a_conversation_leaves_it_too(tiny: Program) -> None:
    with Terminal(tiny, "tiny", "--keep", "5m", "--max-tokens", "3") as terminal:
        assert terminal.ask("hello")
        assert kept(tiny)[0]["in_use"]
        terminal.keys(CTRL_D)
        terminal.child.wait()
    before = worker(tiny)
    with Terminal(tiny, "tiny", "--max-tokens", "3") as terminal:
        assert terminal.ask("hello")
        assert worker(tiny) == before
        os.kill(before, signal.SIGKILL)  # the conversation goes on with another
        terminal.ask("hello")
        assert terminal.ask("hello")


def test_what_stands_in_the_way_is_no_holder(tiny: Program) -> None:
    """A link that leads elsewhere, and a folder without a socket: a run loads its own."""
    tiny(*ASK, "--keep", "5m", PROMPT)
    (link,) = [path for path in left(tiny) if path.is_symlink()]
    tiny("stop", "--all")
    for target in ("../../elsewhere", "w-00000000", "/etc"):
        link.symlink_to(target)
        assert tiny(*ASK, PROMPT).code == 0
        assert kept(tiny) == []
        link.unlink(missing_ok=True)  # a run sweeps those that lead nowhere


def test_a_folder_that_others_may_replace_is_not_looked_into(tiny: Program) -> None:
    tiny(*ASK, "--keep", "5m", PROMPT)
    runtime = Path(tiny.environment["XDG_RUNTIME_DIR"])
    assert len(kept(tiny)) == 1
    runtime.chmod(0o777)
    assert kept(tiny) == []
    runtime.chmod(0o1777)
    assert len(kept(tiny)) == 1
    runtime.chmod(0o700)


@pytest.mark.parametrize("time", ["5 minutes", "", "x"])
def test_a_bad_time_is_refused_before_anything_is_loaded(tiny: Program, time: str) -> None:
    outcome = tiny(*ASK, "--keep", time, PROMPT)
    assert outcome.code == 2
    assert "--keep takes a length of time" in outcome.err
