"""slmctl gc"""

from __future__ import annotations

from collections.abc import Sequence

import click

from registry.errors import BadContent
from registry.store.collect import Collection, Garbage
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import counted, human_bytes

_WORDS = {
    "blob": ("file", "that no model needs"),
    "note": ("note", "about files of other tools that no model needs"),
    "temporary": ("file", "that killed commands left half-written"),
    "lease": ("lease", "of killed commands"),
}


@make_command(
    "gc",
    about="Free what no model needs. What a running command uses stays, and what a killed one had put in,"
    " because the same command may go on with it; --all frees that too.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
@click.option("--all", "everything", is_flag=True, help="Also free what killed commands had put in.")
def command(context: Context, dry_run: bool, everything: bool) -> None:
    try:
        collection = context.keeper.collect(everything=everything, dry_run=dry_run)
    except BadContent as error:
        raise BadContent(
            f"Nothing was freed. {error.message}", hint="'slmctl verify' says what is wrong."
        ) from None
    context.output.result(
        _fields(collection, dry_run=dry_run, everything=everything), lambda: _text(collection, dry_run)
    )
    if collection.crashed_bytes:
        size = human_bytes(collection.crashed_bytes)
        context.output.note(f"{size} of killed commands stay; 'slmctl gc --all' frees them too.")
    if collection.damaged_bytes:
        size = human_bytes(collection.damaged_bytes)
        context.output.note(
            f"{size} stay because a damaged table of names mentions them: index.json.damaged in"
            f" {context.keeper.root}. Delete it when you miss no model."
        )


def _fields(collection: Collection, *, dry_run: bool, everything: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "all": everything,
        "freed": collection.freed_bytes,
        "garbage": [
            {
                "kind": each.kind,
                "path": str(each.path),
                "digest": str(each.digest) if each.digest else None,
                "size": each.size,
            }
            for each in collection.garbage
        ],
        "kept": {"crashed": collection.crashed_bytes, "damaged": collection.damaged_bytes},
    }


def _text(collection: Collection, dry_run: bool) -> str:
    lines = [
        f"  {_counted(same, *_WORDS[kind])}"
        for kind in _WORDS
        if (same := [each for each in collection.garbage if each.kind == kind])
    ]
    if not lines:
        return "nothing to free"
    size = human_bytes(collection.freed_bytes)
    return "\n".join([f"would free {size}:" if dry_run else f"freed {size}:", *lines])


def _counted(same: Sequence[Garbage], unit: str, what: str) -> str:
    size = sum(each.size for each in same)
    return f"{counted(len(same), unit)} {what}{f', {human_bytes(size)}' if size else ''}"
