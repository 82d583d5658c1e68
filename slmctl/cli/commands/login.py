"""slmctl login"""

from __future__ import annotations

import sys

import click

from registry.errors import UsageError
from slmctl.app.logins import LoggedIn, checked_host, log_in
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.network_options import NetworkOptions, network_options

_MAX_PASSWORD_BYTES = 64 << 10


@make_command(
    "login",
    about="Keep a name and a password for a registry (ghcr.io, docker.io, localhost:5000), after trying them."
    " They are kept where Docker keeps its own: by its credential helper if there is one, else in its config"
    " file. With REGISTRY_AUTH_FILE set, in that file, as podman does.",
)
@click.argument("server")
@click.option("--username", "-u", metavar="NAME", help="The name; asked for on a terminal.")
@click.option("--password-stdin", is_flag=True, help="Read the password, or a token, from stdin.")
@click.option(
    "--password",
    "-p",
    metavar="TEXT",
    help="The password. Others on this machine can see it, and the shell remembers it: better not.",
)
@click.option(
    "--token-server",
    metavar="URL",
    help="This server makes the registry's tokens, and may have the password. Only said where it is none of"
    " the registry's own origin.",
)
@network_options
def command(
    context: Context,
    server: str,
    username: str | None,
    password_stdin: bool,
    password: str | None,
    token_server: str | None,
    network: NetworkOptions,
) -> None:
    checked_host(server)  # before anything is typed
    if password is not None:
        context.output.note(
            "A password on the command line is seen by others and remembered by the shell:"
            " --password-stdin reads it from stdin."
        )
    if username is None:
        username = _ask("User name", hidden=False, option="--username NAME")
    if password_stdin:
        if password is not None:
            raise UsageError("The password is given twice.", hint="Leave out --password.")
        password = _read_password()
    elif password is None:
        password = _ask("Password", hidden=True, option="--password-stdin")
    with network.network(context) as opened:
        done = log_in(opened, server, username=username, password=password, token_server=token_server)
    context.output.result(
        {
            "host": done.host,
            "username": done.username,
            "place": done.place,
            "plain": done.plain,
            "checked": done.checked,
        },
        lambda: f"logged in to {done.host} as {done.username}",
    )
    _explain(context, done)


def _explain(context: Context, done: LoggedIn) -> None:
    if not done.checked:
        context.output.note(
            f"{done.host} asked for no password, so that it is not known whether it is right."
        )
    if done.plain:
        context.output.note(
            f"The password lies readable in {done.place}; a credential helper would keep it better."
        )


def _read_password() -> str:
    raw = sys.stdin.buffer.read(_MAX_PASSWORD_BYTES + 1)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UsageError("The password on stdin is not text in UTF-8.", hint=None) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(raw) > _MAX_PASSWORD_BYTES:
        raise UsageError(
            "On stdin there is no password." if not text else "On stdin there is more than a password.",
            hint="Write it there: slmctl login HOST --username NAME --password-stdin < FILE",
        )
    return text


def _ask(what: str, *, hidden: bool, option: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"There is no terminal to ask for the {what.lower()}.", hint=f"Give it with {option}."
        )
    text: str = click.prompt(what, hide_input=hidden, err=True)
    return text
