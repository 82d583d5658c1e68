"""slmctl create"""

from __future__ import annotations

from pathlib import Path

import click

from modelfiles.authoring import Authored, from_text
from modelfiles.errors import ModelfileError
from modelfiles.spec import ModelSpec
from registry.errors import OperationFailed, UsageError
from registry.names import parse_new_name, short_name
from slmctl.app.create import CreateRequest, create
from slmctl.app.wanted import GGUF, SAFETENSORS, Wanted
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.modelfile_text import read_modelfile
from slmctl.cli.quantize_options import labels_of

_MISSING = "Name it with -f FILE, or make a model straight from a file with --from FILE.gguf."


_ABOUT = (
    "Make the model NAME from a Modelfile, or straight from a GGUF file or a folder of safetensors. The"
    " folder is kept as a variant, and the GGUF made of it is another."
)


@make_command("create", about=_ABOUT)
@click.argument("name")
@click.option(
    "-f",
    "--file",
    "modelfile",
    metavar="FILE",
    shell_complete=candidates.files,
    help="The Modelfile; - is stdin.  [default: Modelfile]",
)
@click.option(
    "--from",
    "base",
    metavar="FILE|FOLDER|NAME",
    shell_complete=candidates.models_and_files,
    help="A GGUF file (any part of a sharded set), a folder of safetensors, or a model.",
)
@click.option(
    "--only",
    type=click.Choice([GGUF, SAFETENSORS]),
    help="Of a folder, this variant only: the GGUF, or the folder as it is.",
)
@click.option(
    "-q", "--quantize", "types", metavar="TYPE,...", help="Quantize to this type: q4_k_m, or q4_k_m,q8_0."
)
@click.option("--move", is_flag=True, help="Move the file into the store instead of copying it.")
@click.option("--force", is_flag=True, help="Replace NAME even if it came from somewhere else.")
def command(
    context: Context,
    name: str,
    modelfile: str | None,
    base: str | None,
    only: str | None,
    types: str | None,
    move: bool,
    force: bool,
) -> None:
    ref = parse_new_name(name)
    labels = () if types is None else labels_of(types)
    if labels and only == SAFETENSORS:
        raise UsageError("-q and --only safetensors exclude each other.", hint="Leave out one of them.")
    if base is not None and modelfile is not None:
        raise UsageError(
            "--from and --file exclude each other.", hint="A Modelfile names its base with FROM."
        )
    if base is not None:
        authored = Authored(spec=ModelSpec(), sources=(base,), warnings=())
        folder = _current_folder()
    else:
        authored = _read_modelfile(context, modelfile)
        folder = _current_folder() if modelfile == "-" else _current_folder() / Path(modelfile or "").parent
    request = CreateRequest(
        name=ref,
        bases=authored.sources,
        folder=folder,
        spec=authored.spec,
        adapter=authored.adapter,
        drafts=authored.drafts,
        move=move,
        force=force,
        wanted=Wanted(only=only, labels=labels),
        environ=context.settings.environment,
    )
    created = create(
        context.store,
        request,
        now=context.now(),
        on_event=context.output.on_event,
        reader=context.reader if context.further else None,
    )
    entry = created.entry
    variants = ", ".join(created.variants)
    context.output.result(
        {
            "name": entry.name,
            "digest": str(entry.descriptor.digest),
            "variant": created.variant,
            "variants": list(created.variants),
            "source": entry.source,
        },
        lambda: f"created '{short_name(entry.name)}' ({variants}, {entry.descriptor.digest.short})",
    )


def _read_modelfile(context: Context, given: str | None) -> Authored:
    """What the Modelfile says. Prints its problems, where there is room, and its warnings."""
    shown = "<stdin>" if given == "-" else given or "Modelfile"
    try:
        authored = from_text(read_modelfile(given or "Modelfile", hint=_MISSING), filename=shown)
    except ModelfileError as error:
        if not context.output.as_json:  # there is room for all of them, each with its place
            context.output.note(error.render())
            count = len(error.problems)
            sentence = f"{shown} has {count} problem{'s' if count > 1 else ''}; nothing was made."
            raise UsageError(sentence, hint="Correct it and create the model again.") from None
        raise
    for warning in authored.warnings:
        place = f"{shown}:{warning.line}:{warning.column}"
        context.output.note(f"{place}: warning: {warning.message} [{warning.rule}]")
    return authored


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise OperationFailed("The current folder is gone.", hint="Change to another one.") from None
