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
from modelfiles.syntax import MAX_PROBLEMS, MAX_WARNINGS, Instruction, Modelfile, scan
from modelfiles.words import printable
from registry.errors import OperationFailed, UsageError
from slmctl.cli import candidates
from slmctl.cli.command import Context, group
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit
from slmctl.cli.modelfile_text import read_modelfile

_LISTED = 200  # characters of a value; --json has all of them
_MISSING = "Name a file, or - for standard input."


command = group("modelfile", about="Read, check and format Modelfiles.")


@make_command("parse", about="Print the instructions in FILE (- is stdin); syntax only.")
@click.argument("file", shell_complete=candidates.files)
def parse_file(context: Context, file: str) -> None:
    modelfile, problems = scan(read_modelfile(file, hint=_MISSING), filename=_shown(file))
    _tell(context, modelfile, problems, modelfile.warnings)


@make_command("lint", about="Check FILE (- is stdin) as 'create' would.")
@click.argument("file", shell_complete=candidates.files)
def lint_file(context: Context, file: str) -> None:
    modelfile, problems = scan(read_modelfile(file, hint=_MISSING), filename=_shown(file))
    authored, others = check(modelfile)
    _tell(context, modelfile, (*problems, *others), authored.warnings, listed=False)


@make_command("fmt", about="Put FILE into its plainest form; - writes to stdout.")
@click.argument("file", shell_complete=candidates.files)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 if something would change.")
def format_file(context: Context, file: str, only_check: bool) -> None:
    data = read_modelfile(file, hint=_MISSING)
    modelfile, problems = scan(data, filename=_shown(file))
    if problems:
        _tell(context, modelfile, problems, modelfile.warnings)
    if any(warning.rule == "encoding" for warning in modelfile.warnings):
        raise UsageError(
            f"{_shown(file)!r} has bytes that are no text, which formatting would lose.",
            hint="Save it as UTF-8 first. Nothing was changed.",
        )
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
    errors = sorted(problems, key=_place)
    odd = sorted(warnings, key=_place)[:MAX_WARNINGS]
    fields = {
        "instructions": [
            {"keyword": each.keyword, "name": each.name, "value": each.value, "line": each.line}
            for each in modelfile.instructions
        ],
        "warnings": [_fields(each) for each in odd],
        "errors": [_fields(each) for each in errors],
    }
    context.output.result(fields, lambda: _listing(modelfile) if listed and not errors else "")
    if not context.output.as_json:
        findings = [*((each, "error") for each in errors), *((each, "warning") for each in odd)]
        for problem, severity in sorted(findings, key=lambda finding: _place(finding[0])):
            context.output.note(
                render(problem, filename=modelfile.filename, text=modelfile.text, severity=severity)
            )
        if errors or not listed:
            context.output.note(f"{modelfile.filename}: {_verdict(len(errors), len(odd))}.")
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


def _place(problem: Problem) -> tuple[int, int]:
    return problem.span


def _verdict(errors: int, warnings: int) -> str:
    """How many there are; both are counted only so far."""
    counts = ((errors, "error", MAX_PROBLEMS), (warnings, "warning", MAX_WARNINGS))
    said = [
        f"{count}{' or more' if count >= most else ''} {what}{'' if count == 1 else 's'}"
        for count, what, most in counts
        if count
    ]
    return " and ".join(said) or "nothing is wrong"


def _listing(modelfile: Modelfile) -> str:
    """A line for each instruction, with its value as a Python string, long ones cut."""
    return "\n".join(
        " ".join([f"{each.line}:", each.keyword, *_name(each), _cut(each.value)])
        for each in modelfile.instructions
    )


def _name(instruction: Instruction) -> list[str]:
    return [] if instruction.name is None else [instruction.name or repr("")]


def _cut(value: str) -> str:
    if len(value) <= _LISTED:
        return repr(value)
    return f"{value[:_LISTED]!r}... ({len(value)} characters)"


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
