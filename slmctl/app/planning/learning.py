"""Speeds sharpened by answers: recursive least squares of the two parameters of decoding (fit.md 4.1, 4.3).

    seconds per token = overhead * layers + bytes / bandwidth

is linear in (overhead, 1 / bandwidth). Each answer is one equation, divided by its own time, so that small
and large models count alike; older ones fade. One model alone cannot tell the two parameters apart: then the
prior does, and the fit moves along the line that its answers leave open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from slmctl.app.planning.history import SpeedRecord

TRUSTED_SAMPLES = 3
"""So many answers make a speed measured; before that it is one of the same device."""

_TRUSTED_DOUBT = 0.2
"""How far the bandwidth of a speed that counts as measured may be off, as a share: half of a prior's."""

_PRIOR_SPREAD = 0.4
"""How far a prior may be off (fit.md 4.3), as a share of it."""

_NOISE = 0.05
_FORGETTING = 0.98
_MAX_SURPRISE = 0.5
"""An answer that took far longer than expected shared the machine: it counts only so far, as a share."""

_CACHE_BYTES = 64 << 20
"""A model that is no larger lies in the processor's caches: its answers say little of the memory."""

_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedSample:
    """One answer: `bytes` are read for each token, of weights and the cache as it was filled on average;
    `seconds` are those of one token."""

    layers: int
    bytes: int
    seconds: float


def prior(record: SpeedRecord) -> SpeedRecord:
    """A record that knows nothing yet but the figures it was made with."""
    slope = _GB / record.bandwidth
    spread = ((_PRIOR_SPREAD * record.overhead) ** 2, 0.0, (_PRIOR_SPREAD * slope) ** 2)
    return replace(record, samples=0, covariance=spread)


def is_trusted(record: SpeedRecord) -> bool:
    """Whether a record is a measurement: a calibration's, or of enough answers that tell how fast the memory
    is. Those of models in the processor's caches do not, however many they are."""
    if record.covariance is None:
        return True
    doubt = math.sqrt(max(0.0, record.covariance[2])) * record.bandwidth / _GB
    return record.samples >= TRUSTED_SAMPLES and doubt <= _TRUSTED_DOUBT


def sharpened(record: SpeedRecord, sample: SpeedSample) -> SpeedRecord:
    """The record after one more answer. One that a calibration wrote begins with a quarter of a prior's
    doubt."""
    start = record
    if start.covariance is None:
        wide = prior(record).covariance
        assert wide is not None
        start = replace(record, covariance=(wide[0] / 16, wide[1], wide[2] / 16))
    assert start.covariance is not None
    a, b, d = start.covariance
    overhead, slope = start.overhead, _GB / start.bandwidth
    x, y = sample.layers / sample.seconds, sample.bytes / _GB / sample.seconds
    surprise = 1.0 - (overhead * x + slope * y)
    surprise = max(-_MAX_SURPRISE, min(_MAX_SURPRISE, surprise))
    px, py = a * x + b * y, b * x + d * y
    noise = _NOISE**2 * (1 + (_CACHE_BYTES / sample.bytes) ** 2)
    doubt = _FORGETTING * noise + x * px + y * py
    gain_x, gain_y = px / doubt, py / doubt
    widest = prior(record).covariance
    assert widest is not None
    first = min(widest[0], (a - gain_x * px) / _FORGETTING)
    last = min(widest[2], (d - gain_y * py) / _FORGETTING)
    most = math.sqrt(max(0.0, first * last))
    return replace(
        start,
        overhead=max(0.0, overhead + gain_x * surprise),
        bandwidth=_GB / max(slope / 8, slope + gain_y * surprise),
        samples=start.samples + 1,
        covariance=(first, max(-most, min(most, (b - gain_x * py) / _FORGETTING)), last),
    )
