"""`slmctl run NAME` on a terminal: read, answer, and again, until /bye or Ctrl-D."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType

from registry.errors import SlmctlError, UsageError
from runtimes.errors import EngineRefused
from runtimes.protocol import Finished, TextDelta, ThinkingDelta
from slmctl.app.chat import Chat
from slmctl.app.load import Loaded
from slmctl.cli.command import Context
from slmctl.cli.render import print_error
from slmctl.cli.terminal.commands import obey
from slmctl.cli.terminal.history import HistoryFile
from slmctl.cli.terminal.reader import Reader, unquote
from slmctl.cli.terminal.screen import AnswerWriter, quiet_keys, wants_style
from slmctl.cli.terminal.state import Leave, State
from slmctl.cli.timings import timings

_HOW_TO_LEAVE = "Ctrl-D or /bye leaves."


def converse(context: Context, chat: Chat, *, hide_thinking: bool, wraps: bool = True) -> None:
    """Hold the conversation `chat` on this terminal.

    Raises what loading the model raises; later errors are told and the session goes on.
    """
    reader = Reader(HistoryFile(context.settings.home / "history"))
    state = State(context=context, chat=chat, reader=reader, wraps=wraps)
    with quiet_keys(sys.stdin):  # what is typed too early is for the next prompt
        state.tell_loading(chat.package.name)
        about = chat.load()
        context.output.end_progress()
        state.say(f"{about.name} ({about.variant}, {about.context_length} tokens of context)")
        state.say(f"/? lists the commands, {_HOW_TO_LEAVE}")
        while True:
            try:
                _take(state, reader.read(), hide_thinking=hide_thinking)
            except KeyboardInterrupt:
                context.output.end_progress()
                state.say(_HOW_TO_LEAVE)
            except (EOFError, Leave):
                return
            except SlmctlError as error:
                context.output.end_progress()
                print_error(error, command="run", as_json=False)


def _take(state: State, entry: str, *, hide_thinking: bool) -> None:
    """Do what was typed: a command, or a question for the model."""
    if any("\ud800" <= char <= "\udfff" for char in entry):
        raise UsageError("That is not valid text in this terminal's encoding.", hint="Send UTF-8.")
    if entry.startswith("/"):
        with _interruptible():
            obey(state, entry)
    elif entry.strip():
        _answer(state, unquote(entry), hide_thinking=hide_thinking)


def _answer(state: State, prompt: str, *, hide_thinking: bool) -> None:
    """One question. Ctrl-C ends its answer and nothing else."""
    chat, output = state.chat, state.context.output
    styled = wants_style(state.context.settings.environment)
    writer = AnswerWriter(sys.stdout, wrap=state.wraps, styled=styled, hide_thinking=hide_thinking)
    started, seconds = time.monotonic(), 0.0
    loaded: Loaded | None = None
    finished: Finished | None = None
    try:
        with _interruptible(), closing(chat.ask(prompt)) as events:
            if chat.needs_loading:
                state.tell_loading(chat.package.name)
            for event in events:
                match event:
                    case Loaded():
                        loaded = event
                        output.end_progress()
                    case ThinkingDelta(text):
                        writer.think(text)
                    case TextDelta(text):
                        writer.say(text)
                    case Finished():
                        finished, seconds = event, time.monotonic() - started
    except KeyboardInterrupt:
        output.end_progress()
    except EngineRefused as error:
        if error.is_too_long:
            error.hint = "/clear forgets the conversation, /set parameter num_ctx TOKENS makes more room."
        raise
    finally:
        writer.end()
    state.say("")
    if finished is not None and output.verbose:
        for line in (*timings(finished, total_seconds=seconds, loaded=loaded), ""):
            output.note(line)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in here once; another one does not disturb the clearing up."""
    has_come = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        if not has_come:
            has_come = True
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
