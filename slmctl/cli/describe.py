"""A model in words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from modelfiles.spec import ParameterValue
from runtimes.engines.catalog import engine_name
from slmctl.app.measured import Measured, Measurements
from slmctl.app.package import Package, Variant
from slmctl.app.upstream import pin_of
from slmctl.cli.render import human_bytes, human_count, sections

NOTHING_MEASURED: Measurements = MappingProxyType({})
NOTHING_KNOWN: Mapping[str, bool] = MappingProxyType({})
_FITS = {True: ", fits here", False: ", does not fit here", None: ""}


def describe(
    package: Package,
    variant: Variant,
    fits: Mapping[str, bool] = NOTHING_KNOWN,
    measured: Measurements = NOTHING_MEASURED,
) -> str:
    """What a model is, as `show` and the prompt's /show tell it. `fits` says by id what has room here,
    `measured` what was measured."""
    facts = variant.facts
    model = [
        ("name", package.name),
        ("digest", str(package.digest)),
        ("size", human_bytes(package.size)),
        ("source", package.source or "another tool"),
        *(("pinned to" if pin_of(place) else "follows", place) for place in package.tracks),
    ]
    if facts is not None:
        model += [
            ("architecture", facts.architecture),
            ("parameters", human_count(facts.parameters)),
            ("context length", str(facts.trained_context or "-")),
            ("embedding length", str(facts.hidden or "-")),
            ("quantization", facts.quantization or "-"),
        ]
    model += [
        (role, human_bytes(sum(file.size for file in files)))
        for role in ("projector", "adapter", "draft")
        if (files := variant.of_role(role))
    ]
    model += [
        (name, text)
        for name in ("renderer", "parser", "requires")
        if (text := getattr(variant.spec, name)) is not None
    ]
    variants = [
        (each.id, f"{human_bytes(each.size)}, {runtime_of(each) or 'no engine'}{_FITS[fits.get(each.id)]}")
        for each in package.variants
    ]
    quality = [
        (each.id, measured_words(found)) for each in package.variants for found in measured.get(each.id, ())
    ]
    parameters = parameter_rows(variant.spec.parameters)
    system = [(line, "") for line in _first_lines(variant.spec.system or "")]
    licenses = [
        (line, "") for text in (*variant.licenses, *variant.spec.licenses) for line in text.splitlines()[:1]
    ]
    blocks = {
        "Model": model,
        "Variants": variants,
        "Measured": quality,
        "Parameters": parameters,
        "System": system,
        "License": licenses,
    }
    return f"{sections(blocks)}\n"


def measured_words(measured: Measured) -> str:
    """A measurement in a line; what tells the text is the beginning of its digest."""
    text = f"perplexity {measured.perplexity.value:.4g} on {measured.text.short}"
    if measured.against is None:
        return text
    against = measured.against
    return (
        f"{text}; loses {against.divergence.value:.4f} against {against.variant},"
        f" {against.same_top.value:.1%} the same token"
    )


def parameter_rows(parameters: Mapping[str, ParameterValue]) -> list[tuple[str, str]]:
    """Names and values as people read them."""
    return [
        (name, ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value))
        for name, value in parameters.items()
    ]


def runtime_of(variant: Variant) -> str | None:
    """The engine that runs a variant; None when none does."""
    return engine_name(variant.format, variant.facts.architecture if variant.facts else None)


def _first_lines(text: str) -> list[str]:
    lines = text.splitlines()
    return [*lines[:2], "..."] if len(lines) > 2 else lines
