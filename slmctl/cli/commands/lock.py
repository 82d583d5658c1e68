"""slmctl lock"""

from __future__ import annotations

from pathlib import Path

import click

from registry.errors import SlmctlError, UsageError
from registry.names import parse_name
from slmctl.app.finding import find_package
from slmctl.app.listing import names_of
from slmctl.app.lockfile import Compared, Lock, State, check, compare
from slmctl.app.whole_files import replace_whole
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import exit_code
from slmctl.cli.lock_files import read_lock


@make_command(
    "lock",
    about="Pin models to the digests that they have now, in a text file; or compare the store with one.",
)
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=candidates.models)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    shell_complete=candidates.files,
    help="The file.  [default: stdout]",
)
@click.option(
    "--check",
    "pinned",
    metavar="FILE",
    shell_complete=candidates.files,
    help="Compare instead: 5 where a digest is another, 3 where a model is missing.",
)
def command(context: Context, names: tuple[str, ...], target: str | None, pinned: str | None) -> None:
    if pinned is not None:
        if names or target is not None:
            raise UsageError("--check takes no names and no -o.", hint="Write: slmctl lock --check FILE")
        _check(context, pinned)
        return
    if not names:
        raise UsageError("It takes the names of models, or --check FILE.", hint="Give one of the two.")
    refs = [parse_name(name) for name in names]
    lock = Lock.of([find_package(context.reader, ref, context.output.on_event) for ref in refs])
    text = lock.to_text()
    if target is not None and target != "-":
        replace_whole(Path(target), text.encode())
        count = len(lock.models)
        said = f"locked {count} model{'s' if count > 1 else ''} in {target}"
        context.output.result(lock.to_json(), lambda: said)
    else:
        context.output.result(lock.to_json(), lambda: text.rstrip("\n"))


def _check(context: Context, pinned: str) -> None:
    lock = read_lock(pinned)
    compared = compare(lock, context.reader, names_of(context.reader, context.output.on_event))
    try:
        check(compared)
    except SlmctlError as error:
        if not context.output.as_json:
            for each in compared:
                if each.state is not State.SAME:
                    context.output.note(_line(each))
            raise
        context.output.document({"checked": [_fields(each) for each in compared]})
        click.get_current_context().exit(exit_code(error))
    count = len(compared)
    said = f"{count} model{'' if count == 1 else 's'} as pinned in {pinned}"
    context.output.result({"checked": [_fields(each) for each in compared]}, lambda: said)


def _line(compared: Compared) -> str:
    found = "missing" if compared.found is None else compared.found.short
    return f"{compared.model.name}: pinned {compared.model.digest.short}, here {found}"


def _fields(compared: Compared) -> dict[str, object]:
    return {
        "name": compared.model.name,
        "state": compared.state.value,
        "pinned": str(compared.model.digest),
        "found": str(compared.found) if compared.found is not None else None,
    }
