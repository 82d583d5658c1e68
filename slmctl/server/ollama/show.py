"""POST /api/show"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.responses import Response

from registry.errors import InvalidReference, NotFound
from registry.names import parse_name
from slmctl.app.about_model import (
    capabilities_in_order,
    details_of,
    file_text,
    modelfile_text,
    parameters_text,
    template_of,
)
from slmctl.app.finding import find_package
from slmctl.server.call import Call
from slmctl.server.ollama.fields import Fields, model_name
from slmctl.server.ollama.names import not_found
from slmctl.server.ollama.writing import without_empty
from slmctl.server.state import ServerState
from slmctl.server.streams import answer


async def show(call: Call) -> Response:
    """What a model is, and what its author set."""
    fields = Fields(await call.json())
    name = model_name(fields)
    system = fields.text("system")
    verbose = fields.flag("verbose")
    return answer(call, await asyncio.to_thread(_shown, call.state, name, system, verbose=verbose))


def _shown(state: ServerState, name: str, system: str, *, verbose: bool) -> dict[str, object]:
    try:
        package = find_package(state.reader, parse_name(name))
    except (NotFound, InvalidReference) as error:
        raise not_found(state, name, error) from None
    variant = package.choose(None)
    spec = replace(variant.spec, system=system) if system else variant.spec
    text = file_text(state.reader, variant, verbose=verbose)
    messages = [{"role": each.role, "content": each.content} for each in spec.messages]
    said = without_empty(
        {
            "license": "\n\n".join((*variant.licenses, *spec.licenses)),
            "modelfile": modelfile_text(package, variant),
            "parameters": parameters_text(spec.parameters),
            "template": template_of(state.reader, package, variant),
            "system": spec.system,
            "renderer": spec.renderer,
            "parser": spec.parser,
            "messages": messages,
            "projector_info": text.projector_info,
            "tensors": text.tensors,
            "requires": spec.requires,
        }
    )
    return said | {
        "details": details_of(variant),
        "model_info": text.model_info,
        "capabilities": capabilities_in_order(state.reader, variant),
        "modified_at": package.linked or "0001-01-01T00:00:00Z",
        "digest": package.digest.hex,
    }
