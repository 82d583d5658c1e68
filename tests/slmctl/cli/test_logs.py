"""`slmctl logs`: what the engine wrote, from another terminal, afterwards, and after every kind of end."""

from __future__ import annotations

import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtimes.logfile import LogFile
from slmctl.app.logs import KEPT_MODELS, KEPT_STARTS, begin_log, follow_log, has_log, newest_log
from tests.processes import until, wait_until_gone, worker_of
from tests.slmctl.cli.program import Program
from tools.random_model import TINY, write_random_model

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if 'complain' in messages[-1].content %}{{ raise_exception('not ' + messages[-1].content) }}{% endif %}"
)
ENDLESS = ("--raw", "--max-tokens", "90000", "--ctx", "100000", "the")


@pytest.fixture
def chatty(slmctl: Program, tmp_path: Path) -> Program:
    """With a model that has a chat template, which complains when it is asked to."""
    path = tmp_path / "chatty.gguf"
    write_random_model(path, shape=replace(TINY, context=131072), chat_template=TEMPLATE)
    assert slmctl("create", "chatty", "--from", str(path), "--move").code == 0
    return slmctl


def kept(slmctl: Program) -> list[Path]:
    return sorted((slmctl.home / "logs").iterdir())


def test_a_log_tells_of_the_start_and_of_the_end(chatty: Program) -> None:
    nothing = chatty("logs")
    assert (nothing.code, nothing.err.splitlines()[0]) == (3, "slmctl: No model has run yet.")
    assert nothing.hint
    never = chatty("logs", "chatty")
    assert (never.code, "There is no log of a model chatty." in never.err) == (3, True)
    unknown = chatty("logs", "chaty")
    assert (unknown.code, "no model chaty in the store" in unknown.err) == (3, True)
    assert "chatty" in unknown.hint

    assert chatty("run", "chatty", "--max-tokens", "3", "hello").code == 0
    outcome = chatty("logs", "chatty")
    assert (outcome.code, outcome.err) == (0, "")
    first, *lines, last = outcome.out.splitlines()
    assert first.startswith("chatty:latest (gguf-f32, llama.cpp), started 2")
    assert any("model loaded" in line for line in lines)
    assert any("processing task" in line for line in lines)  # what comes at the very end may be lost
    assert last == "The engine was stopped."
    assert chatty("logs").out == outcome.out
    assert chatty("logs", "CHATTY:latest").out == outcome.out

    document = chatty("logs", "--json").json
    assert (document["name"], document["ended"], document["returncode"]) == ("chatty:latest", "stopped", 0)
    assert document["lines"] == lines


def test_the_newest_start_is_shown_and_each_name_has_its_own(chatty: Program) -> None:
    chatty("cp", "chatty", "ns/Other:v1")
    for name, context in (("chatty", 256), ("ns/other:V1", 512), ("chatty", 768)):
        assert chatty("run", name, "--ctx", str(context), "--max-tokens", "1", "x").code == 0
    assert "n_ctx_slot = 768," in chatty("logs").out
    assert "n_ctx_slot = 256," not in chatty("logs").out
    assert "n_ctx_slot = 512," in chatty("logs", "ns/other:V1").out
    assert chatty("logs", "ns/other:V1").out.startswith("ns/Other:v1 (")
    assert chatty("rm", "chatty").code == 0
    assert "n_ctx_slot = 768," in chatty("logs", "chatty").out, "a model that is gone still has its log"


def test_only_its_owner_may_read_it(chatty: Program) -> None:
    old = os.umask(0)
    try:
        assert chatty("run", "chatty", "--max-tokens", "1", "x").code == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE((chatty.home / "logs").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept(chatty)] == [0o600]


def test_nothing_of_prompts_and_answers_is_in_it(chatty: Program) -> None:
    """Each secret is a word of its own; the answers are the model's words."""
    asks = (
        ("--system", "secretsystem", "secretuser tell me"),
        ("--raw", "secretraw once upon a"),
        ("-o", "stop=secretstop", "hello"),
        ("--ctx", "64", "secretlong " * 500),  # refused
        ("complain about secretcomplaint\nand secretsecondline",),  # refused by the template, which quotes it
    )
    codes = []
    for ask in asks:
        outcome = chatty("run", "chatty", "--max-tokens", "20", "--verbose", *ask, "--json")
        codes.append(outcome.code)
        log = chatty("logs").out
        assert "processing task" in log or outcome.code, "the log has seen the question"
        assert "secret" not in log
        answer = outcome.json.get("response", "").split()
        assert outcome.code or len(answer) >= 15
        phrases = [" ".join(answer[start : start + 3]) for start in range(len(answer) - 2)]
        assert [phrase for phrase in phrases if phrase in log] == []
    assert codes == [0, 0, 0, 1, 1]
    assert "got exception" in chatty("run", "chatty", "--verbose", "complain about secretcomplaint").err
    assert "operator(): [left out]" in chatty("logs").out
    for path in kept(chatty):
        assert b"secret" not in path.read_bytes()


@linux_only
def test_it_can_be_read_while_the_model_runs_and_after_a_kill(chatty: Program) -> None:
    process = chatty.start("run", "chatty", *ENDLESS)
    assert process.stdout is not None
    assert process.stdout.read(20)
    worker = until(lambda: worker_of(process.pid))
    running = until(lambda: found if "processing task" in (found := chatty("logs").out) else None)
    assert "The engine was" not in running
    assert chatty("logs", "--json").json["ended"] is None
    process.kill()
    process.communicate(timeout=60)
    assert wait_until_gone(worker, 20)
    assert "processing task" in chatty("logs", "chatty").out
    assert chatty("run", "chatty", "--max-tokens", "1", "x").code == 0  # sweeps the folder that was left


