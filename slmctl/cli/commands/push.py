"""slmctl push"""

from __future__ import annotations

from dataclasses import replace

import click

from registry.names import parse, parse_name, short_name
from slmctl.app.dialects.writing import FORMATS
from slmctl.app.finding import find_package
from slmctl.app.push import Pushed, PushRequest, destination_of, push
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.render import human_bytes
from slmctl.cli.sizes import to_rate


@make_command(
    "push",
    about="Send the model NAME to an OCI registry: to DEST (HOST/PATH:TAG), or where its name says. What the"
    " registry has already is not sent.",
)
@click.argument("name", shell_complete=candidates.models)
@click.argument("destination", metavar="[DEST]", required=False)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="What to make of it over the same blobs: modelpack (CNCF), docker (Docker Model Runner), ollama, or"
    " image (a container image with the files under /models).  [default: as it is]",
)
@click.option(
    "--base",
    metavar="IMAGE",
    help="With --format image: the image of a registry that lies below, for its sh, ln and sleep, which"
    " KServe's modelcars need (docker.io/library/busybox).",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="ID",
    shell_complete=candidates.variants,
    help="Only this build; may be given several times.",
)
@click.option(
    "--no-variant-tags",
    is_flag=True,
    help="Do not put each of several builds under a tag of its own (TAG-ID) beside the model's.",
)
@click.option(
    "--limit-rate", metavar="RATE", callback=to_rate, help="Bytes a second at most, all together: 5MB, 800kB."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
@network_options
def command(
    context: Context,
    name: str,
    destination: str | None,
    format_: str | None,
    base: str | None,
    variants: tuple[str, ...],
    no_variant_tags: bool,
    limit_rate: int | None,
    quiet: bool,
    network: NetworkOptions,
) -> None:
    context.output.quiet = quiet
    ref = parse_name(name)
    goes_to = destination_of(ref.full_name, parse(destination) if destination is not None else None)
    find_package(context.reader, ref, context.output.on_event)  # one that comes with slmctl is packaged first
    entry = context.reader.resolve(ref)
    request = PushRequest(
        entry=entry,
        destination=goes_to,
        format=format_,
        base=parse(base) if base is not None else None,
        variants=variants,
        variant_tags=not no_variant_tags,
    )
    with network.places(context) as places:
        pushed = push(
            context.store,
            context.reader,
            places,
            replace(request, pace=replace(places.network.settings.pace, limit_rate=limit_rate)),
            now=context.now(),
            on_event=context.output.on_event,
        )
    context.output.result(_fields(entry.name, pushed), lambda: _text(entry.name, pushed))


def _text(name: str, pushed: Pushed) -> str:
    sent = f"{human_bytes(pushed.sent)} sent" if pushed.sent else "all of it was there"
    others = f"; also as {', '.join(pushed.tags[1:])}" if len(pushed.tags) > 1 else ""
    return f"pushed '{short_name(name)}' to {pushed.reference} ({sent}){others}"


def _fields(name: str, pushed: Pushed) -> dict[str, object]:
    return {
        "name": name,
        "reference": pushed.reference,
        "digest": str(pushed.digest),
        "tags": list(pushed.tags),
        "variants": list(pushed.variants),
        "base": pushed.base,
        "size": pushed.size,
        "sent": pushed.sent,
        "notes": list(pushed.notes),
    }
