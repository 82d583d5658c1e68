"""slmctl logs"""

from __future__ import annotations

import signal
from contextlib import closing

import click

from registry.errors import NotFound, SlmctlError, UsageError
from registry.names import parse_name
from slmctl.app.logs import Log, follow_log, newest_log, read_log
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import clean


@make_command(
    "logs",
    about="Show what the engine of the model NAME wrote when it was loaded last, or is writing now; without"
    " NAME, of the model that was loaded last. Prompts and answers are not in it: [left out] stands where one"
    " may have been.",
)
@click.argument("name", required=False, shell_complete=candidates.models)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until the end.")
def command(context: Context, name: str | None, follow: bool) -> None:
    if follow and context.output.as_json:
        raise UsageError(
            "--follow writes lines as they come, --json one document.", hint="Leave out one of them."
        )
    log = newest_log(context.settings.home) if name is None else _log(context, name)
    if follow:
        _follow(log)
        return
    context.output.result(
        {
            "name": log.name,
            "variant": log.variant,
            "engine": log.engine,
            "started": log.started,
            "ended": log.ended,
            "returncode": log.returncode,
            "lines": list(log.lines),
        },
        lambda: clean("\n".join([_first_line(log), *log.lines, *_last_lines(log)])),
    )


def _log(context: Context, name: str) -> Log:
    """The log under the name that the store has; that of a model which is gone from there is found too."""
    ref = parse_name(name)
    try:
        names = context.reader.names()
    except SlmctlError:  # a damaged store is where a log is needed
        return newest_log(context.settings.home, ref.full_name)
    entry = names.find(ref.full_name)
    try:
        return newest_log(context.settings.home, ref.full_name if entry is None else entry.name)
    except NotFound:
        context.reader.resolve(ref, names)  # raises, with the names that are near
        raise


def _follow(log: Log) -> None:
    click.echo(clean(_first_line(log)))
    with closing(follow_log(log)) as lines:
        for line in lines:
            click.echo(clean(line))
    for line in _last_lines(read_log(log.path) or log):
        click.echo(line)


def _first_line(log: Log) -> str:
    return f"{log.name} ({log.variant}, {log.engine}), started {log.started}"


def _last_lines(log: Log) -> list[str]:
    if log.ended is None:
        return []  # it runs, or nobody was left to say how it ended
    if log.ended == "stopped":
        return ["The engine was stopped."]
    if log.returncode is not None and log.returncode < 0:
        return [f"The engine was ended by {_signal_name(-log.returncode)}."]
    return [f"The engine ended by itself with exit code {log.returncode}."]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
