"""Sizes that people type: `500MB`, `4GB`, `2GiB`."""

from __future__ import annotations

import re

import click

_UNITS: dict[str, int] = {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)}
_UNITS |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)}
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?([kmgt]i?b)", re.IGNORECASE | re.ASCII)


def to_bytes(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """A click callback: a number with its unit, to bytes. Raises click.BadParameter.

    A number alone is refused, and so is `3B`: some mean bytes by it, others billions of parameters.
    """
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r:.40} is no size such as 500MB, 4GB or 2GiB")
    return round(float(match[1]) * _UNITS[match[2].lower()])


def to_rate(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """As `to_bytes`, for bytes a second: `5MB`, `5MB/s`."""
    return to_bytes(context, parameter, None if value is None else value.strip().removesuffix("/s"))
