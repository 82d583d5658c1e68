"""Quantized builds of a model in a file, by slmctl's own quantizer."""

from __future__ import annotations

import os
from pathlib import Path

from runtimes.quantize.quantize import prepare, write
from runtimes.quantize.request import QuantizeRequest


def write_quantized(source: Path, target: Path, quantization: str) -> Path:
    """The build of `source` in `quantization`, without an importance matrix."""
    prepared = prepare(QuantizeRequest(sources=(source,), quantization=quantization))
    target.touch()
    write(prepared, target, environ=os.environ, on_progress=lambda _: None)
    return target
