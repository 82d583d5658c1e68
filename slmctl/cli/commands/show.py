"""slmctl show"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click

from modelfiles.format import format_spec, lines_of
from modelfiles.spec import ModelSpec
from registry.names import parse
from registry.store.reader import StoreReader
from slmctl.app.adopted import adopted_problems
from slmctl.app.finding import locate
from slmctl.app.measured import Measured, Measurements, measured_quality
from slmctl.app.package import Package, Variant
from slmctl.app.planning.fitting import variants_that_fit
from slmctl.app.planning.planner import Planner
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.describe import describe, runtime_of
from slmctl.cli.plan_options import profile_option


@make_command(
    "show", about="Show what the model NAME, or that in the bundle at PATH, is and what its author set."
)
@click.argument("name", metavar="NAME|PATH", shell_complete=candidates.models_and_paths)
@click.option(
    "--variant",
    metavar="ID",
    shell_complete=candidates.variants,
    help="Which build, where there are several.",
)
@click.option("--modelfile", "view", flag_value="modelfile", help="A Modelfile that makes the same model.")
@click.option("--parameters", "view", flag_value="parameters", help="The parameters alone.")
@click.option("--template", "view", flag_value="template", help="The template that writes the prompts.")
@click.option("--system", "view", flag_value="system", help="The system message alone.")
@click.option("--license", "view", flag_value="license", help="The licences alone.")
@profile_option
def command(context: Context, name: str, variant: str | None, view: str | None, profile: str | None) -> None:
    reader, package = locate(context.reader, parse(name), context.output.on_event)
    chosen = package.choose(variant)
    measured = measured_quality(reader, package)
    for problem in adopted_problems(reader, package, chosen):
        context.output.note(problem)
    if view == "template":
        context.output.result(_fields(package, {}, measured), lambda: _template(reader, package, chosen))
        return
    if view is not None:
        context.output.result(_fields(package, {}, measured), lambda: _VIEWS[view](package, chosen))
        return
    fits = variants_that_fit(Planner(context.settings, profile=profile, quick=True), reader, package)
    context.output.result(_fields(package, fits, measured), lambda: describe(package, chosen, fits, measured))


def _template(reader: StoreReader, package: Package, variant: Variant) -> str:
    from slmctl.app.rendering import template_text  # reads the model's file

    return template_text(reader, package, variant)[0]


def _modelfile(package: Package, variant: Variant) -> str:
    """Making a model of it gives the same manifest digest: what it says is inherited, and said again."""
    alike = all(each.spec == variant.spec for each in package.variants)  # else only inherited, each its own
    spec = variant.spec if alike else ModelSpec()
    return format_spec(spec, source=f"{package.name}@{package.digest}").rstrip("\n")


def _parameters(_: Package, variant: Variant) -> str:
    lines = [line for line in lines_of(variant.spec, source="") if line.keyword == "PARAMETER"]
    return "\n".join(f"{line.name} {line.value}" for line in lines)


_VIEWS: Mapping[str, Callable[[Package, Variant], str]] = {
    "modelfile": _modelfile,
    "parameters": _parameters,
    "system": lambda _, variant: variant.spec.system or "",
    "license": lambda _, variant: "\n\n".join((*variant.licenses, *variant.spec.licenses)),
}


def _fields(package: Package, fits: Mapping[str, bool], measured: Measurements) -> dict[str, object]:
    return {
        "name": package.name,
        "digest": str(package.digest),
        "size": package.size,
        "source": package.source,
        "modified": package.linked,
        "variants": [
            _variant_fields(variant, fits.get(variant.id), measured.get(variant.id, ()))
            for variant in package.variants
        ],
    }


def _variant_fields(variant: Variant, fits: bool | None, measured: Sequence[Measured]) -> dict[str, object]:
    return {
        "id": variant.id,
        "runtime": runtime_of(variant),
        "size": variant.size,
        "local": variant.local,
        "fits": fits,
        "digest": str(variant.digest),
        "format": variant.format,
        "quantization": variant.quantization,
        "facts": variant.facts.to_json() if variant.facts else None,
        "spec": variant.spec.to_json(),
        "files": [
            {"path": file.path, "role": file.role, "digest": str(file.digest), "size": file.size}
            for file in variant.files
        ],
        "measured": [each.to_json() for each in measured],
    }
