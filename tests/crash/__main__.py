"""The whole crash harness, with tables: `make crash`.

    python -m tests.crash [ROW...] [--only kill|lose|refuse|doubles] [--jobs N]

Ends with 1 when anything was found, or when fewer than 95 of 100 planned points were hit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.crash import killing, losing, refusing
from tests.crash.commands import Prepared, Row, prepare
from tests.crash.defects import DEFECTS, is_found
from tests.crash.killing import Tally
from tests.crash.table import row, rows
from tests.crash.tracing import FAMILIES, why_not
from tests.crash.upstream import registry

T = TypeVar("T")
RERUNS = 25
_CHUNK = 8


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="of the table in commands.py; all")
    parser.add_argument("--only", choices=("kill", "lose", "refuse", "doubles"), help="all four")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    given = parser.parse_args(arguments)
    if reason := why_not():
        print(f"The crash harness cannot run: {reason}.")
        return 1
    chosen = [row(name) for name in given.rows] or rows()
    failures: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="crash") as name,
        ProcessPoolExecutor(given.jobs) as pool,
        registry(Path(name)) as host,
    ):
        folder = Path(name)
        prepared = list(pool.map(prepare, chosen, [folder] * len(chosen), [host] * len(chosen)))
        for part in (given.only,) if given.only else ("kill", "lose", "refuse", "doubles"):
            start = time.monotonic()
            failures += _PARTS[part](prepared, pool)
            print(f"  {time.monotonic() - start:.0f} seconds\n", flush=True)
    print("\n".join(failures))
    print(f"{len(failures)} failures")
    return 1 if failures else 0


def _kill(prepared: Sequence[Prepared], pool: ProcessPoolExecutor) -> list[str]:
    print("SIGKILL at every call that touches the store: points hit of those planned")
    _table_head()
    tallies = []
    for one, points in zip(prepared, pool.map(killing.plan, prepared), strict=True):
        chunks = list(_chunks(points))
        tally = _sum(pool.map(killing.kill_at, [one] * len(chunks), chunks))
        tallies.append(tally)
        _table_line(one.row, tally)
    return _verdict(tallies)


def _lose(prepared: Sequence[Prepared], pool: ProcessPoolExecutor) -> list[str]:
    print("Everything that was not flushed is lost: power failures, different states, runs on what was left")
    failures = []
    for one, losses in zip(prepared, pool.map(_lose_one, prepared), strict=True):
        counts = f"{losses.prefixes:7}{losses.states:9}{losses.reruns:7}{len(losses.failures):7}"
        print(f"  {one.row.name:22}{counts}", flush=True)
        failures += losses.failures
    return failures


def _lose_one(one: Prepared) -> losing.Losses:
    return losing.lose(one, reruns=RERUNS)


def _refuse(prepared: Sequence[Prepared], pool: ProcessPoolExecutor) -> list[str]:
    print("Every call that touches the store fails: points hit of those planned")
    _table_head()
    tallies = []
    for one, points in zip(prepared, pool.map(killing.plan, prepared), strict=True):
        chunks = list(_chunks(list(refusing.refusals(points))))
        tally = _sum(pool.map(refusing.refuse_at, [one] * len(chunks), chunks))
        tallies.append(tally)
        _table_line(one.row, tally)
    return _verdict(tallies)


def _doubles(prepared: Sequence[Prepared], pool: ProcessPoolExecutor) -> list[str]:
    print("Programs with a defect: each must be found")
    by_name = {one.row.name: one for one in prepared}
    tried = [defect for defect in DEFECTS if defect.row in by_name]
    failures = []
    for defect, found in zip(
        tried, pool.map(is_found, tried, [by_name[one.row] for one in tried]), strict=True
    ):
        print(f"  {defect.name:36}{defect.part:8}{'found' if found else 'NOT FOUND'}", flush=True)
        failures += [] if found else [f"the harness does not find {defect.name}"]
    return failures


_PARTS = {"kill": _kill, "lose": _lose, "refuse": _refuse, "doubles": _doubles}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _sum(tallies: Iterator[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        for name, count in tally.planned.items():
            family = name.split()[0]
            total.planned[family] = total.planned.get(family, 0) + count
            total.hit[family] = total.hit.get(family, 0) + tally.hit[name]
        total.failures += tally.failures
        total.missed += tally.missed
    return total


def _table_head() -> None:
    print(f"  {'':22}" + "".join(f"{family[:9]:>11}" for family in FAMILIES) + f"{'all':>11}{'failures':>10}")


def _table_line(one: Row, tally: Tally) -> None:
    def cell(planned: int, hit: int) -> str:
        return f"{f'{hit}/{planned}' if planned else '-':>11}"

    cells = "".join(cell(tally.planned.get(family, 0), tally.hit.get(family, 0)) for family in FAMILIES)
    total = cell(sum(tally.planned.values()), sum(tally.hit.values()))
    print(f"  {one.name:22}{cells}{total}{len(tally.failures):>10}", flush=True)


def _verdict(tallies: Sequence[Tally]) -> list[str]:
    planned = sum(sum(tally.planned.values()) for tally in tallies)
    hit = sum(sum(tally.hit.values()) for tally in tallies)
    print(f"  {hit} of {planned} points hit")
    failures = [failure for tally in tallies for failure in tally.failures]
    if hit * 100 < planned * 95:
        missed = [point for tally in tallies for point in tally.missed]
        failures += [f"only {hit} of {planned} points were hit", *missed]
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
