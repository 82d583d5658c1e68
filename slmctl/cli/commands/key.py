"""slmctl key: the API keys of the server"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import click

from slmctl.app.api_keys import (
    DEFAULT_SCOPES,
    SCOPES,
    ApiKey,
    Scope,
    add_key,
    expiry,
    keys_file,
    read_keys,
    revoke_key,
)
from slmctl.cli.command import Context, group
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_age, table

command = group("key", about="Make, show and revoke the API keys of the server.")


@make_command(
    "add",
    about="Make an API key and print it. It is shown this once: only its hash is kept. A running server knows"
    " it from the next request on; with the first key, it asks everybody for one.",
)
@click.option("--name", metavar="TEXT", help="What it is for, to tell it from others.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may do: ask models (infer), look at what is here (read), change it (manage, which may read"
    f" too). Can be given several times.  [default: {', '.join(DEFAULT_SCOPES)}]",
)
@click.option(
    "--expires", metavar="WHEN", help="When it ends: 30d, 12h, 2w, or a moment such as 2030-01-31T12:00:00Z."
)
def add(context: Context, name: str | None, scopes: tuple[str, ...], expires: str | None) -> None:
    ends = None if expires is None else expiry(expires, datetime.now(UTC))
    wanted = cast("tuple[Scope, ...]", scopes) or DEFAULT_SCOPES
    made = add_key(context.settings.home, scopes=wanted, name=name, expires=ends)
    context.output.result({"key": _row(made.key), "secret": made.secret}, lambda: made.secret)
    context.output.note(
        f"The key {made.key.id} may {', '.join(made.key.scopes)}. It is not shown again; to take it back:"
        f" slmctl key revoke {made.key.id}"
    )


@make_command("list", about="List the API keys, without their secrets.")
def list_keys(context: Context) -> None:
    keys = read_keys(keys_file(context.settings.home))
    now = datetime.now(UTC)
    header = ("ID", "NAME", "SCOPES", "CREATED", "EXPIRES")
    context.output.result(
        {"keys": [_row(key) for key in keys]},
        lambda: table(
            header,
            [
                (
                    key.id,
                    key.name or "-",
                    ",".join(key.scopes),
                    human_age(key.created, now),
                    "expired" if key.is_expired(now) else key.expires or "never",
                )
                for key in keys
            ],
        ),
    )


@make_command(
    "revoke",
    about="Take an API key away. A running server refuses it from the next request on; answers that are"
    " on their way are finished.",
)
@click.argument("identifier", metavar="ID")
def revoke(context: Context, identifier: str) -> None:
    gone = revoke_key(context.settings.home, identifier)
    context.output.result({"key": _row(gone)}, lambda: f"revoked {gone.id}")
    if not read_keys(keys_file(context.settings.home)):
        context.output.note(
            "That was the last key: a server that is started from now on asks nobody for one, unless"
            " SLMCTL_API_KEY_FILE names others."
        )


def _row(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created": key.created,
        "expires": key.expires,
        "expired": key.is_expired(datetime.now(UTC)),
    }


command.add_command(add)
command.add_command(list_keys)
command.add_command(revoke)
