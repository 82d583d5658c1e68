"""A model without a chat template is told of once, and gets plain text."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.gguf_copies import write_copy
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.terminal.driver import Terminal, plain

SHORT = ("--temperature", "0", "--max-tokens", "8")
SAID = "bare:latest has no chat template"


@pytest.fixture
def bare(slmctl: Program, tmp_path: Path) -> Program:
    """With hello, from whose file somebody took the chat template."""
    write_copy(tmp_path / "bare.gguf", chat_template=None)
    assert slmctl("create", "bare", "--from", str(tmp_path / "bare.gguf")).code == 0
    return slmctl


def test_run_says_so_and_sends_plain_text(bare: Program) -> None:
    told = bare("run", "bare", *SHORT, "A tag is")
    assert told.code == 0
    assert [SAID in line for line in told.err.splitlines()] == [True]
    quiet = bare("run", "bare", *SHORT, "--raw", "A tag is")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == told.out


def test_the_system_message_stands_before_the_prompt(bare: Program) -> None:
    told = bare("run", "bare", *SHORT, "--system", "Models have names.", "A tag is")
    assert told.out == bare("run", "bare", *SHORT, "--raw", "Models have names.\n\nA tag is").out


def test_an_authors_template_is_one(bare: Program) -> None:
    text = b"FROM bare\nTEMPLATE {{ .Prompt }}\n"
    assert bare("create", "mended", "-f", "-", stdin=text).code == 0
    mended = bare("run", "mended", *SHORT, "A tag is")
    assert (mended.code, mended.err) == (0, "")
    assert mended.out == bare("run", "bare", *SHORT, "--raw", "A tag is").out


def test_a_renderer_is_one_for_whom_a_kept_worker_was_loaded_too(bare: Program) -> None:
    for name, text in (("ours", "TEMPLATE {{ .Prompt }}"), ("theirs", "RENDERER chatml")):
        assert bare("create", name, "-f", "-", stdin=f"FROM bare\n{text}\n".encode()).code == 0
    alone = bare("run", "theirs", *SHORT, "A tag is")
    assert bare("run", "ours", *SHORT, "--keep", "5m", "A tag is").out != alone.out
    kept = bare("run", "theirs", *SHORT, "--keep", "0", "A tag is")
    assert bare("ps", "--json").json["models"] == []  # it was that worker which answered
    assert (kept.out, kept.err) == (alone.out, alone.err)


def test_render_says_so(bare: Program) -> None:
    outcome = bare("render", "bare", "--messages", "-", stdin=b'[{"role": "user", "content": "hi"}]')
    assert (outcome.code, outcome.out) == (3, "")
    assert SAID in outcome.err


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning")
@pytest.mark.parametrize("raw", [False, True])
def test_a_conversation_says_so_once(bare: Program, raw: bool) -> None:
    with Terminal(bare, "bare", *SHORT, *(["--raw"] if raw else [])) as terminal:
        shown = plain(terminal.greeting) + plain(terminal.ask("A tag is")) + plain(terminal.ask("A tag is"))
        assert shown.count("has no chat template") == (0 if raw else 1)
        assert terminal.leave() == 0
