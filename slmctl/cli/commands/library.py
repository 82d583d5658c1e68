"""slmctl library"""

from __future__ import annotations

import click

from registry.errors import NotFound, OperationFailed
from slmctl.app.library import Search, search
from slmctl.app.library_check import DIFFERS, GONE, GOOD, UNKNOWN, CheckedBuild, check_library
from slmctl.cli import candidates
from slmctl.cli.command import Context, group
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit, exit_code
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.render import human_bytes, table

_WORDS = {GOOD: "good", GONE: "gone", DIFFERS: "differs", UNKNOWN: "not known"}


command = group("library", about="The library of models that slmctl knows by short names.")


@make_command(
    "check",
    about="Ask for every build that the library names (or those of NAME...): is it there, with the facts that"
    " the library claims? Reads headers, no weights.",
)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=candidates.in_library)
@network_options
def check_(context: Context, names: tuple[str, ...], network: NetworkOptions) -> None:
    models = search(Search())
    wanted = {name.lower() for name in names}
    known = {each.entry.name for each in models} | {each.entry.family for each in models}
    if unknown := sorted(wanted - known):
        raise NotFound(
            f"The library has no model {unknown[0]!r:.60}.", hint="'slmctl search' lists what it has."
        )
    chosen = [each for each in models if not wanted or {each.entry.name, each.entry.family} & wanted]
    rows: list[CheckedBuild] = []
    with network.places(context) as places:
        for row in check_library(chosen, places.remote_of):
            rows.append(row)
            context.output.status(f"{row.name}: {row.reference}")
    context.output.end_progress()
    context.output.result({"builds": [_fields(row) for row in rows]}, lambda: _table(rows))
    for row in rows:
        if row.why is not None and row.state != UNKNOWN:
            context.output.note(f"{row.name}, {row.reference}: {row.why}")
    for why in dict.fromkeys(row.why for row in rows if row.why is not None and row.state == UNKNOWN):
        context.output.note(why)
    error = next((row.error for row in rows if row.error is not None), None)
    if error is not None:
        click.get_current_context().exit(exit_code(error))
    if not rows:
        context.output.note("What comes with slmctl is nowhere else to look for.")
    bad = [row for row in rows if row.state != GOOD]
    if bad and context.output.as_json:
        click.get_current_context().exit(Exit.FAILED)
    if bad:
        raise OperationFailed(
            f"{len(bad)} of {len(rows)} builds are not as the library says.",
            hint="A newer slmctl may know better; please report it.",
        )


command.add_command(check_)


def _table(rows: list[CheckedBuild]) -> str:
    shown = [
        (row.name, row.format, _WORDS[row.state], human_bytes(row.size), str(row.reference)) for row in rows
    ]
    return table(("MODEL", "FORMAT", "STATE", "SIZE", "REFERENCE"), shown)


def _fields(row: CheckedBuild) -> dict[str, object]:
    return {
        "name": row.name,
        "reference": str(row.reference),
        "format": row.format,
        "state": row.state,
        "size": row.size,
        "why": row.why,
    }
