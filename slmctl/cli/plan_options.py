"""What a plan can be told, as options of every command that plans."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import click

from runtimes.planning.values import PlanRequest
from slmctl.cli.sizes import to_bytes

PREFERENCES = ("balanced", "quality", "speed", "smallest")
_MAX_CONTEXT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line said. `profile` is that of another machine."""

    profile: str | None
    prefer: str
    runtime: str | None
    kv: str | None
    parallel: int
    max_memory: int | None
    min_speed: float | None
    force: bool

    def request(self, *, variant: str | None, context: int | None, usual_context: int | None) -> PlanRequest:
        """The wish. `usual_context` is the settings' number: a wish, and no command."""
        wanted = PlanRequest()
        return PlanRequest(
            context=context or usual_context,
            context_is_pinned=context is not None,
            parallel=self.parallel,
            prefer=self.prefer,
            variant=variant,
            runtime=self.runtime,
            kv_type=self.kv,
            max_memory=self.max_memory,
            min_speed=wanted.min_speed if self.min_speed is None else self.min_speed,
            comfort_speed=max(wanted.comfort_speed, self.min_speed or 0.0),
            speed_is_pinned=self.min_speed is not None,
            force=self.force,
        )


def profile_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add --for; the function gets `profile`."""
    return click.option(
        "--for",
        "profile",
        metavar="PROFILE|FILE",
        help="Plan for another machine: a name of 'slmctl hardware --profiles', or a file.",
    )(function)


def plan_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add them; the function gets `planning`, a PlanOptions."""

    @profile_option
    @click.option(
        "--prefer",
        type=click.Choice(PREFERENCES),
        default="balanced",
        show_default=True,
        help="What to look for among what fits.",
    )
    @click.option("--runtime", metavar="ENGINE", help="This engine only, such as llama.cpp.")
    @click.option("--kv", metavar="TYPE", help="The KV cache's type: f16, q8_0.")
    @click.option(
        "--parallel",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        metavar="NUMBER",
        help="Answers at once, each with its own context.",
    )
    @click.option("--max-memory", metavar="SIZE", callback=to_bytes, help="Take no more: 2GiB, 800MB.")
    @click.option(
        "--min-speed",
        type=click.FloatRange(0, 1e6),
        metavar="NUMBER",
        help="Tokens per second that it must reach.",
    )
    @click.option("--force", is_flag=True, help="Take what loses a lot, too.")
    @functools.wraps(function)
    def decorated(
        *args: object,
        profile: str | None,
        prefer: str,
        runtime: str | None,
        kv: str | None,
        parallel: int,
        max_memory: int | None,
        min_speed: float | None,
        force: bool,
        **kwargs: object,
    ) -> None:
        options = PlanOptions(
            profile=profile,
            prefer=prefer,
            runtime=runtime,
            kv=kv,
            parallel=parallel,
            max_memory=max_memory,
            min_speed=min_speed,
            force=force,
        )
        function(*args, planning=options, **kwargs)

    return decorated
