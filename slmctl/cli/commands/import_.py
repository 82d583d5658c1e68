"""slmctl import"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from registry.errors import UsageError
from registry.names import parse_new_name, short_name
from slmctl.app.importing import Imported, ImportRequest, import_bundle
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command

STDIN = "-"


@make_command(
    "import",
    about="Take the models of a bundle (a tar or a folder with an OCI image layout; - is stdin) into the"
    " store. Everything is verified before a name is linked.",
)
@click.argument("path", metavar="FILE|DIR", shell_complete=candidates.files)
@click.option("--as", "name", metavar="NAME", help="What to call the model, if the bundle has one.")
@click.option("--force", is_flag=True, help="Replace names that belong to models from somewhere else.")
def command(context: Context, path: str, name: str | None, force: bool) -> None:
    rename = parse_new_name(name) if name is not None else None
    if path == STDIN and sys.stdin.isatty():
        raise UsageError("A bundle does not come from a terminal.", hint="Use a pipe, or name a file.")
    request = ImportRequest(path=None if path == STDIN else _path(path), rename=rename, force=force)
    imported = import_bundle(context.store, request, now=context.now(), on_event=context.output.on_event)
    context.output.result(
        {"path": path, "models": [_fields(each) for each in imported]},
        lambda: "\n".join(_line(each) for each in imported),
    )


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise UsageError("The bundle's path is empty or has a NUL in it.", hint="Name a file or a folder.")
    return Path(text.removeprefix("file://"))


def _line(imported: Imported) -> str:
    entry = imported.entry
    verb = "imported" if imported.changed else "already here:"
    return (
        f"{verb} '{short_name(entry.name)}' ({', '.join(imported.variants)}, {entry.descriptor.digest.short})"
    )


def _fields(imported: Imported) -> dict[str, object]:
    return {
        "name": imported.entry.name,
        "digest": str(imported.entry.descriptor.digest),
        "source": imported.entry.source,
        "variants": list(imported.variants),
        "changed": imported.changed,
    }
