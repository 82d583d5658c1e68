"""slmctl convert"""

from __future__ import annotations

from pathlib import Path

import click

from modelfiles.authoring import is_path
from registry.errors import DoesNotFit, NotFound
from registry.names import ModelRef, Source, parse, parse_new_name, short_name
from slmctl.app.convert import ConvertCall, convert_model
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command

_ABOUT = (
    "Make a model of another format: the GGUF of a folder of safetensors, or of a model in the store that has"
    " them. The source stays as it is. 'slmctl create' keeps the folder as a variant, too."
)

_TYPES = ("auto", "f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0")


@make_command("convert", about=_ABOUT)
@click.argument("source", metavar="FOLDER|NAME", shell_complete=candidates.models_and_files)
@click.option("--to", "target", type=click.Choice(["gguf", "mlx", "onnx"]), required=True, help="The format.")
@click.option("-o", "--output", "output", metavar="NAME", required=True, help="What the model is called.")
@click.option(
    "--type",
    "out_type",
    type=click.Choice(_TYPES, case_sensitive=False),
    default="auto",
    show_default=True,
    help="The weights' type; auto leaves it as it is.",
)
@click.option(
    "--variant",
    metavar="ID",
    shell_complete=candidates.variants,
    help="Which build of the source, where it has several.",
)
@click.option("--force", is_flag=True, help="Replace NAME even if it came from somewhere else.")
def command(
    context: Context,
    source: str,
    target: str,
    output: str,
    out_type: str,
    variant: str | None,
    force: bool,
) -> None:
    name = parse_new_name(output)
    if target != "gguf":
        raise DoesNotFit(
            f"slmctl does not convert to {target.upper()} yet: that comes with its engine.",
            hint="--to gguf makes what llama.cpp runs, on every machine.",
        )
    call = ConvertCall(
        source=_source(source),
        name=name,
        variant=variant,
        out_type=None if out_type == "auto" else out_type.upper(),
        force=force,
    )
    try:
        made = convert_model(
            context.store,
            call,
            now=context.now(),
            environ=context.settings.environment,
            on_event=context.output.on_event,
            reader=context.reader if context.further else None,
        )
    except NotFound as error:
        if isinstance(call.source, ModelRef) and call.source.source is not Source.BARE:
            raise NotFound(error.message, hint=f"Pull it first: slmctl pull {source}") from None
        raise
    entry = made.entry
    context.output.result(
        {
            "name": entry.name,
            "digest": str(entry.descriptor.digest),
            "variant": made.variant,
            "source": entry.source,
        },
        lambda: (
            f"converted '{source}' to '{short_name(entry.name)}'"
            f" ({made.variant}, {entry.descriptor.digest.short})"
        ),
    )


def _source(text: str) -> Path | ModelRef:
    """A folder, if there is one of this name or it is written as one; else a model. Raises UsageError."""
    path = Path(text).expanduser()
    if path.is_dir() or is_path(text):
        return path
    return parse(text)
