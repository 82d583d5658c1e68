"""The texts of /show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from modelfiles.format import format_spec
from slmctl.app.chat import Chat
from slmctl.cli.describe import describe, parameter_rows
from slmctl.cli.render import sections


def _info(chat: Chat) -> str:
    return describe(chat.package, chat.variant)


def _system(chat: Chat) -> str:
    return chat.system or "There is no system message; /set system TEXT sets one."


def _parameters(chat: Chat) -> str:
    if not chat.parameters:
        return "No parameters are set; the engine's defaults count."
    return sections({"Parameters": parameter_rows(chat.parameters)})


def _license(chat: Chat) -> str:
    return "\n\n".join(chat.variant.licenses) or "The model says nothing about its licence."


def _template(chat: Chat) -> str:
    return chat.chat_template or "The model has no chat template; prompts are sent as plain text."


def _modelfile(chat: Chat) -> str:
    """A Modelfile that makes this model with what the session has set."""
    spec = replace(chat.variant.spec, parameters=chat.parameters, system=chat.system)
    return format_spec(spec, source=chat.package.name).rstrip("\n")


VIEWS: Mapping[str, Callable[[Chat], str]] = {
    "info": _info,
    "system": _system,
    "parameters": _parameters,
    "license": _license,
    "template": _template,
    "modelfile": _modelfile,
}
