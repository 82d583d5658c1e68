"""slmctl show"""

from __future__ import annotations

import click

from registry.names import parse_name
from slmctl.app.finding import find_package
from slmctl.app.package import Package, Variant
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.describe import describe, runtime_of


@make_command("show", about="Show what the model NAME is and what its author set.")
@click.argument("name", shell_complete=candidates.models)
@click.option(
    "--variant",
    metavar="ID",
    shell_complete=candidates.variants,
    help="Which build, where there are several.",
)
def command(context: Context, name: str, variant: str | None) -> None:
    package = find_package(context.reader, parse_name(name), context.output.on_event)
    chosen = package.choose(variant)
    context.output.result(_fields(package), lambda: describe(package, chosen))


def _fields(package: Package) -> dict[str, object]:
    return {
        "name": package.name,
        "digest": str(package.digest),
        "size": package.size,
        "source": package.source,
        "modified": package.linked,
        "variants": [_variant_fields(variant) for variant in package.variants],
    }


def _variant_fields(variant: Variant) -> dict[str, object]:
    return {
        "id": variant.id,
        "runtime": runtime_of(variant),
        "size": variant.size,
        "local": variant.local,
        "fits": None,  # unknown until there is a plan
        "digest": str(variant.digest),
        "format": variant.format,
        "quantization": variant.quantization,
        "facts": variant.facts.to_json() if variant.facts else None,
        "spec": variant.spec.to_json(),
        "files": [
            {"path": file.path, "role": file.role, "digest": str(file.digest), "size": file.size}
            for file in variant.files
        ],
    }
