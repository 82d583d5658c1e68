"""T1, the kill matrix: SIGKILL at every call that touches the store, and then the same command once more.

A point is one call of a recorded run, by its thread, its name and its ordinal. It is hit when the process died of
SIGKILL as it entered that very call, on the same file. After it the oracle (and `slmctl verify`) must be content, every
name must be old or new, and the second run must make everything new. Both runs are recorded: the model disk then loses
what neither of them flushed, so a second run must not rely on what the first had not flushed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from slmctl.cli.main import COMMANDS
from tests.crash.commands import Prepared, World
from tests.crash.disk import Disk, State
from tests.crash.oracle import LEFT_OVER, inspect, is_leased, is_new, judge
from tests.crash.tracing import Event, Injection, Run

_TRIES = 4
"""A download comes in as many pieces as the network makes of it: a point that a run has not may be in the next."""

_OWNER = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])|(?<=\.)[0-9]+\Z")  # a lease's, or a process


@dataclass
class Tally:
    """What came of the planned points: per call, planned and hit; and what was found wrong, in sentences."""

    planned: dict[str, int] = field(default_factory=dict)
    hit: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, call: str, *, hit: bool) -> None:
        self.planned[call] = self.planned.get(call, 0) + 1
        self.hit[call] = self.hit.get(call, 0) + hit

    @property
    def enough(self) -> bool:
        """Whether 95 of 100 planned points were hit."""
        return sum(self.hit.values()) * 100 >= sum(self.planned.values()) * 95


def plan(prepared: Prepared, double: str | None = None) -> list[Event]:
    """All points of a command, from a recorded run.

    Of the threads beside the main one those that change something: what only reads leaves the same store as the
    points around it. strace counts calls per thread, but cannot be told in which thread to strike, and which thread
    of a crew does what differs from run to run: these points are told by the path that they name (`Event.of_path`).
    """
    world = prepared.copy("warm", double)
    world.run(*prepared.row.run)  # so that all modules are compiled
    world.remove()
    world = prepared.copy("plan", double)
    recorded = world.trace(*prepared.row.run)
    assert recorded.code == 0, recorded.err
    points = recorded.touching(world.watched, world.exactly)
    world.remove()
    return [point for point in by_path(points) if point.thread == 0 or point.of_path]


def by_path(points: Sequence[Event]) -> Iterator[Event]:
    """The same points, those of threads beside the main one with their number among the calls that name a path.

    Left out are: opening a file of locks, which changes nothing once it is there; what no path tells, because it
    is another in each run; and what a thread before would be struck at.
    """
    counts: Counter[tuple[int, str, str]] = Counter()
    seen: set[tuple[str, str, int]] = set()
    for point in points:
        for path in {*point.paths}:
            counts[point.thread, point.call, path] += 1
        path = point.paths[0]
        key = (point.call, path, counts[point.thread, point.call, path])
        is_first = key not in seen
        seen |= {(point.call, each, counts[point.thread, point.call, each]) for each in point.paths}
        is_lock = path.endswith(".lock") and key[2] > 1
        if point.thread and point.changes and is_first and not is_lock and not _OWNER.search(path):
            yield replace(point, of_path=key[2])
        else:
            yield point


def injection(point: Event, world: World, recorded: World, what: str) -> Injection:
    """What happens to a recorded point in another world."""
    if not point.of_path:
        return Injection(point.call, point.ordinal, what)
    return Injection(point.call, point.of_path, what, moved(point.paths[0], world, recorded))


def moved(path: str, world: World, recorded: World) -> str:
    """A recorded path as it is in another world."""
    inside = path.removeprefix(f"{recorded.root.parent}/").partition("/")[2]
    return f"{world.root}/{inside}".rstrip("/")


def sample(points: Sequence[Event], count: int, seed: int = 0) -> list[Event]:
    """`count` points, evenly over the calls: the calls take turns, each with its own points in random order."""
    chance = Random(seed)
    piles: dict[str, list[Event]] = {}
    for point in points:
        piles.setdefault(point.family, []).append(point)
    for pile in piles.values():
        chance.shuffle(pile)
    chosen: list[Event] = []
    while len(chosen) < count and any(piles.values()):
        for pile in piles.values():
            if pile and len(chosen) < count:
                chosen.append(pile.pop())
    return sorted(chosen, key=lambda event: event.seconds)


def kill_at(prepared: Prepared, points: Sequence[Event], double: str | None = None) -> Tally:
    """Kill the command at each of `points`, and judge."""
    tally = Tally()
    for point in points:
        for tries in range(_TRIES, 0, -1):
            world = prepared.copy(f"kill-{point.thread}-{point.call}-{point.ordinal}", double)
            disk = Disk(world.root)
            struck = injection(point, world, prepared.world, "signal=KILL")
            died = world.trace(*prepared.row.run, injection=struck)
            hit = _died_at(died, point, world, prepared.world)
            if hit or tries == 1:
                break
            world.remove()
        tally.add(point.family, hit=hit)
        where = f"{prepared.row.name}: killed at {shown(point)}"
        if not hit:
            tally.missed.append(f"{where}: {'died elsewhere' if died.killed else 'did not die'}")
        if struck.path is not None:  # then nothing else was recorded
            disk, died = Disk(world.root), replace(died, events=())
        problems = _judge(prepared, world)  # verify puts aside what it finds damaged
        problems = problems or _judge_second_run(prepared, world, disk, died)
        tally.failures += [f"{where}: {problem}" for problem in problems]
        world.remove()
    return tally


def shown(point: Event) -> str:
    """A point for people: the call, its number, and the end of the path that it names."""
    path = point.paths[0] if point.paths else ""
    return f"{point.call} {point.ordinal} ({'/'.join(path.split('/')[-2:])[-60:]})"


def _died_at(died: Run, point: Event, world: World, recorded: World) -> bool:
    last = [event for event in died.events if event.result is None]
    return died.killed and any(
        event.call == point.call
        and event.ordinal == (point.of_path or point.ordinal)
        and _where(event, world) == _where(point, recorded)
        for event in last
    )


def _where(event: Event, world: World) -> tuple[str, ...]:
    """The paths of an event without what differs from run to run: the world's place and owners' names."""
    place = re.compile(rf"{re.escape(str(world.root.parent))}/[^/]+")
    return tuple(_OWNER.sub("*", place.sub("", path)) for path in event.paths)


def _judge(prepared: Prepared, world: World) -> list[str]:
    tree = world.tree()
    problems = judge(tree, prepared.before, prepared.after, world.root)
    bereft = [
        digest
        for digest in inspect(tree, world.root).bereft
        if not (prepared.row.fetches and is_leased(tree, digest))
    ]
    problems += [f"the manifest {digest[:12]} is there, and its blobs are gone" for digest in bereft]
    old = inspect(prepared.before, world.root)
    if "verify" in COMMANDS and not old.problems and old.table != "previous":
        said = World(world.root).run("verify", "--json")
        if said.returncode != 0:
            problems.append(f"verify ends with {said.returncode}: {said.stdout[:500]}{said.stderr[:300]}")
    return problems


def _judge_second_run(prepared: Prepared, world: World, disk: Disk, died: Run) -> list[str]:
    complete = is_new(world.tree(), prepared.after, world.root)
    second = world.trace(*prepared.row.run)
    allowed = {0, *prepared.row.again} if complete else {0}
    if second.code not in allowed:
        return [f"the second run ends with {second.code}: {second.err.strip()}"]
    problems = [f"after the second run {problem}" for problem in judge_end(prepared, world, second.code)]
    for event in (*died.events, *second.events):
        disk.apply(event)
    assert disk.tree() == world.tree(), _differing(disk, world)
    if second.code == 0:
        problems += first_loss(prepared, disk, finished=True)
    return problems


def first_loss(prepared: Prepared, disk: Disk, *, finished: bool) -> list[str]:
    """What is wrong in the first of a model disk's states in which anything is."""
    for state in disk.states():
        problems = judge_loss(prepared, state, disk.place, finished=finished)
        if problems:
            return [f"if the power fails ({state.said}): {problem}" for problem in problems]
    return []


def judge_loss(prepared: Prepared, state: State, place: Path, *, finished: bool) -> list[str]:
    """What is wrong in one state of a model disk."""
    problems = judge(state.tree, prepared.before, prepared.after, place, finished=finished)
    return [problem for problem in problems if not problem.endswith(LEFT_OVER)]


def judge_end(prepared: Prepared, world: World, code: int) -> list[str]:
    """What is wrong after a run that ended by itself and said that all is done."""
    tree = world.tree()
    problems = judge(tree, prepared.before, prepared.after, world.root, finished=code == 0)
    problems = [problem for problem in problems if not problem.endswith(LEFT_OVER)]
    found = inspect(tree, world.root)
    if prepared.row.sweeps and (found.sweepable or found.unneeded):
        problems.append(f"there are still {json.dumps([*found.sweepable, *found.unneeded])}")
    return problems


def _differing(disk: Disk, world: World) -> str:
    model, real = disk.tree(), world.tree()
    paths = [path for path in {*model, *real} if model.get(path, b"-") != real.get(path, b"-")]
    return f"the model disk differs from the real one at {sorted(paths)}"
