"""Sizes that people type: `500MB`, `4GB`, `2GiB`."""

from __future__ import annotations

import re

import click

_UNITS = {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)}
_UNITS |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)}
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?([kmgt]i?b)", re.IGNORECASE | re.ASCII)


class ByteSize(click.ParamType):
    """A number with its unit, to bytes. A number alone is refused, and so is `3B`: some mean bytes by it, others
    billions of parameters."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{str(value)!r:.40} is no size such as 500MB, 4GB or 2GiB", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].lower()])
