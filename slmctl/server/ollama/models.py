"""POST /api/copy and DELETE /api/delete"""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from registry.errors import InvalidReference, NameTaken, NotFound, OperationFailed, UsageError
from registry.names import ModelRef, parse_name, parse_new_name
from slmctl.app.clock import now
from slmctl.app.models import copy_model, remove_models
from slmctl.server.call import Call
from slmctl.server.ollama.fields import Fields
from slmctl.server.ollama.names import is_here
from slmctl.server.ollama.transfers import FORCE_HINT


async def copy(call: Call) -> Response:
    """Give a model a second name."""
    fields = Fields(await call.json())
    source_text, target_text = fields.text("source"), fields.text("destination")
    source = _name(source_text, "source", is_new=False)
    target = _name(target_text, "destination", is_new=True)
    force, state = fields.flag("force"), call.state
    if not is_here(state, source_text):
        raise NotFound(f'model "{source_text:.300}" not found')

    def work() -> None:
        further = state.reader if state.settings.stores else None
        copy_model(state.store, source, target, force=force, now=now(), reader=further)

    try:
        await asyncio.to_thread(work)
    except NameTaken as error:
        raise NameTaken(error.message, hint=FORCE_HINT) from None
    call.state.log.note(call, f"Copied {source.full_name!r:.120} to {target.full_name!r:.120}.")
    return Response(status_code=200, headers=call.headers)


async def delete(call: Call) -> Response:
    """Remove a name, and the files that no other model needs. The model leaves first."""
    fields = Fields(await call.json())
    name = fields.text("model", "name")
    try:
        ref = parse_name(name)
    except InvalidReference:
        raise UsageError(f'name "{name:.300}" is invalid') from None
    state = call.state
    if state.reader.names().find(ref.full_name) is None:
        raise NotFound(f"model '{name:.300}' not found")
    await state.scheduler.unload(name)
    outcome = await asyncio.to_thread(remove_models, state.store, [name], reader=state.reader)
    if outcome.elsewhere:
        raise OperationFailed(f"model '{name:.300}' lies in a further store, which is only read")
    if outcome.missing:
        raise NotFound(f"model '{name:.300}' not found")
    call.state.log.note(call, f"Removed {ref.full_name!r:.120}.")
    return Response(status_code=200, headers=call.headers)


def _name(text: str, what: str, *, is_new: bool) -> ModelRef:
    try:
        return parse_new_name(text) if is_new else parse_name(text)
    except InvalidReference:
        raise UsageError(f'{what} "{text:.300}" is invalid') from None
