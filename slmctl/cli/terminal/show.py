"""The texts of /show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelfiles.spec import ParameterValue
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
    lines = [f"FROM {chat.package.name}"]
    for name, value in chat.parameters.items():
        lines += [f"PARAMETER {name} {_value(each)}" for each in _several(value)]
    if chat.system:
        lines.append(f'SYSTEM """{chat.system}"""')
    return "\n".join(lines)


def _several(value: ParameterValue) -> tuple[str | int | float | bool, ...]:
    return value if isinstance(value, tuple) else (value,)


def _value(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"""{value}"""' if isinstance(value, str) else str(value)


VIEWS: Mapping[str, Callable[[Chat], str]] = {
    "info": _info,
    "system": _system,
    "parameters": _parameters,
    "license": _license,
    "template": _template,
    "modelfile": _modelfile,
}
