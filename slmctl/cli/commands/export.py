"""slmctl export"""

from __future__ import annotations

import sys

import click

from registry.errors import UsageError
from registry.names import parse_name, short_name
from slmctl.app.exporting import STDOUT, Exported, ExportRequest, export
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_bytes


@make_command(
    "export",
    about="Write models as a bundle, an OCI image layout: one tar, or a folder with one file per blob."
    " The same models give the same bytes; 'slmctl verify PATH --digest' finds any bit that changes later.",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=candidates.models)
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    metavar="FILE|DIR/",
    shell_complete=candidates.files,
    help="A file; a folder, which is there or ends in /; or - for stdout.",
)
@click.option(
    "--variant",
    "variants",
    metavar="ID",
    multiple=True,
    shell_complete=candidates.variants,
    help="Only this build of each model; may be given several times.",
)
@click.option("--force", is_flag=True, help="Replace the file or the bundle that is there.")
def command(
    context: Context, names: tuple[str, ...], target: str, variants: tuple[str, ...], force: bool
) -> None:
    refs = [parse_name(name) for name in names]
    if target == STDOUT:
        if context.output.as_json:
            raise UsageError("stdout cannot take both the bundle and --json.", hint="Name a file with -o.")
        if sys.stdout.isatty():
            raise UsageError(
                "A bundle is nothing for a terminal.", hint="Name a file with -o, or use a pipe."
            )
    request = ExportRequest(names=refs, target=target, variants=variants, force=force)
    exported = export(context.store, request, reader=context.reader, on_event=context.output.on_event)
    text = _text(target, exported)
    if target == STDOUT:
        context.output.note(text)
    else:
        context.output.result(_fields(target, exported), lambda: text)


def _text(target: str, exported: Exported) -> str:
    names = ", ".join(f"'{short_name(model.name)}'" for model in exported.models)
    where = "stdout" if target == STDOUT else target
    return f"exported {names} to {where} ({human_bytes(exported.size)})\ndigest {exported.digest}"


def _fields(target: str, exported: Exported) -> dict[str, object]:
    return {
        "path": target,
        "format": "folder" if exported.as_folder else "archive",
        "size": exported.size,
        "digest": str(exported.digest),
        "models": [
            {"name": model.name, "digest": str(model.descriptor.digest), "source": model.source}
            for model in exported.models
        ],
    }
