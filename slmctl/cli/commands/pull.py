"""slmctl pull"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from registry.errors import SlmctlError, UsageError
from registry.names import parse, parse_name, parse_new_name, short_name
from slmctl.app.chooser import Chooser
from slmctl.app.pull import Pulled, PullRequest, pull
from slmctl.app.pulls import by_name, everything, of_lock
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import exit_code
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.plan_options import profile_option
from slmctl.cli.render import human_bytes
from slmctl.cli.sizes import to_rate

if TYPE_CHECKING:
    from slmctl.app.places import Places
    from slmctl.app.planning.picking import Picker

_ABOUT = (
    "Fetch models into the store: from the Hugging Face Hub (hf.co/ORG/REPO:QUANTIZATION), Ollama's registry"
    " (ollama://NAME), any OCI registry (HOST/PATH:TAG), or by the short name that the library knows (qwen3)."
)


@make_command("pull", about=_ABOUT)
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=candidates.pullable)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="ID",
    help="Which build, where there are several; may be given several times.",
)
@click.option("--all-variants", is_flag=True, help="Every build that there is.")
@click.option("--all", "all_names", is_flag=True, help="All that was pulled before, as it is there now.")
@click.option(
    "--lock",
    "lock_file",
    metavar="FILE",
    shell_complete=candidates.files,
    help="What a lock file pins (or NAME... of it), with those digests or not at all.",
)
@click.option("--as", "new_name", metavar="NAME", help="What to call the model here.")
@click.option(
    "--force", is_flag=True, help="Replace what has that name: a model from somewhere else, other variants."
)
@profile_option
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option(
    "--limit-rate", metavar="RATE", callback=to_rate, help="Bytes a second at most, all together: 5MB, 800kB."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
@network_options
def command(
    context: Context,
    names: tuple[str, ...],
    variants: tuple[str, ...],
    all_variants: bool,
    all_names: bool,
    lock_file: str | None,
    new_name: str | None,
    force: bool,
    profile: str | None,
    dry_run: bool,
    limit_rate: int | None,
    quiet: bool,
    network: NetworkOptions,
) -> None:
    context.output.quiet = quiet
    if variants and all_variants:
        raise UsageError("--variant and --all-variants exclude each other.", hint="Give one of the two.")
    _check_usage(names, all_names=all_names, lock_file=lock_file, new_name=new_name)
    chooser = Chooser(lambda: _picker(context, profile))
    if profile is not None:
        chooser.prepare()
    with network.places(context) as places:
        requests = _requests(context, places, names, lock_file, new_name, chooser, force=force)
        outcomes: list[Pulled | Failed] = []
        for each in requests:
            request = replace(
                each,
                variants=variants,
                all_variants=all_variants,
                force=force,
                dry_run=dry_run,
                pace=replace(places.network.settings.pace, limit_rate=limit_rate),
                picker=chooser,
            )
            try:
                outcomes.append(_pull_one(context, places, request))
            except SlmctlError as error:
                if len(requests) == 1:
                    raise
                outcomes.append(Failed(each.where.name, error))
                context.output.end_progress()
                context.output.note(f"{short_name(each.where.name)}: {error.message}")
    pulled = [each for each in outcomes if isinstance(each, Pulled)]
    failed = [each for each in outcomes if isinstance(each, Failed)]
    context.output.result(
        {
            "dry_run": dry_run,
            "models": [_fields(each) for each in pulled],
            "failed": [each.fields() for each in failed],
        },
        lambda: "\n".join(_line(each, dry_run=dry_run) for each in pulled),
    )
    if all_names and not requests:
        context.output.note("Nothing in the store was pulled from anywhere.")
    if failed:
        click.get_current_context().exit(exit_code(failed[0].error))


@dataclass(frozen=True, slots=True)
class Failed:
    """A model of several that could not be had."""

    name: str
    error: SlmctlError

    def fields(self) -> dict[str, object]:
        error = self.error
        return {
            "name": self.name,
            "error": {"code": error.code, "message": error.message, "hint": error.hint},
        }


def _check_usage(
    names: Sequence[str], *, all_names: bool, lock_file: str | None, new_name: str | None
) -> None:
    if all_names and (names or lock_file):
        raise UsageError("--all takes no names and no --lock.", hint="Write: slmctl pull --all")
    if not (names or all_names or lock_file):
        raise UsageError(
            "It takes the names of models, --all or --lock FILE.", hint="For example: slmctl pull qwen3:0.6b"
        )
    if new_name is not None and len(names) != 1:
        raise UsageError("--as names one model.", hint="Pull one model at a time with --as.")
    if new_name is not None and lock_file:
        raise UsageError(
            "--as and --lock exclude each other: a lock file has the names.", hint="Leave out --as."
        )


def _requests(
    context: Context,
    places: Places,
    names: Sequence[str],
    lock_file: str | None,
    new_name: str | None,
    chooser: Chooser,
    *,
    force: bool,
) -> list[PullRequest]:
    if lock_file is not None:
        from slmctl.cli.lock_files import read_lock

        return of_lock(context.store, read_lock(lock_file), [parse_name(name) for name in names])
    if not names:
        return everything(context.store)
    rename = parse_new_name(new_name) if new_name is not None else None
    search = places.network.settings.search
    return [
        by_name(context.store, parse(name), search=search, name=rename, force=force, sized=chooser.size)
        for name in names
    ]


def _picker(context: Context, profile: str | None) -> Picker:
    """Who chooses where there are several builds, or sizes. Raises UsageError for a profile that is none."""
    from runtimes.planning.values import PlanRequest
    from slmctl.app.planning.picking import Picker
    from slmctl.app.planning.planner import Planner

    planner = Planner(context.settings, profile=profile)
    if profile is not None:
        _ = planner.hardware
    request = PlanRequest(context=context.settings.context_length)
    return Picker(planner, request, context.output.on_event)


def _pull_one(context: Context, places: Places, request: PullRequest) -> Pulled:
    context.output.status(f"looking for {short_name(request.where.name)}")
    return pull(context.store, places, request, now=context.now(), on_event=context.output.on_event)


def _line(pulled: Pulled, *, dry_run: bool) -> str:
    name, variants = short_name(pulled.name), ", ".join(pulled.variants)
    what = f"'{name}' ({variants}, {human_bytes(pulled.size)})"
    if dry_run:
        free = f"{'only ' if pulled.missing > pulled.free else ''}{human_bytes(pulled.free)} are free"
        return f"would fetch {human_bytes(pulled.missing)} for {what}; {free}"
    if not pulled.changed:
        return f"{what} is up to date"
    return f"pulled {what} from {pulled.source}"


def _fields(pulled: Pulled) -> dict[str, object]:
    return {
        "name": pulled.name,
        "digest": str(pulled.digest) if pulled.digest is not None else None,
        "source": pulled.source,
        "variants": list(pulled.variants),
        "other_variants": list(pulled.others),
        "size": pulled.size,
        "missing": pulled.missing,
        "free": pulled.free,
        "changed": pulled.changed,
    }
