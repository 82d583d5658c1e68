"""slmctl show"""

from __future__ import annotations

import click

from registry.names import parse_name
from runtimes.engines.catalog import engine_name
from slmctl.app.models import find_package
from slmctl.app.package import Package, Variant
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import human_bytes, human_count, sections


@make_command("show", about="Show what the model NAME is and what its author set.")
@click.argument("name")
@click.option("--variant", metavar="ID", help="Which build, where there are several.")
def command(context: Context, name: str, variant: str | None) -> None:
    package = find_package(context.store, parse_name(name), context.output.on_event)
    chosen = package.choose(variant)
    context.output.result(_fields(package), lambda: _text(package, chosen))


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
        "runtime": _runtime(variant),
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


def _text(package: Package, variant: Variant) -> str:
    facts = variant.facts
    model = [
        ("name", package.name),
        ("digest", str(package.digest)),
        ("size", human_bytes(package.size)),
        ("source", package.source or "another tool"),
    ]
    if facts is not None:
        model += [
            ("architecture", facts.architecture),
            ("parameters", human_count(facts.parameters)),
            ("context length", str(facts.trained_context or "-")),
            ("embedding length", str(facts.hidden or "-")),
            ("quantization", facts.quantization or "-"),
        ]
    variants = [
        (each.id, f"{human_bytes(each.size)}, {_runtime(each) or 'no engine'}") for each in package.variants
    ]
    parameters = [
        (name, ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value))
        for name, value in variant.spec.parameters.items()
    ]
    system = [(line, "") for line in _first_lines(variant.spec.system or "")]
    blocks = {"Model": model, "Variants": variants, "Parameters": parameters, "System": system}
    return f"{sections(blocks)}\n"


def _runtime(variant: Variant) -> str | None:
    return engine_name(variant.format, variant.facts.architecture if variant.facts else None)


def _first_lines(text: str) -> list[str]:
    lines = text.splitlines()
    return [*lines[:2], "..."] if len(lines) > 2 else lines
