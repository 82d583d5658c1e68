"""Note what llama-cpp-python makes of a few small models, for the tests that run without it.

    python -m tests.compat.record_quantize

writes tests/golden/quantize.json: for each model and label the digest of the header and that of the data,
which is the same on every x86-64 (other compilers fuse multiplications and additions).
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from registry.formats.gguf import read_header
from tests.compat.test_quantize import Case, by_llama_cpp
from tests.runtimes.quantize.golden import PATH, requests


def record() -> dict[str, dict[str, list[str]]]:
    """Model and label to both digests."""
    found: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given: Sequence[tuple[str, str, Case]] = [
            (model, label, Case(request=request, weights=weights))
            for model, label, request, _, weights in requests(folder)
        ]
        for (model, label, _), made in zip(
            given, by_llama_cpp([case for _, _, case in given], folder), strict=True
        ):
            assert made is not None, (model, label)
            found.setdefault(model, {})[label] = digests(made)
    return found


def digests(made: bytes) -> list[str]:
    start = read_header(io.BytesIO(made)).data_offset
    return [hashlib.sha256(part).hexdigest() for part in (made[:start], made[start:])]


if __name__ == "__main__":
    PATH.write_text(json.dumps(record(), indent=1, sort_keys=True) + "\n")
