"""What every command has: its options for output, its settings and its store.

Settings and store are imported when they are first asked for, because `slmctl version` must start fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

from slmctl.cli.render import Output

if TYPE_CHECKING:
    from registry.store.keeper import Keeper
    from registry.store.reader import StoreReader
    from registry.store.store import Store
    from slmctl.config import Settings

P = ParamSpec("P")


class Context:
    """What a command works with; the settings are read when they are first asked for."""

    def __init__(self, output: Output) -> None:
        self.output = output

    @functools.cached_property
    def settings(self) -> Settings:
        from slmctl.config import Settings

        return Settings.load()

    @functools.cached_property
    def reader(self) -> StoreReader:
        """The store, and further ones behind it, for commands that change nothing in them."""
        from registry.store.reader import StoreReader

        own = StoreReader(self.settings.store)
        if not self.settings.stores:
            return own
        from registry.store.joined import JoinedReader  # few have further stores

        return JoinedReader(own, self.further)

    @functools.cached_property
    def further(self) -> tuple[StoreReader, ...]:
        """The further stores, without the own one."""
        from registry.store.reader import FurtherStore

        return tuple(FurtherStore(path) for path in self.settings.stores if path != self.settings.store)

    @functools.cached_property
    def store(self) -> Store:
        from registry.store.store import Store

        return Store(self.settings.store)

    @functools.cached_property
    def keeper(self) -> Keeper:
        """The store for commands that look after it."""
        from registry.store.keeper import Keeper

        return Keeper(self.settings.store)

    def now(self) -> str:
        """This moment as RFC 3339 text, to the second."""
        from slmctl.app import clock

        return clock.now()


def command(
    name: str, *, about: str, cls: type[click.Command] = click.Command
) -> Callable[[Callable[Concatenate[Context, P], None]], click.Command]:
    """Make a click command of a function that takes a Context first; adds --json and --progress."""

    def decorate(function: Callable[Concatenate[Context, P], None]) -> click.Command:
        @click.command(name, cls=cls, help=about, context_settings={"help_option_names": ["-h", "--help"]})
        @click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout.")
        @click.option(
            "--progress",
            type=click.Choice(["auto", "json", "none"]),
            default="auto",
            show_default=True,
            help="How progress is told on stderr.",
        )
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            as_json = bool(kwargs.pop("as_json"))
            progress = str(kwargs.pop("progress"))
            schema = click.get_current_context().command_path.split()[1]
            output = Output(schema, as_json=as_json, progress=progress)
            try:
                function(Context(output), *args, **kwargs)
            finally:
                output.end_progress()

        return run

    return decorate


def group(name: str, *, about: str) -> click.Group:
    """A command that only has others below it, and shows them when it is called by itself."""

    @click.group(
        name,
        help=about,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    @click.pass_context
    def run(context: click.Context) -> None:
        if context.invoked_subcommand is None:
            click.echo(context.get_help())

    return run
