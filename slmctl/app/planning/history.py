"""What this machine has learned from the models that it ran: the value behind the schema `slmctl.history/1`.

Pure. Three tables, each bounded, newest last: how far estimates were off, how fast answers came, and which
loads died of too little memory. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from runtimes.planning.values import LowerBound, Shape

SCHEMA = "slmctl.history/1"
MAX_ROWS = 64
"""Of each table; the oldest go."""

BOUND_LASTS = timedelta(days=7)
"""A death may have been another process's fault: after so long the load is tried again (decision 26)."""

_CLOCKS_DIFFER = timedelta(days=1)

_MAX_TEXT = 500

TOO_FAR_OFF = 0.05
"""An estimate that is off by more is made by formula no longer, for its architecture and build (fit.md
6.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRecord:
    """Estimates for one architecture by one engine build, held against the engine's own figures after loads.

    `planned` and `measured` are bytes of the last load, as far as the engine tells of its buffers; `worst` is
    the largest share by which one was off. `oracle` says that the formulas are not trusted any more.
    """

    architecture: str
    engine: str
    build: str
    loads: int
    planned: int
    measured: int
    worst: float
    oracle: bool
    model: str
    date: str

    @property
    def key(self) -> tuple[str, ...]:
        return (self.architecture, self.engine, self.build)

    @property
    def error(self) -> float:
        """By which share of the engine's figure the last estimate was off; above 0 it was too high."""
        return self.planned / self.measured - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRecord:
    """How fast one engine build decodes at one place of one machine, with so many threads.

    `overhead` is seconds per layer and token, `bandwidth` the bytes per second that are reached. `covariance`
    is that of recursive least squares, of (overhead, seconds per GB): variance, covariance, variance; None
    for figures of a calibration. `place` is `cpu` or a device's id, `machine` names the CPU or the device.
    """

    engine: str
    build: str
    place: str
    machine: str
    threads: int
    overhead: float
    bandwidth: float
    samples: int
    covariance: tuple[float, float, float] | None = None
    date: str

    @property
    def key(self) -> tuple[object, ...]:
        return (self.engine, self.place, self.machine, self.threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRecord:
    """A load that died of too little memory, of which model by which build of the engine, and when."""

    bound: LowerBound
    build: str
    model: str
    date: str

    @property
    def key(self) -> tuple[object, ...]:
        return (self.bound.digest, self.bound.runtime, self.bound.shape, self.bound.pool)

    def counts(self, build: str | None, now: str) -> bool:
        """Whether it still says something about that build of the engine at that time, RFC 3339."""
        try:
            age = datetime.fromisoformat(now) - datetime.fromisoformat(self.date)
        except (TypeError, ValueError):  # no date, or one without a time zone
            return False
        return self.build == build and -_CLOCKS_DIFFER <= age <= BOUND_LASTS

    def is_refuted_by(self, digest: str | None, runtime: str, shape: Shape) -> bool:
        """Whether this load, which went well, needed at least as much."""
        own = self.bound
        return (
            (digest, runtime, shape.type_k) == (own.digest, own.runtime, own.shape.type_k)
            and shape.context >= own.shape.context
            and shape.parallel >= own.shape.parallel
            and shape.gpu_layers == own.shape.gpu_layers
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    estimates: tuple[EstimateRecord, ...] = ()
    speeds: tuple[SpeedRecord, ...] = ()
    bounds: tuple[BoundRecord, ...] = ()

    def distrusts(self, architecture: str, engine: str, build: str) -> bool:
        """Whether the formulas were off too far for this pair of architecture and engine build."""
        key = (architecture, engine, build)
        return any(each.oracle for each in self.estimates if each.key == key)

    def with_estimate(self, record: EstimateRecord) -> History:
        """With one more load; `loads` and `worst` count on from the record that was there."""
        old = next((each for each in self.estimates if each.key == record.key), None)
        if old is not None:
            record = replace(
                record,
                loads=old.loads + record.loads,
                worst=max(old.worst, record.worst),
                oracle=old.oracle or record.oracle,
            )
        return replace(self, estimates=_with(self.estimates, record))

    def with_speed(self, record: SpeedRecord) -> History:
        """With this record in the place of any other of its engine there: an older build's counts no more."""
        return replace(self, speeds=_with(self.speeds, record))

    def with_bound(self, record: BoundRecord) -> History:
        """With this bound, or the higher one that was there and still counts."""
        old = next((each for each in self.bounds if each.key == record.key), None)
        if old is not None and old.counts(record.build, record.date):
            record = max(old, record, key=lambda each: each.bound.bytes)
        return replace(self, bounds=_with(self.bounds, record))

    def without_bounds(self, digest: str | None, runtime: str, shape: Shape) -> History:
        """Without what a load that went well has refuted."""
        kept = tuple(each for each in self.bounds if not each.is_refuted_by(digest, runtime, shape))
        return replace(self, bounds=kept)

    def bounds_of(self, builds: Mapping[str, str | None], now: str) -> tuple[LowerBound, ...]:
        """Those that count: `builds` are the versions of the engines here, by name."""
        return tuple(
            each.bound for each in self.bounds if each.counts(builds.get(each.bound.runtime, ""), now)
        )

    def to_json(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "estimates": [asdict(each) for each in self.estimates],
            "speeds": [asdict(each) for each in self.speeds],
            "bounds": [asdict(each) for each in self.bounds],
        }

    @classmethod
    def from_json(cls, document: object) -> History:
        """What can be read of a document: a row that is not as we write it is left out. Never raises."""
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            return cls()
        return cls(
            estimates=_rows(document, "estimates", _estimate),
            speeds=_rows(document, "speeds", _speed),
            bounds=_rows(document, "bounds", _bound),
        )


Record = TypeVar("Record", EstimateRecord, SpeedRecord, BoundRecord)


def _with(records: Iterable[Record], record: Record) -> tuple[Record, ...]:
    kept = [each for each in records if each.key != record.key]
    kept.append(record)
    return tuple(kept[-MAX_ROWS:])


def _rows(
    document: Mapping[str, object], name: str, read: Callable[[Mapping[str, object]], Record]
) -> tuple[Record, ...]:
    rows = document.get(name)
    found = []
    for row in rows[-MAX_ROWS:] if isinstance(rows, list) else []:
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            found.append(read(row))
    return tuple(found)


def _estimate(row: Mapping[str, object]) -> EstimateRecord:
    return EstimateRecord(
        architecture=_text(row, "architecture"),
        engine=_text(row, "engine"),
        build=_text(row, "build"),
        loads=_count(row, "loads"),
        planned=_count(row, "planned"),
        measured=_count(row, "measured", least=1),
        worst=_number(row, "worst"),
        oracle=row["oracle"] is True,
        model=_text(row, "model"),
        date=_text(row, "date"),
    )


def _speed(row: Mapping[str, object]) -> SpeedRecord:
    spread = row["covariance"]
    numbers = [_finite(each) for each in spread] if isinstance(spread, list) else []
    return SpeedRecord(
        engine=_text(row, "engine"),
        build=_text(row, "build"),
        place=_text(row, "place"),
        machine=_text(row, "machine"),
        threads=_count(row, "threads"),
        overhead=_number(row, "overhead", most=1e9),
        bandwidth=_number(row, "bandwidth", least=1e-9),
        samples=_count(row, "samples"),
        covariance=(numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None,
        date=_text(row, "date"),
    )


def _bound(row: Mapping[str, object]) -> BoundRecord:
    bound = row["bound"]
    if not isinstance(bound, dict) or not isinstance(bound["shape"], dict):
        raise TypeError
    shape = Shape(**bound["shape"])
    if any(type(value) is not _SHAPE_TYPES[name] for name, value in asdict(shape).items()):
        raise TypeError
    return BoundRecord(
        bound=LowerBound(
            digest=_text(bound, "digest"),
            runtime=_text(bound, "runtime"),
            shape=shape,
            pool=_text(bound, "pool"),
            bytes=_count(bound, "bytes"),
        ),
        build=_text(row, "build"),
        model=_text(row, "model"),
        date=_text(row, "date"),
    )


_SHAPE_TYPES = {name: type(value) for name, value in asdict(Shape(context=1)).items()}


def _text(row: Mapping[str, object], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise TypeError
    return value


def _count(row: Mapping[str, object], name: str, *, least: int = 0) -> int:
    value = row[name]
    if type(value) is not int or not least <= value < 2**63:
        raise TypeError
    return value


def _number(row: Mapping[str, object], name: str, *, least: float = 0.0, most: float = math.inf) -> float:
    value = _finite(row[name])
    if not least <= value <= most:
        raise ValueError
    return value


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)
