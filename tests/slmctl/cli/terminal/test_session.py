"""The prompt of `slmctl run NAME`, driven through a pty."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelfiles.authoring import from_text
from tests.processes import children, until, wait_until_gone
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.terminal.driver import CTRL_C, CTRL_D, ENTER, UP, Terminal, pasted, plain
from tools.random_model import TINY, WORDS, write_random_model

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning"),
]

SHORT = ("--max-tokens", "8")
ENDLESS = ("--max-tokens", "90000", "--ctx", "100000")
"""An answer that is not over before somebody stops it."""

TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}no no no no{% endif %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


@pytest.fixture
def tiny(slmctl: Program, tiny_model: Path) -> Program:
    """A model without a chat template, in the store."""
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    return slmctl


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chat") / "chat.gguf"
    # trained for so much context that an answer can go on for minutes: engines cap a context there
    shape = replace(TINY, context=131072)
    write_random_model(path, shape=shape, chat_template=TEMPLATE, metadata={"general.license": "MIT"})
    return path


@pytest.fixture
def chat(slmctl: Program, chat_model: Path) -> Program:
    """A model with a chat template, in the store."""
    assert slmctl("create", "chat", "--from", str(chat_model)).code == 0
    return slmctl


def folders(slmctl: Program) -> list[Path]:
    """The folders of workers."""
    return list(Path(slmctl.environment["XDG_RUNTIME_DIR"]).glob("slmctl-*/w-*"))


def words_of(answer: str) -> list[str]:
    """The words of an answer that a random model gave, without what was typed."""
    return [word for word in answer.split() if word in WORDS]


def prompt_tokens(answer: str) -> int:
    """How long --verbose says the prompt was."""
    match = re.search(r"prompt eval count: +(\d+) token", answer)
    assert match is not None, answer
    return int(match[1])


# Coming and going


@pytest.mark.parametrize("keys", [CTRL_D, f"/bye{ENTER}", f"/exit{ENTER}", f"  {ENTER}{CTRL_D}"])
def test_leaving_leaves_nothing(tiny: Program, keys: str) -> None:
    with Terminal(tiny, "tiny", *SHORT) as terminal:
        assert "tiny:latest (gguf-f32, 2048 tokens of context)" in terminal.greeting
        worker = terminal.worker
        assert len(words_of(terminal.ask("hello"))) == 8
        assert terminal.leave(keys) == 0
        assert wait_until_gone(worker, 20)
    assert folders(tiny) == []


@pytest.mark.parametrize("during_an_answer", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_session(tiny: Program, number: int, code: int, during_an_answer: bool) -> None:
    with Terminal(tiny, "tiny", *ENDLESS) as terminal:
        worker = terminal.worker
        if during_an_answer:
            terminal.enter("hello")
            terminal.child.expect(r"\w+ \w+ \w+")
        os.kill(terminal.pid, number)
        assert terminal.end() == code
        assert wait_until_gone(worker, 20)


def test_a_terminal_that_goes_away_ends_the_session(tiny: Program) -> None:
    with Terminal(tiny, "tiny", *SHORT) as terminal:
        worker = terminal.worker
        terminal.hang_up()
        assert wait_until_gone(worker, 20)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nosuch",), 3, "There is no model nosuch in the store."),
        (("tiny", "--variant", "q9"), 3, "has no variant 'q9'"),
        (("tiny", "-o", "main_gpu=99"), 2, "must lie between 0 and 64"),
        (("tiny", "--json"), 2, "There is no prompt."),
    ],
)
def test_what_cannot_begin_says_why(
    tiny: Program, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    terminal = Terminal(tiny, *arguments)
    terminal.expect(sentence)
    assert terminal.end() == code


# Typing


def test_history_lasts_and_arrow_up_finds_it(tiny: Program) -> None:
    with Terminal(tiny, "tiny", *SHORT, "--temperature", "0") as terminal:
        first = terminal.ask("the old king")
        terminal.ask('"""two\nlines"""')
        assert terminal.leave() == 0
    file = tiny.home / "history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Terminal(tiny, "tiny", *SHORT, "--temperature", "0") as terminal:
        again = terminal.ask(f"{UP * 3}")  # past the two lines of the newest entry
        assert words_of(again) == words_of(first)
        terminal.ask("/set nohistory")
        terminal.ask("nobody keeps this")
        terminal.ask("/set history")
        assert terminal.leave() == 0
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert entries == ["the old king", '"""two\nlines"""', "the old king", "/set nohistory"]


@pytest.mark.parametrize("kind", ["folder", "rubbish"])
def test_a_history_that_cannot_be_used_harms_nothing(tiny: Program, kind: str) -> None:
    file = tiny.home / "history"
    if kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(b'\xff\xfe\n{"a":\n[1]\n"good"\n"half')
    with Terminal(tiny, "tiny", *SHORT) as terminal:
        assert words_of(terminal.ask("hello"))
        assert words_of(terminal.ask(f"{UP}{UP}"))  # "good" of the rubbish, else "hello"
        assert terminal.leave() == 0
    if kind == "rubbish":
        assert file.read_text(errors="replace").splitlines()[-1] == '"good"'


def test_lines_between_triple_quotes_are_one_prompt(chat: Program) -> None:
    with Terminal(chat, "chat", *SHORT, "--verbose") as terminal:
        one = prompt_tokens(terminal.ask("one two three"))
        terminal.ask("/clear")
        terminal.keys(f'"""{ENTER}')
        terminal.expect("...")
        terminal.keys(f"one two{ENTER}")
        several = terminal.ask('three"""')
        assert one <= prompt_tokens(several) <= one + 5  # line breaks are tokens too
        terminal.leave()
    assert json.loads((chat.home / "history").read_text().splitlines()[-1]) == '"""\none two\nthree"""'


