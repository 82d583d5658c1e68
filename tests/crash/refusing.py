"""T3, refusals: every call that touches the store fails once, or claims to have written what it has not.

The command then ends by itself: with 0 and everything done, or with one sentence, a hint and the code of a failure, and
every name old or new. A flush that failed before the name was visible fails the command: the kernel tells of a lost page
once, and a second fsync would succeed without it (fsyncgate; Rebello et al., USENIX ATC 2020). What fails in between
leaves no temporary file and no lease. The second run, which nothing refuses, makes everything new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from tests.crash.commands import Prepared, World
from tests.crash.killing import Tally, injection, judge_end, moved, shown
from tests.crash.oracle import inspect, is_kept, is_new, judge
from tests.crash.tracing import Event, Run

_FULL = ("ENOSPC", "EDQUOT")
ERRORS: Mapping[str, tuple[str, ...]] = {
    "openat": (*_FULL, "EIO", "EROFS", "EMFILE", "EINTR"),
    "write": (*_FULL, "EIO", "EROFS", "EINTR"),
    "pwrite64": (*_FULL, "EIO", "EROFS", "EINTR"),
    "fsync": (*_FULL, "EIO", "EROFS", "EINTR"),
    "rename": (*_FULL, "EIO", "EROFS"),
    "link": (*_FULL, "EIO", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "ftruncate": (*_FULL, "EIO", "EROFS", "EINTR"),
    "copy_file_range": (*_FULL, "EIO", "EINTR"),
    "chmod": ("EIO", "EROFS"),
    "mkdir": (*_FULL, "EIO", "EROFS"),
}
"""What each call may fail with by its manual page, of what there is to try."""

_SURVIVED = frozenset({"write", "pwrite64", "fsync", "chmod", "ftruncate"})
"""Where EINTR must not be seen at all: Python calls again (PEP 475)."""

Refusal = tuple[Event, str]
"""A call, and the errno's name that it fails with, or "lie": it claims one byte and writes none."""


def refusals(points: Sequence[Event]) -> Iterator[Refusal]:
    """All that can be tried at these points."""
    for point in points:
        for error in ERRORS[point.family]:
            if error not in _FULL or point.family != "openat" or "O_CREAT" in point.rest:
                yield point, error
        if point.call == "write" and sum(map(len, point.strings)) > 1:
            yield point, "lie"


def sample(tried: Sequence[Refusal], count: int, seed: int = 0) -> list[Refusal]:
    """`count` of them: calls and errors take turns."""
    chance = Random(seed)
    piles: dict[tuple[str, str], list[Refusal]] = {}
    for point, error in tried:
        piles.setdefault((point.family, error), []).append((point, error))
    for pile in piles.values():
        chance.shuffle(pile)
    order = list(piles.values())
    chance.shuffle(order)
    chosen: list[Refusal] = []
    while len(chosen) < count and any(order):
        chosen += [pile.pop() for pile in order if pile]
    return chosen[:count]


def refuse_at(prepared: Prepared, tried: Sequence[Refusal], double: str | None = None) -> Tally:
    """Let the command run into each of the refusals, and judge."""
    tally = Tally()
    for point, error in tried:
        world = prepared.copy(f"refuse-{point.thread}-{point.call}-{point.ordinal}-{error}", double)
        what = "retval=1" if error == "lie" else f"error={error}"
        struck = injection(point, world, prepared.world, what)
        run = world.trace(*prepared.row.run, injection=struck)
        hit = any(event.call == struck.call and event.ordinal == struck.ordinal for event in run.events)
        tally.add(f"{point.family} {error}", hit=hit)
        where = f"{prepared.row.name}: {error} from {shown(point)}"
        if not hit:
            tally.missed.append(where)
        problems = _judge(prepared, world, run, point, error) + _judge_second_run(prepared, world)
        tally.failures += [f"{where}: {problem}" for problem in problems]
        world.remove()
    return tally


def _judge(prepared: Prepared, world: World, run: Run, point: Event, error: str) -> list[str]:
    tree = world.tree()
    finished = run.code == 0 and not _is_told(prepared, world, run, point)
    problems = judge(tree, prepared.before, prepared.after, world.root, finished=finished)
    left = {*inspect(tree, world.root).sweepable} - {*inspect(prepared.before, world.root).sweepable}
    if prepared.row.fetches and run.code != 0:
        left = {path for path in left if not is_kept(tree, path)}
    if left and point.family != "unlink":
        problems.append(f"it leaves {sorted(left)}")
    if "Traceback" in run.err or "inside slmctl failed" in run.err:
        problems.append(f"it ends with a traceback or a bug: {run.err.strip()[-400:]}")
    if run.code not in {0, 1, *prepared.row.codes}:
        problems.append(f"it ends with {run.code}: {run.err.strip()}")
    lines = run.err.splitlines()
    if run.code != 0 and not (
        len(lines) > 1 and lines[-2].startswith("slmctl: ") and lines[-1].startswith("  ")
    ):
        problems.append(f"it does not say so in a sentence with a hint: {run.err.strip()}")
    if error in _FULL and run.code != 0 and "space" not in run.err:
        problems.append(f"it does not say that there is no space: {run.err.strip()}")
    if error == "EINTR" and point.family in _SURVIVED and run.code != 0:
        problems.append(f"it does not survive an interrupted call: {run.err.strip()}")
    failed_flush = point.family == "fsync" and error != "EINTR"
    counts = [
        path
        for path in _paths(prepared, point, world)
        if path.startswith(str(world.store))
        and not (prepared.row.may_go_without_lease and path.startswith(str(world.store / "leases")))
    ]
    if failed_flush and run.code == 0 and counts:
        problems.append("it claims success although a flush failed")
    return problems


def _is_told(prepared: Prepared, world: World, run: Run, point: Event) -> bool:
    """Whether a command that ends with 0 says what it left undone: a moved file is still there, or one of
    another tool's models cannot be read."""
    at_theirs = any(path.startswith(str(world.root / "other")) for path in _paths(prepared, point, world))
    return "the file could not be removed" in run.err or (at_theirs and "cannot be read" in run.err)


def _paths(prepared: Prepared, point: Event, world: World) -> list[str]:
    """The paths of a recorded event as they are in this world."""
    return [moved(path, world, prepared.world) for path in point.paths]


def _judge_second_run(prepared: Prepared, world: World) -> list[str]:
    complete = is_new(world.tree(), prepared.after, world.root)
    second = world.run(*prepared.row.run)
    if second.returncode not in ({0, *prepared.row.again} if complete else {0}):
        return [f"the second run ends with {second.returncode}: {second.stderr.strip()}"]
    return [f"after the second run {problem}" for problem in judge_end(prepared, world, second.returncode)]
