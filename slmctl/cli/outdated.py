"""slmctl list --outdated"""

from __future__ import annotations

import click

from registry.names import short_name
from slmctl.app.outdated import CURRENT, GONE, MOVED, UNKNOWN, Upstream, upstream_of
from slmctl.cli.command import Context
from slmctl.cli.exits import exit_code
from slmctl.cli.network_options import NetworkOptions
from slmctl.cli.render import table

_WORDS = {CURRENT: "current", MOVED: "outdated", GONE: "gone there", UNKNOWN: "not known"}
_SHORT = 12


def list_outdated(context: Context, prefix: str, network: NetworkOptions) -> None:
    """What moved upstream since it was pulled. Ends with the code of the first place that gave no answer."""
    wanted = prefix.casefold()
    entries = [
        entry for name, entry in context.store.names().entries.items() if name.casefold().startswith(wanted)
    ]
    with network.places(context) as places:
        rows = upstream_of(context.store, entries, places.remote_of)
    context.output.result({"models": [_fields(row) for row in rows]}, lambda: _table(rows))
    if not rows:
        context.output.note("No such model was pulled from anywhere.")
    moved = [short_name(row.name) for row in rows if row.state == MOVED]
    if moved:
        context.output.note("'slmctl pull --all' brings what is there now.")
    unknown = [row for row in rows if row.state == UNKNOWN]
    for row in unknown:
        assert row.error is not None
        context.output.note(f"{short_name(row.name)}: {row.error.message}")
    if unknown and unknown[0].error is not None:
        click.get_current_context().exit(exit_code(unknown[0].error))


def _table(rows: list[Upstream]) -> str:
    shown = [
        (row.name, _short(row.pinned), _short(row.now or "-"), _WORDS[row.state], _places(row))
        for row in rows
    ]
    return table(("NAME", "HERE", "THERE", "STATE", "PLACE"), shown) if rows else ""


def _places(row: Upstream) -> str:
    return " ".join(map(str, row.places))


def _short(pin: str) -> str:
    return pin.removeprefix("sha256:")[:_SHORT]


def _fields(row: Upstream) -> dict[str, object]:
    return {
        "name": row.name,
        "place": _places(row),
        "pinned": row.pinned,
        "now": row.now,
        "state": row.state,
        "error": row.error.message if row.error is not None else None,
    }