def test_pasted_line_breaks_are_kept(tiny: Program) -> None:
    with Terminal(tiny, "tiny", *SHORT) as terminal:
        assert words_of(terminal.ask(pasted("one\ntwo\r\nthree")))
        terminal.leave()
    assert json.loads((tiny.home / "history").read_text()) == "one\ntwo\nthree"


def test_ctrl_c_at_the_prompt_clears_the_line(tiny: Program) -> None:
    with Terminal(tiny, "tiny", *SHORT) as terminal:
        terminal.keys(f"never sent{CTRL_C}")
        assert "Ctrl-D or /bye leaves." in terminal.until_prompt()
        assert words_of(terminal.ask("hello"))
        assert terminal.leave() == 0
    assert json.loads((tiny.home / "history").read_text()) == "hello"


# Answers


def test_the_conversation_is_kept_until_it_is_cleared(chat: Program) -> None:
    with Terminal(chat, "chat", *SHORT, "--verbose") as terminal:
        first = prompt_tokens(terminal.ask("hello"))
        second = prompt_tokens(terminal.ask("hello"))
        assert second >= first + 8
        assert "forgotten" in terminal.ask("/clear")
        assert prompt_tokens(terminal.ask("hello")) == first
        terminal.leave()


def test_ctrl_c_stops_the_answer_and_nothing_else(chat: Program) -> None:
    with Terminal(chat, "chat", *ENDLESS, "--verbose") as terminal:
        worker = terminal.worker
        for _ in range(2):
            terminal.enter("hello")
            terminal.child.expect(r"\w+ \w+ \w+")
            terminal.keys(CTRL_C)
            terminal.until_prompt()
        terminal.ask("/set parameter num_predict 5")
        answer = terminal.ask("hello")
        assert "load duration" not in answer  # it is the same worker
        assert prompt_tokens(answer) > 20  # what was said before it was stopped is remembered
        assert terminal.worker == worker
        assert terminal.leave() == 0


def test_a_worker_that_dies_is_told_of_and_replaced(chat: Program) -> None:
    with Terminal(chat, "chat", *ENDLESS, "--verbose") as terminal:
        first = terminal.worker
        terminal.enter("hello")
        terminal.child.expect(r"\w+ \w+ \w+")
        os.kill(first, signal.SIGKILL)
        shown = terminal.until_prompt()
        assert len([line for line in shown.splitlines() if line.startswith("slmctl: ")]) == 1
        assert "killed" in shown
        terminal.ask("/set parameter num_predict 5")
        answer = terminal.ask("hello")
        assert "load duration" in answer
        assert words_of(answer)
        second = terminal.worker
        assert second != first
        os.kill(second, signal.SIGKILL)  # between two questions nobody has to hear of it
        until(lambda: folders(chat) == [] or None)
        assert len(words_of(terminal.ask("hello").partition("load duration")[0])) == 5
        assert len(children(terminal.pid)) == 1
        assert terminal.leave() == 0


def test_a_conversation_beyond_the_context_is_a_sentence(chat: Program) -> None:
    with Terminal(chat, "chat", *SHORT, "--ctx", "64") as terminal:
        shown = terminal.ask(pasted("the old king " * 200))
        assert "slmctl: " in shown
        assert "/clear" in shown
        assert words_of(terminal.ask("hello"))
        assert terminal.leave() == 0


