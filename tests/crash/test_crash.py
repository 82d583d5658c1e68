"""A sample of the crash harness, spread evenly over commands, calls and errors; `make crash` runs all of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.crash import killing, losing, refusing
from tests.crash.commands import Row, World
from tests.crash.conftest import Worlds
from tests.crash.defects import DEFECTS, Defect, is_found
from tests.crash.oracle import inspect, lines
from tests.crash.pulls import PULLS
from tests.crash.table import rows
from tests.crash.tracing import Injection, why_not

WANTED_KILLS = 220  # in all, and as many of pulls alone; the issues ask for 200
OTHERS = [row for row in rows() if row not in PULLS]
REFUSALS = 8
RERUNS = 1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

each_command = pytest.mark.parametrize(
    "row",
    [pytest.param(one, marks=pytest.mark.xdist_group(f"crash-{one.name}"), id=one.name) for one in rows()],
)


def test_the_sample_has_200_kills() -> None:
    for some in (OTHERS, PULLS):
        assert sum(min(_kills(row), row.points) for row in some) >= 200


def _kills(row: Row) -> int:
    """How many of a row's points are in the sample."""
    return -(-WANTED_KILLS // len(PULLS if row in PULLS else OTHERS))


@each_command
def test_a_kill_at_any_call_is_survived(row: Row, worlds: Worlds) -> None:
    prepared = worlds(row.name)
    points = killing.plan(prepared)
    assert len(points) >= row.points
    tally = killing.kill_at(prepared, killing.sample(points, _kills(row)))
    assert not tally.failures, lines(tally.failures)
    assert tally.enough, lines(tally.missed)


@each_command
def test_no_name_points_at_what_a_power_failure_took(row: Row, worlds: Worlds) -> None:
    if row.name == "create-folder":
        pytest.skip("two minutes: make crash has it, and convert takes the same way here")
    losses = losing.lose(worlds(row.name), reruns=RERUNS)
    assert losses.prefixes
    assert not losses.failures, lines(losses.failures)


@each_command
def test_a_call_that_fails_is_told_in_a_sentence_and_hurts_nothing(row: Row, worlds: Worlds) -> None:
    prepared = worlds(row.name)
    tried = list(refusing.refusals(killing.plan(prepared)))
    tally = refusing.refuse_at(prepared, refusing.sample(tried, REFUSALS))
    assert not tally.failures, lines(tally.failures)
    assert tally.enough or len(tally.missed) == 1, lines(tally.missed)  # one of a few is no sign


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.name}-{defect.row}")
def test_a_store_with_a_defect_is_found(defect: Defect, worlds: Worlds) -> None:
    assert is_found(defect, worlds(defect.row))


@pytest.mark.parametrize("name", ["create-replacing", "create-on-torn-table"])
def test_short_writes_are_survived(name: str, worlds: Worlds) -> None:
    prepared = worlds(name)
    world = prepared.copy("short", "short-writes")
    done = world.run(*prepared.row.run)
    assert done.returncode == 0, done.stderr
    assert killing.judge_end(prepared, world, 0) == []


def test_a_failed_flush_is_not_tried_again(worlds: Worlds) -> None:
    """The kernel tells of a lost page once (fsyncgate): after a failure there is no second fsync of that file."""
    prepared = worlds("create-replacing")
    flushes = [
        point for point in killing.plan(prepared) if point.family == "fsync" and "/ingest/" in point.paths[0]
    ]
    assert len(flushes) >= 4
    for point in flushes:
        world = prepared.copy(f"flush-{point.ordinal}")
        run = world.trace(*prepared.row.run, injection=Injection(point.call, point.ordinal, "error=EIO"))
        after = [event for event in run.events if event.call == "fsync" and event.ordinal >= point.ordinal]
        assert after[0].error == "EIO"
        assert after[0].paths not in [event.paths for event in after[1:]]
        assert run.code == 1
        world.remove()


def test_what_a_killed_run_has_made_the_next_one_makes_durable(worlds: Worlds) -> None:
    """Folders that the first run made and did not flush yet: the second finds them there."""
    prepared = worlds("create")
    points = [point for point in killing.plan(prepared) if point.family == "mkdir"]
    assert len(points) >= 8
    tally = killing.kill_at(prepared, points)
    assert not tally.failures, lines(tally.failures)


@pytest.mark.parametrize("name", ["cp", "export-tar", "export-folder"])
def test_a_disk_that_claims_to_have_written_is_noticed(name: str, worlds: Worlds) -> None:
    prepared = worlds(name)
    lies = [one for one in refusing.refusals(killing.plan(prepared)) if one[1] == "lie"]
    assert lies
    tally = refusing.refuse_at(prepared, lies[-6:])
    assert not tally.failures, lines(tally.failures)


def test_no_row_is_without_a_command_for_long() -> None:
    """Rows wait for their commands; a misspelt one would wait for ever."""
    waiting = {row.run[0] for row in rows()} ^ {"create", "cp", "rm"}
    assert waiting <= {"gc", "verify", "export", "import", "adopt", "pull", "convert"}


def test_what_a_command_leaves_is_judged_by_the_bytes(tmp_path: Path, worlds: Worlds) -> None:
    """The oracle itself: it sees a flipped bit, a missing blob, a torn table and a stranger."""
    prepared = worlds("rm")
    good = prepared.world.copy(tmp_path / "good")
    assert inspect(good.tree(), good.root).problems == ()
    blob = max((good.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)

    def problems(change: str) -> str:
        world = World(tmp_path / "changed")
        good.copy(world.root)
        subprocess.run(
            ["sh", "-ec", change], cwd=world.store, env={**os.environ, "BLOB": blob.name}, check=True
        )
        found = inspect(world.tree(), world.root)
        world.remove()
        return f"{found.table} {found.problems}"

    assert "other bytes" in problems(
        "cd blobs/sha256; chmod +w $BLOB; printf x | dd of=$BLOB bs=1 conv=notrunc status=none"
    )
    assert "other bytes" in problems("cd blobs/sha256; chmod +w $BLOB; truncate -s -1 $BLOB")
    assert "which is gone" in problems("rm -f blobs/sha256/$BLOB")
    assert problems("truncate -s -2 index.json").startswith("previous")
    assert "no generation" in problems("truncate -s 9 index.json; rm index.json.1")
    assert "does not belong" in problems("touch index.json.new")
    assert "is torn" in problems("truncate -s 3 oci-layout")
