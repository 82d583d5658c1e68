"""slmctl serve"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit
from slmctl.serve_settings import load_serve_settings

if TYPE_CHECKING:
    from slmctl.server.run import Listening

_SINGLE = {
    "host": ("--host", "ADDRESS", "Listen at this address. [default: 127.0.0.1]"),
    "port": ("--port", "NUMBER", "Listen at this port; 0 takes any that is free. [default: 11434]"),
    "socket": (
        "--socket",
        "PATH",
        "Listen at a unix socket, and at no port unless --host or --port is given.",
    ),
    "socket_mode": ("--socket-mode", "MODE", "Who may use the socket: 600, 660 or 666. [default: 600]"),
    "root_path": ("--root-path", "PATH", "The path under which a proxy shows this server."),
    "tls_certificate": ("--tls-certificate", "FILE", "Speak TLS, with this certificate and its chain."),
    "tls_key": ("--tls-key", "FILE", "The certificate's key, if it is not in the same file."),
    "keep_alive": (
        "--keep-alive",
        "TIME",
        "Keep a model loaded for so long after its last use. [default: 5m]",
    ),
    "parallel": ("--parallel", "NUMBER", "Answer so many requests to a model at once."),
    "max_memory": ("--max-memory", "SIZE", "Load models of so much memory together, such as 6GB."),
    "max_loaded": ("--max-loaded", "NUMBER", "Load so many models together."),
    "max_tokens": ("--max-tokens", "NUMBER", "Let no answer have more tokens."),
    "grace": ("--grace", "TIME", "Let answers go on for so long when told to end. [default: 30s]"),
}

_SEVERAL = {
    "preload": ("--preload", "NAME", "Load this model before anybody asks."),
    "allowed_hosts": (
        "--allowed-host",
        "NAME",
        "Answer requests for this name too, besides this machine's own: NAME, *.DOMAIN, or * for any.",
    ),
    "allowed_origins": ("--allowed-origin", "ORIGIN", "Let web pages from there ask: https://app.example."),
    "trusted_proxies": (
        "--trusted-proxy",
        "ADDRESS",
        "Believe what the proxy at this address or network says of its clients; unix is the socket.",
    ),
}
"""Options that may be given many times."""


@make_command(
    "serve",
    about="Serve the models of this machine to other programs, by the APIs of Ollama, OpenAI and Anthropic."
    " SIGTERM or Ctrl-C ends it when answers under way have ended. Settings for good belong into [serve] of"
    " config.toml.",
)
@click.option(
    "--open-to-all",
    is_flag=True,
    help="Let others than this machine in although no key is defined ('slmctl key add' makes one).",
)
@click.option("--log-prompts", is_flag=True, help="Write what is asked to the log, too.")
def command(
    context: Context, /, open_to_all: bool, log_prompts: bool, **given: str | tuple[str, ...] | None
) -> None:
    flags = {name: value for name, value in given.items() if isinstance(value, str)}
    flags |= {name: ",".join(value) for name, value in given.items() if isinstance(value, tuple) and value}
    flags |= {"open_to_all": "yes"} if open_to_all else {}
    flags |= {"log_prompts": "yes"} if log_prompts else {}
    serve = load_serve_settings(context.settings, flags)
    from slmctl.server.run import Program, run  # behind all that can be wrong with a command line

    program = Program(settings=context.settings, serve=serve, store=context.store, reader=context.reader)
    as_json = True if context.output.progress == "json" else None
    ended = run(program, lambda listening: _greet(context, listening), log_as_json=as_json)
    if context.output.as_json:
        context.output.document(
            {
                "url": ended.url,
                "socket": None if ended.socket is None else str(ended.socket),
                "signal": ended.signal.name,
                "cut": ended.cut,
                "seconds": round(ended.seconds, 3),
            }
        )
    click.get_current_context().exit(Exit.SIGINT if ended.signal is signal.SIGINT else Exit.SIGTERM)


def _greet(context: Context, listening: Listening) -> None:
    """For people; the log tells programs the same."""
    if not sys.stderr.isatty() or context.output.progress != "auto":
        return
    places = [str(place) for place in (listening.url, listening.socket) if place is not None]
    others = ", and at every other address of this machine" if listening.everywhere else ""
    context.output.note(f"slmctl listens at {' and '.join(places)}{others}. Ctrl-C ends it.")


for _name, (_flag, _metavar, _help) in _SINGLE.items():
    command.params.append(click.Option([_flag, _name], metavar=_metavar, help=_help))
for _name, (_flag, _metavar, _help) in _SEVERAL.items():
    complete = candidates.models if _name == "preload" else None
    command.params.append(
        click.Option([_flag, _name], metavar=_metavar, help=_help, multiple=True, shell_complete=complete)
    )