# The screen


def test_eighty_columns_without_colour(chat: Program) -> None:
    arguments = ("chat", "--max-tokens", "200", "--temperature", "0")
    with Terminal(chat, *arguments, environment={"NO_COLOR": "1"}) as terminal:
        raw = terminal.raw("hello")
        assert re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", raw) is None
        lines = plain(raw).strip("\n").split("\n")
        assert 70 < max(map(len, lines)) <= 80
        assert len(words_of(" ".join(lines))) == 200
        terminal.leave()


def test_a_dumb_terminal_is_sent_text_only(chat: Program) -> None:
    terminal = Terminal(chat, "chat", *SHORT, environment={"TERM": "dumb"})
    with terminal.child:
        terminal.expect(">>> ")
        for entry in ("hello", "hello"):
            terminal.keys(f"{entry}{ENTER}")
            terminal.expect(">>> ")
            assert terminal.child.before is not None
            assert "\x1b" not in terminal.child.before
            assert len(words_of(terminal.child.before)) == 8
        assert terminal.leave() == 0


def test_a_resized_terminal_wraps_anew(tiny: Program) -> None:
    with Terminal(tiny, "tiny", "--max-tokens", "60") as terminal:
        wide = terminal.ask("hello").split("\n")
        terminal.child.setwinsize(24, 40)
        shown = terminal.ask("hello")
        while not words_of(shown):  # the prompt was drawn anew, once or twice
            shown = terminal.until_prompt()
        narrow = shown.strip("\n").split("\n")
        assert 60 < max(map(len, wide)) <= 80
        assert 30 < max(map(len, narrow)) <= 40
        terminal.leave()


def test_a_terminal_resized_in_the_middle_of_an_answer(tiny: Program) -> None:
    with Terminal(tiny, "tiny", *ENDLESS) as terminal:
        terminal.enter("hello")
        terminal.child.expect(r"\r\n[^\r\n]{60,80}\r\n")
        terminal.child.setwinsize(24, 30)
        for _ in range(3):
            terminal.child.expect(r"\r\n[^\r\n]{15,30}(?=\r\n)")
        terminal.keys(CTRL_C)
        terminal.until_prompt()
        assert terminal.leave() == 0


def test_one_answer_on_a_terminal_is_wrapped_too(tiny: Program) -> None:
    terminal = Terminal(tiny, "tiny", "--max-tokens", "60", "hello", columns=50)
    assert terminal.end() == 0
    assert terminal.child.before is not None
    lines = plain(terminal.child.before).split("\n")
    assert max(map(len, lines[1:])) <= 50


def test_an_answer_without_a_prompt_line_does_not_wait_for_its_library() -> None:
    code = "import sys, slmctl.cli.commands.run; sys.exit('prompt_toolkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_thinking_can_be_asked_for(chat: Program) -> None:
    ask = ("run", "chat", "--json", *SHORT, "hello")
    thinking = chat(*ask, "--think").json["prompt_tokens"]
    assert chat(*ask, "--no-think").json["prompt_tokens"] > thinking
    assert "for '--think': 'much'" in chat(*ask, "--think=much").json["error"]["message"]
    assert chat(*ask, "--system", "--think=much").code == 0  # that is a text
    with Terminal(chat, "chat", *SHORT, "--verbose", "--think") as terminal:
        assert prompt_tokens(terminal.ask("hello")) == thinking
        terminal.leave()


def test_thinking_and_format_can_be_set(chat: Program) -> None:
    with Terminal(chat, "chat", *SHORT, "--verbose") as terminal:
        terminal.ask("/set nothink")
        without = prompt_tokens(terminal.ask("hello"))
        terminal.ask("/clear")
        terminal.ask("/set think low")
        assert prompt_tokens(terminal.ask("hello")) < without
        terminal.ask("/set format json")
        assert plain(terminal.ask("hello")).lstrip().startswith("{")
        terminal.ask("/set noformat")
        assert words_of(terminal.ask("hello"))
        terminal.leave()


