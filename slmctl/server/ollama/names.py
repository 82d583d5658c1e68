"""Names of models that clients wrote, and what is said of those that are not here."""

from __future__ import annotations

from registry.errors import InvalidReference, NotFound, UsageError
from registry.names import ModelRef, Source, parse_name, parse_new_name
from slmctl.app.ships import is_shipped
from slmctl.server.state import ServerState


def is_here(state: ServerState, name: str) -> bool:
    """Whether a name is in the store, in a further one, or comes with slmctl."""
    try:
        ref = parse_name(name)
    except InvalidReference:
        return False
    return is_shipped(ref) or state.reader.names().find(ref.full_name) is not None


def not_found(
    state: ServerState, name: str, error: NotFound | InvalidReference
) -> NotFound | InvalidReference:
    """`error`, unless it is that there is no such model: that is said in Ollama's words."""
    return error if is_here(state, name) else NotFound(f"model '{name:.300}' not found")


def new_name(text: str) -> ModelRef:
    """The name that a model is to get. Raises UsageError in Ollama's words."""
    try:
        ref = parse_new_name(text)
    except InvalidReference as error:
        raise UsageError("invalid model name", hint=error.message) from None
    if ref.source is Source.FILE:
        raise UsageError("invalid model name", hint="A path is no name.")
    return ref
