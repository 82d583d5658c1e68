"""Generation defaults: what the makers of a model say about sampling, as keys `general.sampling.*`.

Sources: Transformers' generation_config.json (`GenerationConfig`) and llama.cpp's keys of these names,
which its own tools take as defaults. `repetition_penalty` is llama.cpp's `penalty_repeat`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from gguf import GGUFValueType, Keys

from registry.errors import MalformedFile
from runtimes.convert.files import SourceFiles
from runtimes.convert.keys import real
from runtimes.convert.values import Key

_FILE = "generation_config.json"
_MAX_BYTES = 1 << 20
_MAX_I32 = 2**31 - 1
_WHOLE = GGUFValueType.INT32
_REAL = GGUFValueType.FLOAT32
_KEYS = (
    (Keys.General.SAMPLING_TOP_K, _WHOLE, ("top_k",)),
    (Keys.General.SAMPLING_TOP_P, _REAL, ("top_p",)),
    (Keys.General.SAMPLING_MIN_P, _REAL, ("min_p",)),
    (Keys.General.SAMPLING_XTC_PROBABILITY, _REAL, ("xtc_probability",)),
    (Keys.General.SAMPLING_XTC_THRESHOLD, _REAL, ("xtc_threshold",)),
    (Keys.General.SAMPLING_TEMP, _REAL, ("temperature",)),
    (Keys.General.SAMPLING_PENALTY_LAST_N, _WHOLE, ("penalty_last_n",)),
    (Keys.General.SAMPLING_PENALTY_REPEAT, _REAL, ("penalty_repeat", "repetition_penalty")),
    (Keys.General.SAMPLING_MIROSTAT, _WHOLE, ("mirostat",)),
    (Keys.General.SAMPLING_MIROSTAT_TAU, _REAL, ("mirostat_tau",)),
    (Keys.General.SAMPLING_MIROSTAT_ETA, _REAL, ("mirostat_eta",)),
)


def sampling_keys(files: SourceFiles) -> list[Key]:
    """The keys, in llama.cpp's order. A value of the wrong type counts as not there, and so does a file
    that is none: nothing else depends on it."""
    try:
        fields = files.optional_json(_FILE, _MAX_BYTES)
    except MalformedFile:
        return []
    keys = []
    for name, kind, theirs in _KEYS:
        value = _number(fields, theirs)
        if value is None:
            continue
        if kind is _REAL:
            keys.append(real(name, value))
        elif value == int(value) and abs(value) <= _MAX_I32:
            keys.append(Key(name=name, value=int(value), kind=_WHOLE))
    return keys


def _number(fields: Mapping[str, object], names: tuple[str, ...]) -> float | None:
    for name in names:
        value = fields.get(name)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 1e30
            and math.isfinite(value)
        ):
            return value
    return None