# Commands


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ("/?", "/set parameter NAME VALUE"),
        ("/help", "Ctrl-D"),
        ("/show info", "architecture"),
        ("/show system", "There is no system message"),
        ("/show parameters", "num_predict 8"),
        ("/show license", "MIT"),
        ("/show template", "add_generation_prompt"),
        ("/show modelfile", "FROM chat:latest"),
        ("/show", "/show takes one word more."),
        ("/show sistem", "Did you mean system?"),
        ("/set", "/set takes one word more."),
        ("/set colour", "/set knows no 'colour'."),
        ("/set parameter seed 7", "seed is set to 7."),
        ("/set parameter num_ctx 100", "the model is loaded anew for the next question"),
        ("/set parameter seed", "takes a name and a value"),
        ("/set parameter seed many", "The parameter seed takes a whole number"),
        ("/set parameter tempersture 1", "Did you mean temperature?"),
        ("/set system be kind", "The system message is set."),
        ("/set think", "The model is asked to think first."),
        ("/set think high", "The model is asked to think first."),
        ("/set think hihg", "Did you mean high?"),
        ("/set nothink", "The model is asked not to think first."),
        ("/set format json", "Answers are JSON now."),
        ('/set format {"type": "object"}', "Answers are JSON now."),
        ("/set format", "/set format takes json or a schema."),
        ('/set format {"type": "nosuch"}', "The schema is no JSON Schema"),
        ("/set noformat", "Answers are plain text again."),
        ("/set verbose", "Timings are shown."),
        ("/set quiet", "Timings are not shown."),
        ("/set nowordwrap", "Words are not wrapped."),
        ("/set wordwrap", "Words are wrapped."),
        ("/set nohistory", "Entries are not kept"),
        ("/set history", "Entries are kept"),
        ("/clear", "The conversation is forgotten."),
        ("/load nosuch", "There is no model nosuch in the store."),
        ("/load", "/load takes the name of a model."),
        ("/load ./x", "is a file"),
        ("/save a b", "/save takes the name of a model."),
        ("/save ://", "is not a model name"),
        ("/hlep", "Did you mean /help?"),
        ("/", "There is no command '/'."),
        ("/etc/passwd says", "There is no command '/etc/passwd'."),
    ],
)
def test_commands(chat_terminal: Terminal, entry: str, shown: str) -> None:
    assert shown in " ".join(chat_terminal.ask(entry).split())


@pytest.fixture(scope="module")
def chat_terminal(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    """One session that many commands are typed into."""
    folder = tmp_path_factory.mktemp("session")
    runtime = folder / "run"
    runtime.mkdir()
    slmctl = Program(folder / "home", runtime)
    assert slmctl("create", "chat", "--from", str(chat_model)).code == 0
    with Terminal(slmctl, "chat", *SHORT) as terminal:
        terminal.ask("/set parameter num_predict 8")
        yield terminal
        assert terminal.leave() == 0


def test_what_is_set_counts(chat: Program) -> None:
    with Terminal(chat, "chat", "--verbose") as terminal:
        terminal.ask("/set parameter num_predict 3")
        before = terminal.ask("hello")
        assert len(words_of(plain(before).partition("prompt eval")[0])) == 3
        terminal.ask("/clear")
        terminal.ask("/set system be very good")
        assert prompt_tokens(terminal.ask("hello")) > prompt_tokens(before)
        assert "be very good" in terminal.ask("/show system")
        assert 'SYSTEM """be very good"""' in terminal.ask("/show modelfile")
        assert "num_predict" in terminal.ask("/show parameters")
        terminal.ask("/set parameter num_ctx 777")
        assert "load duration" in terminal.ask("hello")
        terminal.leave()


def test_save_makes_a_model_of_the_session(chat: Program) -> None:
    with Terminal(chat, "chat") as terminal:
        terminal.ask("/set parameter temperature 0.25")
        terminal.ask('/set parameter stop "a b" c')
        terminal.keys(f'/set system """be{ENTER}')
        terminal.ask('good"""')
        modelfile = terminal.ask("/show modelfile")
        assert "created 'mine'" in terminal.ask("/save mine")
        assert "created 'mine'" in terminal.ask("/save mine")
        assert terminal.leave() == 0
    spec = chat("show", "mine", "--json").json["variants"][0]["spec"]
    assert spec["system"] == "be\ngood"
    assert spec["parameters"] == {"temperature": 0.25, "stop": ["a b", "c"]}
    assert from_text(modelfile).spec.to_json() == spec


def test_load_goes_on_with_another_model(chat: Program, tiny_model: Path) -> None:
    assert chat("create", "other", "--from", str(tiny_model)).code == 0
    with Terminal(chat, "chat", *SHORT, "--verbose") as terminal:
        first = terminal.worker
        terminal.ask("hello")
        assert "other:latest is loaded" in terminal.ask("/load other")
        assert terminal.worker != first
        assert wait_until_gone(first, 20)
        assert "other:latest" in terminal.ask("/show info")
        answer = terminal.ask("hello")
        assert words_of(answer)
        assert prompt_tokens(answer) < 10
        assert terminal.leave() == 0
