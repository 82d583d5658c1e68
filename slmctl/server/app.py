"""The application: all tables of endpoints behind one guard."""

from __future__ import annotations

from starlette.types import ASGIApp

from slmctl.server import health, openapi, own
from slmctl.server.anthropic import endpoints as anthropic
from slmctl.server.call import Endpoint
from slmctl.server.guard import Guard
from slmctl.server.ollama import endpoints as ollama
from slmctl.server.openai import endpoints as openai
from slmctl.server.routes import Routes
from slmctl.server.state import ServerState

_SERVED: tuple[tuple[Endpoint, ...], ...] = (
    health.ENDPOINTS,
    ollama.ENDPOINTS,
    own.ENDPOINTS,
    openai.ENDPOINTS,
    anthropic.ENDPOINTS,
)
TABLES = (*_SERVED, openapi.endpoints(_SERVED))
"""Everything that is served; what stands in no table is not."""


def make_app(state: ServerState) -> ASGIApp:
    """Raises UsageError for settings that will not do."""
    return Guard(state, Routes(TABLES, root_path=state.serve.root_path))
