"""slmctl render"""

from __future__ import annotations

from collections.abc import Mapping

import click

from modelfiles.template.syntax import Syntax
from registry.errors import UsageError
from registry.names import parse
from slmctl.app.finding import locate
from slmctl.app.rendering import (
    as_run_would,
    messages_from_json,
    render,
    template_from_text,
    template_of,
)
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.modelfile_text import read_modelfile

_SYNTAXES: Mapping[str, Syntax] = {"go": "go", "jinja": "jinja"}
_MISSING = "Name a file, or - for standard input."


@make_command(
    "render",
    about="Print the exact prompt that the model NAME, that in the bundle at PATH, or a template in a file"
    " makes of a conversation. Nothing is added behind it.",
)
@click.argument("name", required=False, metavar="[NAME|PATH]", shell_complete=candidates.models_and_paths)
@click.option("--template", "file", metavar="FILE", help="A template in Go's language or in Jinja.")
@click.option("--messages", required=True, metavar="FILE", help="The conversation: a JSON list; - is stdin.")
@click.option("--tools", metavar="FILE", help="Tools that the model may call: a JSON list.")
@click.option("--system", metavar="TEXT", help="The system message.")
@click.option("--response", metavar="TEXT", help="How the answer begins.")
@click.option("--think/--no-think", "think", default=None, help="Ask for reasoning first, or for none.")
@click.option("--syntax", type=click.Choice(list(_SYNTAXES)), help="The template's language.")
@click.option("--variant", metavar="ID", help="Which build, where there are several.")
def command(
    context: Context,
    name: str | None,
    file: str | None,
    messages: str,
    tools: str | None,
    system: str | None,
    response: str | None,
    think: bool | None,
    syntax: str | None,
    variant: str | None,
) -> None:
    if (name is None) == (file is None):
        raise UsageError("It takes a model's name, or --template FILE.", hint="Give one of the two.")
    said = messages_from_json(_read(messages), "messages")
    if response is not None:
        said.append({"role": "assistant", "content": response})
    known = messages_from_json(_read(tools), "tools") if tools is not None else []
    if file is not None:
        text = _read(file).decode("utf-8", errors="replace")
        template = template_from_text(text, _SYNTAXES.get(syntax or ""))
        if system is not None:
            said.insert(0, {"role": "system", "content": system})
    else:
        assert name is not None
        reader, package = locate(context.reader, parse(name), context.output.on_event)
        chosen = package.choose(variant)
        template = template_of(reader, package, chosen)
        said = [*as_run_would(chosen, said, system)]
    prompt = render(template, said, tools=known, think=think, environment=context.settings.environment)
    if context.output.as_json:
        context.output.document({"prompt": prompt, "syntax": template.syntax})
    else:
        click.echo(prompt, nl=False)


def _read(path: str) -> bytes:
    return read_modelfile(path, hint=_MISSING, what="file")
