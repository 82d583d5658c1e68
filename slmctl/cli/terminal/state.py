"""What the prompt's commands work on."""

from __future__ import annotations

from dataclasses import dataclass

from slmctl.app.chat import Chat
from slmctl.cli.command import Context
from slmctl.cli.terminal.reader import Reader
from slmctl.cli.terminal.screen import is_dumb


@dataclass(kw_only=True)
class State:
    """A session: the conversation, who reads the entries, and whether words are wrapped."""

    context: Context
    chat: Chat
    reader: Reader
    wraps: bool = True

    def say(self, text: str) -> None:
        """A line in answer to a command; it is harmless already."""
        print(text, flush=True)  # noqa: T201

    def tell_loading(self, name: str) -> None:
        """Show that a model is being loaded, until the next output."""
        if not is_dumb(self.context.settings.environment):
            self.context.output.status(f"loading {name}")


class Leave(Exception):
    """The session is over."""
