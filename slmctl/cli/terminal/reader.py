"""The line that is typed: prompts, keys, history, and text over several lines between triple quotes.

prompt_toolkit is imported when a prompt is made, so that a command without one starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmctl.cli.terminal.history import HistoryFile

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = ">>> "
MORE_PROMPT = "... "
QUOTES = '"""'

_OPENERS = ("", "/set system")
"""What may stand before the quotes that begin a text of several lines."""


def is_open(text: str) -> bool:
    """Whether `text` begins with triple quotes, as a prompt or as /set system's text, and misses the end."""
    begun = _after_opener(text)
    return begun is not None and not begun.rstrip().endswith(QUOTES)


def unquote(text: str) -> str:
    """`text` without the triple quotes around it, where it has them."""
    stripped = text.strip()
    if not stripped.startswith(QUOTES):
        return text
    return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")


def _after_opener(text: str) -> str | None:
    for opener in _OPENERS:
        rest = text.strip()
        if rest.startswith(opener) and (rest := rest.removeprefix(opener).lstrip()).startswith(QUOTES):
            return rest.removeprefix(QUOTES)
    return None


class Reader:
    """Asks for one entry after the other. `keeps_history` says whether entries go to the file."""

    def __init__(self, history: HistoryFile) -> None:
        self.keeps_history = True
        self._history = history
        self._session = _session(history.read())

    def read(self) -> str:
        """The next entry, its line breaks kept. Raises EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C."""
        text: str = self._session.prompt(PROMPT)
        if self.keeps_history and text.strip():
            self._history.append(text)
        return text


def _session(entries: list[str]) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    def continuation(_width: int, _line: int, wrapped: int) -> str:
        return " " * len(MORE_PROMPT) if wrapped else MORE_PROMPT

    return PromptSession(
        multiline=True,
        prompt_continuation=continuation,
        key_bindings=_keys(),
        history=InMemoryHistory(entries),
        enable_suspend=True,
        include_default_pygments_style=False,
    )


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
