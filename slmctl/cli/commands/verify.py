"""slmctl verify"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from registry.digest import Digest
from registry.errors import BadContent, UsageError
from registry.names import short_name
from registry.store.findings import Finding, Report
from slmctl.app.checking import CheckRequest, check
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.render import counted, human_bytes, table

_WORDS = {
    "contradiction": "facts in the manifest that the file's header contradicts; the header counts",
    "not_pulled": "not pulled",
    "temporary": "left by commands that were killed; 'slmctl gc' removes them",
    "unneeded": "needed by no model; 'slmctl gc' frees them",
    "foreign": "not slmctl's, and left alone",
}


@make_command(
    "verify",
    about="Hash everything in the store, or what the model NAME, the bundle at PATH or its model PATH:NAME"
    " has, and say what is damaged or missing. Damaged files of your own store are moved to its folder"
    " 'quarantine'.",
)
@click.argument("target", required=False, metavar="[NAME|PATH]", shell_complete=candidates.models_and_files)
@click.option(
    "--digest", metavar="DIGEST", help="What the model has to have, or the bundle: 'export' told it."
)
@click.option(
    "--repair",
    is_flag=True,
    help="Fetch what is damaged or missing from where it came from; nothing else is fetched.",
)
@network_options
def command(
    context: Context, target: str | None, digest: str | None, repair: bool, network: NetworkOptions
) -> None:
    request = CheckRequest(target=target, digest=_digest(digest), repair=repair)
    on_event = context.output.on_event
    if repair:
        with network.places(context) as places:
            report = check(
                context.keeper, request, on_event, further=context.further, remote_of=places.remote_of
            )
    else:
        report = check(context.keeper, request, on_event, further=context.further)
    context.output.result(_fields(report), lambda: _text(report))
    for line in _others(report.findings):
        context.output.note(line)
    moved = next((each.quarantined for each in report.findings if each.quarantined), None)
    if moved is not None:
        context.output.note(f"What was damaged lies in {moved.parent}; nothing of slmctl's deletes it.")
    if report.is_well:
        return
    if context.output.as_json:  # the document is written
        click.get_current_context().exit(Exit.BAD_CONTENT)
    can_repair = not repair and report.root == context.keeper.root
    raise BadContent(_sentence(report), hint=_hint(report, can_repair=can_repair))


def _digest(text: str | None) -> Digest | None:
    if text is None:
        return None
    try:
        return Digest.parse(text if ":" in text else f"sha256:{text}")
    except BadContent as error:
        raise UsageError(error.message, hint="'slmctl show NAME --json' tells a model's digest.") from None


def _fields(report: Report) -> dict[str, object]:
    return {
        "path": str(report.root),
        "well": report.is_well,
        "names": report.names,
        "blobs": report.blobs,
        "size": report.size,
        "findings": [
            {
                "kind": finding.kind,
                "digest": str(finding.digest) if finding.digest else None,
                "message": finding.message,
                "path": str(finding.path) if finding.path else None,
                "size": finding.size,
                "needed_by": [
                    {"name": user.name, "variant": user.variant or None}
                    for user in finding.users
                    if user.name
                ],
                "quarantined": str(finding.quarantined) if finding.quarantined else None,
                "repaired": finding.repaired,
                "adopted_from": finding.adopted_from,
            }
            for finding in report.findings
        ],
    }


def _text(report: Report) -> str:
    bad = [finding for finding in report.findings if finding.is_bad or finding.repaired]
    if bad:
        rows = [
            (
                "repaired" if finding.repaired else finding.kind,
                finding.digest.short if finding.digest else finding.path.name if finding.path else "-",
                human_bytes(finding.size),
                _users(finding),
                _why(finding),
            )
            for finding in bad
        ]
        return table(("WHAT", "ID", "SIZE", "NEEDED BY", "WHY"), rows)
    return f"{_looked_at(report)}: nothing is damaged or missing"


def _looked_at(report: Report) -> str:
    return f"{counted(report.names, 'model')}, {counted(report.blobs, 'file')}, {human_bytes(report.size)}"


def _users(finding: Finding) -> str:
    names = list(dict.fromkeys(short_name(user.name) for user in finding.users if user.name))
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    return ", ".join(names) or "-"


def _why(finding: Finding) -> str:
    if finding.repaired:
        return f"from {finding.repaired}"
    moved = finding.quarantined and finding.kind == "damaged"
    return f"{finding.message}; moved to quarantine" if moved else finding.message


def _others(findings: Sequence[Finding]) -> list[str]:
    """What is only named, one line a kind."""
    lines = []
    for kind, words in _WORDS.items():
        same = [finding for finding in findings if finding.kind == kind]
        if not same:
            continue
        size = sum(finding.size or 0 for finding in same)
        if kind in {"contradiction", "not_pulled"}:
            shown = [f"{user.name} {user.variant}".strip() for each in same for user in each.users]
        else:
            shown = [str(each.path or each.digest) for each in same]
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        lines.append(f"{', '.join(shown[:3])}{more} ({human_bytes(size)}): {words}")
    return lines


def _sentence(report: Report) -> str:
    kinds = Counter(finding.kind for finding in report.findings if finding.is_bad)
    what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{_looked_at(report)} looked at: {what}."


def _hint(report: Report, *, can_repair: bool) -> str:
    tools = {finding.adopted_from for finding in report.findings if finding.is_bad}
    if None not in tools:
        owners = " and ".join(sorted(filter(None, tools)))
        return f"Get it again with {owners} and run 'slmctl adopt', or remove it with 'slmctl rm'."
    if can_repair:
        return "'slmctl verify --repair' fetches what is lost from where it came from."
    return "Make, pull or import the models again, or copy the files from a backup."
