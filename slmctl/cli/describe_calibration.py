"""What a calibration found, in words 80 columns wide and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap

from registry.names import short_name
from runtimes.planning.calibration import Rates
from slmctl.app.planning.calibrating import Calibration
from slmctl.cli.render import counted, human_bytes, table

_WIDTH = 80
_INDENT = "    "


def describe_calibration(found: Calibration) -> str:
    """The block behind what `slmctl hardware` shows."""
    where = f"{found.engine} {found.build} on {found.place} with {counted(found.threads, 'thread')}"
    rows = [
        (
            short_name(model.name),
            model.variant,
            human_bytes(model.bytes_read),
            f"{model.before:.1f}",
            f"{model.measured:.1f}",
            f"{model.after:.1f}",
        )
        for model in found.models
    ]
    shown = table(("MODEL", "BUILD", "A TOKEN READS", "PREDICTED", "MEASURED", "NOW"), rows)
    parameters = (
        f"{_rates(found.before)} ({found.basis}) before, {_rates(found.after)} now. Speeds are tokens per"
        f" second. {found.accuracy}"
    )
    lines = ["  Calibration", *(f"{_INDENT}{line}" for line in (where, *shown.splitlines()))]
    lines += textwrap.wrap(parameters, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return "\n".join(lines) + "\n"


def calibration_fields(found: Calibration) -> dict[str, object]:
    """The key `calibration` of `slmctl.hardware/1`."""
    return {
        "engine": found.engine,
        "build": found.build,
        "place": found.place,
        "threads": found.threads,
        "date": found.date,
        "before": {**dataclasses.asdict(found.before), "basis": found.basis},
        "after": {**dataclasses.asdict(found.after), "basis": found.basis_now},
        "models": [dataclasses.asdict(model) for model in found.models],
        "accuracy": found.accuracy,
    }


def _rates(rates: Rates) -> str:
    return f"{rates.overhead * 1e6:.0f} us a layer and {rates.bandwidth / 1e9:.1f} GB/s"
