"""The options of every command that may ask somebody over the network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slmctl.cli.command import Context

if TYPE_CHECKING:
    from slmctl.app.network import Network
    from slmctl.app.places import Places


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What the command line said about the network."""

    ca: Path | None
    offline: bool
    plain_http: bool

    def network(self, context: Context) -> Network:
        """The network for this command; close it at the end."""
        from slmctl.app.network import Network

        return Network(context.settings.network, ca=self.ca, offline=self.offline, plain_http=self.plain_http)

    @contextmanager
    def places(self, context: Context) -> Iterator[Places]:
        """Where this command may pull from and push to."""
        from slmctl.app.places import Places

        with self.network(context) as network:
            yield Places(network, context.output.on_event)


def network_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add --ca, --offline and --plain-http; the function gets `network`, a NetworkOptions."""

    @click.option(
        "--ca",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Trust the certificates in this PEM file too.",
    )
    @click.option("--offline", is_flag=True, help="Ask nobody; use what is here.")
    @click.option(
        "--plain-http",
        "--insecure",
        is_flag=True,
        help="Permit http:// without encryption to the hosts that this command names.",
    )
    @functools.wraps(function)
    def decorated(*args: object, ca: Path | None, offline: bool, plain_http: bool, **kwargs: object) -> None:
        function(*args, network=NetworkOptions(ca=ca, offline=offline, plain_http=plain_http), **kwargs)

    return decorated
