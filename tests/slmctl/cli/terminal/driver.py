"""slmctl at a terminal of its own: a pty that is typed into and read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pexpect

from tests.processes import until, worker_of
from tests.slmctl.cli.program import DEADLINE_SECONDS, Program

# prompt_toolkit turns bracketed paste on when a prompt begins and off when it ends
_BEGINS = "\x1b[?2004h"
_ENDS = "\x1b[?2004l"
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")

CTRL_C, CTRL_D, UP, ENTER = "\x03", "\x04", "\x1b[A", "\r"


def plain(text: str) -> str:
    """What a terminal shows of `text`, as long as nothing in it moves the cursor up."""
    kept = re.sub(r"[^\n]*\r\x1b\[K", "", text)  # a line that was taken away
    return _ESCAPE.sub("", kept).replace("\r\n", "\n").replace("\r", "")


def pasted(text: str) -> str:
    """The keys of a terminal where `text` was pasted."""
    return f"\x1b[200~{text}\x1b[201~"


class Terminal:
    """A session of `slmctl run`. `with Terminal(...) as terminal` waits for the first prompt."""

    def __init__(
        self,
        slmctl: Program,
        *arguments: str,
        columns: int = 80,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        settings = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **(environment or {})}
        program, *rest = slmctl.command("run", *arguments)
        self.greeting = ""
        self.child: pexpect.spawn[str] = pexpect.spawn(
            program,
            rest,
            env={**slmctl.environment, **settings},
            dimensions=(24, columns),
            encoding="utf-8",
            timeout=DEADLINE_SECONDS,
        )
        self.child.delaybeforesend = None

    def __enter__(self) -> Self:
        self.greeting = self.until_prompt()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.close(force=True)

    @property
    def pid(self) -> int:
        assert self.child.pid is not None
        return self.child.pid

    @property
    def worker(self) -> int:
        return until(lambda: worker_of(self.pid))

    def keys(self, keys: str) -> None:
        self.child.send(keys)

    def raw(self, entry: str) -> str:
        """Type an entry; gives all that comes until the next prompt, as it comes."""
        self.enter(entry)
        self.child.expect_exact(_BEGINS)
        assert self.child.before is not None
        return self.child.before

    def ask(self, entry: str) -> str:
        """Type an entry; gives what the terminal shows of the answer."""
        shown = plain(self.raw(entry)).strip("\n")
        assert "Traceback" not in shown
        assert "inside slmctl failed" not in shown
        return shown

    def enter(self, entry: str) -> None:
        """Type an entry and wait until it is taken."""
        self.keys(f"{entry}{ENTER}")
        self.child.expect_exact(_ENDS)

    def expect(self, text: str) -> None:
        self.child.expect_exact(text)

    def until_prompt(self) -> str:
        self.child.expect_exact(_BEGINS)
        assert self.child.before is not None
        return plain(self.child.before)

    def leave(self, keys: str = CTRL_D) -> int:
        """Type the last keys; gives the exit code."""
        self.keys(keys)
        return self.end()

    def hang_up(self) -> None:
        """Take the terminal away, and wait for the end of whoever was there."""
        child: Any = self.child
        child.ptyproc.fileobj.close()
        self.child.wait()

    def end(self) -> int:
        """Wait for the end; gives the exit code."""
        self.child.expect(pexpect.EOF)
        self.child.wait()
        code = self.child.exitstatus
        assert code is not None
        return code
