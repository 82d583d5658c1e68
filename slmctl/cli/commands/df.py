"""slmctl df"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from registry.names import parse_name, short_name
from registry.store.room import Disk, disk_at, nearest_folder
from registry.store.usage import ModelUsage, Usage, usage_of
from slmctl.app.listing import names_of
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_bytes, table


@make_command(
    "df",
    about="Show what each model, or each NAME, costs on the disk: ALONE is what 'rm' would free, SHARED what"
    " other models need too.",
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=candidates.models)
def command(context: Context, names: tuple[str, ...]) -> None:
    store = context.store
    known = names_of(store, context.output.on_event)
    wanted = {store.resolve(parse_name(name), known).name for name in names}
    usage = usage_of(store)
    rows = [each for each in usage.names if not wanted or each.name in wanted]
    disk = _disk(store.root)
    context.output.result(_fields(store.root, usage, rows, disk), lambda: _text(usage, rows, disk))
    if any(not each.is_known for each in rows):
        context.output.note(
            "What is marked with + has a manifest that cannot be read; 'slmctl verify' says why."
        )
    for further in context.further:
        context.output.note(f"The further store {further.root} is not counted.")


def _disk(root: Path) -> Disk | None:
    """The disk that the store is on, or will be; None where the system does not tell."""
    with suppress(OSError):
        return disk_at(nearest_folder(root))
    return None


def _fields(root: Path, usage: Usage, rows: list[ModelUsage], disk: Disk | None) -> dict[str, object]:
    return {
        "path": str(root),
        "models": [
            {"name": each.name, "alone": each.alone, "shared": each.shared, "complete": each.is_known}
            for each in rows
        ],
        "totals": {
            "total": usage.total,
            "models": usage.models,
            "shared": usage.shared,
            "unneeded": usage.unneeded,
            "leased": usage.leased,
            "temporary": usage.temporary,
            "quarantine": usage.quarantine,
            "other": usage.other,
        },
        "elsewhere": usage.elsewhere,
        "disk": {"size": disk.size, "free": disk.free} if disk else None,
    }


def _text(usage: Usage, rows: list[ModelUsage], disk: Disk | None) -> str:
    cells = [(short_name(each.name), _amount(each.alone, each), _amount(each.shared, each)) for each in rows]
    free = f"; the disk has {human_bytes(disk.free)} of {human_bytes(disk.size)} free" if disk else ""
    lines = [table(("NAME", "ALONE", "SHARED"), cells)] if cells else []
    lines.append(f"{human_bytes(usage.models)} by models, {human_bytes(usage.shared)} of it shared{free}")
    if usage.elsewhere:
        lines.append(f"{human_bytes(usage.elsewhere)} more are other tools' files, used where they lie")
    collectable = (usage.unneeded or 0) + usage.temporary
    if collectable:
        lines.append(f"{human_bytes(collectable)} that no model needs: 'slmctl gc' frees them")
    if usage.leased:
        lines.append(f"{human_bytes(usage.leased)} that running commands use, or killed ones had put in")
    if usage.quarantine:
        lines.append(f"{human_bytes(usage.quarantine)} of damaged files in quarantine")
    return "\n".join(lines)


def _amount(size: int, usage: ModelUsage) -> str:
    return f"{human_bytes(size)}{'' if usage.is_known else '+'}"