@linux_only
def test_it_can_be_followed_to_its_end(chatty: Program) -> None:
    process = chatty.start("run", "chatty", *ENDLESS)
    assert process.stdout is not None
    assert process.stdout.read(20)
    with chatty.start("logs", "--follow") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().startswith(b"chatty:latest (")
        while b"processing task" not in follower.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert follower.stdout.read().splitlines()[-1] == b"The engine was stopped."
        assert follower.wait(60) == 0
    assert chatty("logs", "-f").out == chatty("logs").out
    assert chatty("logs", "-f", "--json").code == 2


def test_following_misses_nothing_where_a_file_is_full(tmp_path: Path) -> None:
    path = begin_log(tmp_path, name="m:latest", variant="v", engine="e")
    assert path is not None
    file = LogFile(path, lambda _: None)
    lines = [f"line {number} {'x' * 80}" for number in range(2000)]
    followed = follow_log(newest_log(tmp_path))
    seen = []
    for line in lines:
        file.feed(0, f"{line}\n".encode())
        seen.append(next(followed))
    file.feed(0, b"half a ")
    file.feed(0, b"line\n")
    seen.append(next(followed))
    file.close('{"ended": "stopped", "returncode": 0}')
    assert list(followed) == []
    assert seen == [*lines, "half a line"]
    kept_lines = list(follow_log(newest_log(tmp_path)))
    assert kept_lines == seen[-len(kept_lines) :]
    assert len(kept_lines) > 300


@linux_only
def test_a_crash_is_told(chatty: Program) -> None:
    process = chatty.start("run", "chatty", *ENDLESS)
    assert process.stdout is not None
    assert process.stdout.read(20)
    os.kill(until(lambda: worker_of(process.pid)), signal.SIGKILL)
    process.communicate(timeout=60)
    assert chatty("logs").out.splitlines()[-1] == "The engine was ended by SIGKILL."
    document = chatty("logs", "--json").json
    assert (document["ended"], document["returncode"]) == ("crashed", -signal.SIGKILL)


def test_a_model_that_cannot_be_loaded_leaves_the_engines_words(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    write_random_model(path)
    path.write_bytes(path.read_bytes().replace(b"llama", b"zlama"))
    assert slmctl("create", "new", "--from", str(path)).code == 0
    assert slmctl("run", "new", "hello").code == 4
    log = slmctl("logs", "new").out
    assert "unknown model architecture: 'zlama'" in log
    assert log.splitlines()[-1] == "The engine ended by itself with exit code 1."


def test_a_home_that_takes_no_log_runs_the_model(chatty: Program, tmp_path: Path) -> None:
    run = ("run", "chatty", "--max-tokens", "2", "x")
    environment = {"SLMCTL_HOME": "/proc/slmctl", "SLMCTL_STORE": str(chatty.store)}
    outcome = chatty(*run, environment=environment)
    assert (outcome.code, outcome.err) == (0, "")
    assert chatty("logs", environment=environment).code == 3
    (chatty.home / "logs").write_text("in the way")
    outcome = chatty(*run)
    assert (outcome.code, outcome.err) == (0, "")
    assert chatty("logs").code == 3


def test_what_an_engine_wrote_cannot_steer_the_terminal(chatty: Program) -> None:
    assert chatty("run", "chatty", "--max-tokens", "1", "x").code == 0
    with kept(chatty)[0].open("ab") as stream:
        stream.write(b"\x1b]0;title\x07\x1b[31m red\r\xff\xe2\x80\xae\n\0")
    outcome = chatty("logs")
    assert outcome.code == 0
    assert all(char.isprintable() or char == "\n" for char in outcome.out), outcome.out
    assert chatty("logs", "--json").code == 0


def test_a_file_that_is_no_log_is_passed_over(chatty: Program) -> None:
    assert chatty("run", "chatty", "--max-tokens", "1", "x").code == 0
    mine = kept(chatty)[0]
    for number, content in enumerate((b"", b"[1]\n", b"\xff\0", b"{" * 100_000), start=2):
        mine.with_name(mine.name.replace(".1.log", f".{number}.log")).write_bytes(content)
    (mine.parent / "notes.txt").write_text("mine")
    assert "model loaded" in chatty("logs", "chatty").out
    assert chatty("run", "chatty", "--max-tokens", "1", "x").code == 0
    assert (mine.parent / "notes.txt").exists()


NAMES = ("a:latest", "A:latest", "a/b:c", "../../x:y", "hf.co/o/r:Q4", ".", "n" * 2000, "e\nv\0il", "\u65e5")


def test_names_become_files_of_the_folder_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in NAMES:
        path = begin_log(home, name=name, variant="v", engine="e")
        assert path is not None
        assert path.parent == home / "logs"
        assert path.name == path.name.lower()
        assert newest_log(home).name == newest_log(home, name).name == name
    assert len({path.name.casefold() for path in (home / "logs").iterdir()}) == len(NAMES)
    assert list(tmp_path.iterdir()) == [home]


def test_so_many_starts_and_models_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT_MODELS + 10):
        for _ in range(KEPT_STARTS + 3 if number % 10 == 0 else 1):
            path = begin_log(tmp_path, name=f"m{number}:latest", variant="v", engine="e")
            assert path is not None
            path.with_name(f"{path.name}.1").write_bytes(path.read_bytes())
    files = [path.name for path in (tmp_path / "logs").iterdir()]
    models = {name.partition("_")[0] for name in files}
    assert models == {f"m{number}" for number in range(10, KEPT_MODELS + 10)}
    assert len([name for name in files if name.startswith("m40_")]) == 2 * KEPT_STARTS
    assert has_log(tmp_path, "m41:latest")
    assert not has_log(tmp_path, "m0:latest")
