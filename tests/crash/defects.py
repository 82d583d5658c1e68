"""The proof that the harness can fail: for each defect of doubles.py the part that must find it, and where."""

from __future__ import annotations

from dataclasses import dataclass

from tests.crash import killing, losing, refusing
from tests.crash.commands import Prepared


@dataclass(frozen=True, slots=True)
class Defect:
    """A double, the row of the commands that shows it, and the part of the harness that sees it."""

    name: str
    row: str
    part: str


DEFECTS = (
    Defect("blob-not-flushed", "create-replacing", "lose"),
    Defect("blobs-folder-not-flushed", "create-replacing", "lose"),
    Defect("flushed-after-the-rename", "create-replacing", "lose"),
    Defect("table-not-flushed", "create-replacing", "lose"),
    Defect("table-folder-not-flushed", "rm", "lose"),
    Defect("table-in-place", "cp", "kill"),
    Defect("name-before-blobs", "create-replacing", "kill"),
    Defect("blobs-removed-before-the-name", "rm", "kill"),
    Defect("blobs-removed-before-their-manifest", "rm", "kill"),
    Defect("failed-flush-tried-again", "create-replacing", "refuse"),
    Defect("blob-not-flushed", "pull-replacing", "lose"),
    Defect("digest-not-checked", "pull-on-lying-journal", "kill"),
)


def is_found(defect: Defect, prepared: Prepared) -> bool:
    """Whether the harness fails on the program with the defect, where most of the points are hit."""
    if defect.part == "lose":
        return bool(losing.lose(prepared, reruns=0, double=defect.name).failures)
    points = killing.plan(prepared, defect.name)
    if defect.part == "refuse":
        flushes = [(point, "EIO") for point in points if point.family == "fsync"]
        tally = refusing.refuse_at(prepared, flushes[:4], defect.name)
    else:
        late = [point for point in points if point.family in {"rename", "write", "unlink"}][-12:]
        tally = killing.kill_at(prepared, late, defect.name)
    hit, planned = sum(tally.hit.values()), sum(tally.planned.values())
    return hit * 2 >= planned and bool(tally.failures)
