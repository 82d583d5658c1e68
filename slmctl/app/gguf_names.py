"""What the names of GGUF files say, as people who publish them write them."""

from __future__ import annotations

import re
from pathlib import PurePath

_LABEL = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q[0-9][0-9A-Z_]*|TQ[0-9]_0|MXFP4[0-9A-Z_]*|NVFP4|BF16|F16|F32|FP16|FP32))"
    r"(?=$|[-._])",
    re.ASCII | re.IGNORECASE,
)
_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
"""Which projector is taken where there are several, best first."""


def label_in(stem: str) -> str | None:
    """The quantization in a file's name without ending and part number, upper case: the last that it has."""
    found = _LABEL.findall(stem)
    return str(found[-1]).upper().replace("FP16", "F16").replace("FP32", "F32") if found else None


def projector_order(stem: PurePath) -> tuple[int, str]:
    """A sort key: which of several projectors is taken, best first. `stem` is its path without the ending."""
    label = label_in(stem.name) or ""
    return (_PROJECTORS.index(label) if label in _PROJECTORS else len(_PROJECTORS), str(stem))


def is_beside(projector: PurePath, weights: PurePath) -> bool:
    """Whether it lies in the folder of the weights, or above."""
    return projector.parent == weights.parent or projector.parent in weights.parents
