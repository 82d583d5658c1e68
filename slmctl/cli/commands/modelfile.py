"""slmctl modelfile"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from modelfiles.authoring import check
from modelfiles.errors import Problem, render
from modelfiles.format import Unwritable, format_modelfile
from modelfiles.syntax import Modelfile, scan
from modelfiles.words import printable
from registry.errors import OperationFailed
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit
from slmctl.cli.modelfile_text import read_modelfile

_MISSING = "Name a file, or - for standard input."


@click.group(
    "modelfile",
    help="Read, check and format Modelfiles.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def command(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@make_command("parse", about="Print the instructions in FILE (- is stdin), as they are read; syntax only.")
@click.argument("file", shell_complete=candidates.files)
def parse_file(context: Context, file: str) -> None:
    modelfile, problems = scan(read_modelfile(file, hint=_MISSING), filename=_shown(file))
    _tell(context, modelfile, problems, modelfile.warnings)


@make_command("lint", about="Check FILE (- is stdin) as 'create' would, and print all that is wrong or odd.")
@click.argument("file", shell_complete=candidates.files)
def lint_file(context: Context, file: str) -> None:
    modelfile, problems = scan(read_modelfile(file, hint=_MISSING), filename=_shown(file))
    authored, others = check(modelfile)
    _tell(context, modelfile, (*problems, *others), authored.warnings, listed=False)


@make_command("fmt", about="Write FILE anew in the plainest form that says the same; - writes to stdout.")
@click.argument("file", shell_complete=candidates.files)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 if something would change.")
def format_file(context: Context, file: str, only_check: bool) -> None:
    data = read_modelfile(file, hint=_MISSING)
    modelfile, problems = scan(data, filename=_shown(file))
    if problems:
        _tell(context, modelfile, problems, modelfile.warnings)
    try:
        text = format_modelfile(modelfile)
    except Unwritable as error:
        error.hint = "Nothing was changed."
        raise
    changed = text.encode() != data
    if changed and not only_check and file != "-":
        _replace(Path(file), text)
    if context.output.as_json:
        context.output.document({"changed": changed, "text": text})
    elif file == "-" and not only_check:
        click.echo(text, nl=False)
    elif changed:
        context.output.note(f"{_shown(file)} {'would be changed' if only_check else 'is formatted'}.")
    if changed and only_check:
        click.get_current_context().exit(Exit.FAILED)


def _tell(
    context: Context,
    modelfile: Modelfile,
    problems: Iterable[Problem],
    warnings: Iterable[Problem],
    *,
    listed: bool = True,
) -> None:
    """Print what was read and what is wrong with it; ends with exit code 2 when something is."""
    errors = sorted(problems, key=lambda problem: problem.span)
    fields = {
        "instructions": [
            {"keyword": each.keyword, "name": each.name, "value": each.value, "line": each.line}
            for each in modelfile.instructions
        ],
        "warnings": [_fields(each) for each in warnings],
        "errors": [_fields(each) for each in errors],
    }
    context.output.result(fields, lambda: _listing(modelfile) if listed and not errors else "")
    if not context.output.as_json:
        for problem in (*warnings, *errors):
            context.output.note(render(problem, filename=modelfile.filename, text=modelfile.text))
    if errors:
        click.get_current_context().exit(Exit.USAGE)


def _fields(problem: Problem) -> dict[str, object]:
    return {
        "rule": problem.rule,
        "message": problem.message,
        "line": problem.line,
        "column": problem.column,
        "hint": problem.advice,
    }


def _listing(modelfile: Modelfile) -> str:
    return "\n".join(
        " ".join(filter(None, (f"{each.line}:", each.keyword, each.name, repr(each.value))))
        for each in modelfile.instructions
    )


def _replace(path: Path, text: str) -> None:
    """Write beside the file and rename, so that there is always a whole one."""
    path = path.resolve()  # a link stays one
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), path.stat().st_mode & 0o7777)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise OperationFailed(
            f"{str(path)!r:.200} cannot be written: {error.strerror}.", hint="It is as it was."
        ) from None


def _shown(file: str) -> str:
    return "<stdin>" if file == "-" else printable(file, limit=200)


command.add_command(parse_file)
command.add_command(lint_file)
command.add_command(format_file)
