"""What a plan can be told, as options of every command that plans."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from slmctl.app.planning.wishes import RunWishes
from slmctl.cli import candidates
from slmctl.cli.sizes import to_bytes

if TYPE_CHECKING:
    from runtimes.planning.values import PlanRequest

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
PREFERENCES = ("balanced", "quality", "speed", "smallest")


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
        from slmctl.app.planning.running import request_of  # pull has these options too, and seldom a plan

        wishes = RunWishes(
            prefer=self.prefer,
            runtime=self.runtime,
            kv=self.kv,
            max_memory=self.max_memory,
            min_speed=self.min_speed,
            force=self.force,
        )
        request = request_of(wishes, context=context, usual=usual_context)
        return replace(request, parallel=self.parallel, variant=variant)


def _engine(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The name of an engine as given. Raises click.BadParameter for what is none."""
    if value is None:
        return None
    from runtimes.planning.candidates import PAPER_ENGINES, is_runtime  # as above

    names = [each.name for each in PAPER_ENGINES]
    if not any(is_runtime(name, value) for name in names):
        raise click.BadParameter(f"{value!r:.60} is none of {', '.join(names)}")
    return value


_preference = click.option(
    "--prefer",
    type=click.Choice(PREFERENCES),
    default="balanced",
    show_default=True,
    help="What to look for among what fits.",
)
_cache = click.option(
    "--kv", type=click.Choice(CACHE_TYPES), metavar="TYPE", help="The KV cache's type: f16, q8_0."
)


def _limits(function: Callable[..., None]) -> Callable[..., None]:
    memory = click.option(
        "--max-memory", metavar="SIZE", callback=to_bytes, help="Take no more memory: 2GiB, 800MB."
    )
    speed = click.option(
        "--min-speed",
        type=click.FloatRange(0, 1e6),
        metavar="NUMBER",
        help="Tokens per second that it must reach.",
    )
    return memory(speed(function))


def run_plan_options(function: Callable[..., None]) -> Callable[..., None]:
    """What `run` takes of them; the function gets `wishes`, a RunWishes."""

    @profile_option
    @_preference
    @_cache
    @_limits
    @click.option("--force", is_flag=True, help="Load it though it does not fit.")
    @functools.wraps(function)
    def decorated(
        *args: object,
        profile: str | None,
        prefer: str,
        kv: str | None,
        max_memory: int | None,
        min_speed: float | None,
        force: bool,
        **kwargs: object,
    ) -> None:
        wishes = RunWishes(
            profile=profile, prefer=prefer, kv=kv, max_memory=max_memory, min_speed=min_speed, force=force
        )
        function(*args, wishes=wishes, **kwargs)

    return decorated


def profile_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add --for; the function gets `profile`."""
    return click.option(
        "--for",
        "profile",
        metavar="PROFILE|FILE",
        shell_complete=candidates.profiles,
        help="Plan for another machine: a name of 'slmctl hardware --profiles', or a file.",
    )(function)


def plan_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add them; the function gets `planning`, a PlanOptions."""

    @profile_option
    @_preference
    @click.option(
        "--runtime", metavar="ENGINE", callback=_engine, help="This engine only, such as llama.cpp."
    )
    @_cache
    @click.option(
        "--parallel",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        metavar="NUMBER",
        help="Answers at once, each with its own context.",
    )
    @_limits
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
