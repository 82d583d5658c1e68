"""The two parameters of decoding from runs that were timed (fit.md 4.1 and 4.3).

    seconds per token = overhead * layers + bytes / bandwidth

Least squares of the relative errors, with the prior as two more equations that count little. So two models of
different size give both parameters, and one model moves the one that its time consists of and leaves the
other near the prior. A model that a cache may hold says nothing about the memory's bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_NOISE = 0.03
"""By how much a run is off that nothing disturbs, as a share: repeated runs here differ by so much."""

_PRIOR_DOUBT = 3.0
"""How far a prior may be off, as a share of it: wide, for what was measured counts."""

IN_CACHE = 64 << 20
"""Bytes that the caches of a processor may hold between two tokens: the largest of today's desktops do."""

_LEAST_OF_PRIOR = 1 / 20
_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRun:
    """A model's decoding: `bytes` are read for each token (weights and what is filled of the cache),
    `seconds` are those of one token."""

    layers: int
    bytes: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Seconds per layer and token, and bytes per second."""

    overhead: float
    bandwidth: float

    def seconds(self, run: TimedRun) -> float:
        """What a token of such a run takes."""
        return self.overhead * run.layers + run.bytes / self.bandwidth

    def error(self, run: TimedRun) -> float:
        """By which share the predicted speed (tokens per second) is off; above 0 it is too high."""
        return run.seconds / self.seconds(run) - 1


def calibrated(prior: Rates, runs: Sequence[TimedRun]) -> Rates:
    """The parameters that fit the runs; the prior's where there are none.

    Neither becomes negative, nor 20 times better than the prior: that no measurement would say.
    """
    slope = _GB / prior.bandwidth
    equations = [_equation(run, slope) for run in runs]
    doubts = [(1 / (_PRIOR_DOUBT * prior.overhead), 0.0, 1 / _PRIOR_DOUBT)] if prior.overhead else []
    equations += [*doubts, (0.0, 1 / (_PRIOR_DOUBT * slope), 1 / _PRIOR_DOUBT)]
    xx = sum(x * x for x, _, _ in equations)
    xy = sum(x * y for x, y, _ in equations)
    yy = sum(y * y for _, y, _ in equations)
    xz = sum(x * z for x, _, z in equations)
    yz = sum(y * z for _, y, z in equations)
    determinant = xx * yy - xy * xy
    overhead = (xz * yy - yz * xy) / determinant if determinant > 0 else prior.overhead
    least = slope * _LEAST_OF_PRIOR
    per_gb = (yz - max(overhead, 0.0) * xy) / yy
    if per_gb < least and xx > 0:
        per_gb = least
        overhead = (xz - per_gb * xy) / xx
    return Rates(overhead=max(overhead, 0.0), bandwidth=_GB / per_gb)


def _equation(run: TimedRun, slope: float) -> tuple[float, float, float]:
    """A run's equation x * overhead + y * seconds per GB = z, divided by its doubt."""
    read = run.bytes / _GB / run.seconds
    if run.bytes < IN_CACHE:
        return run.layers / run.seconds / _NOISE, 0.0, max(0.0, 1 - read * slope) / _NOISE
    return run.layers / run.seconds / _NOISE, read / _NOISE, 1 / _NOISE
