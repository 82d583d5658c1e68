"""T2, lost writes: a recorded run is replayed onto the model disk, and the power fails before and after each call.

In every state that the disk may then be in, no name points at bytes that are gone, every name is old or new, and the
user's files are where they were or in a named model. When the command has said that it is done, all of it is durable.
From some of these states the command is run again, for real and recorded too: it must come to its end, and be as safe.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.crash.commands import Prepared, World
from tests.crash.disk import Disk, State
from tests.crash.killing import judge_end, judge_loss, shown
from tests.crash.oracle import is_new
from tests.crash.tracing import FAMILY_OF, Event


@dataclass
class Losses:
    """How many power failures were tried (`prefixes`), in how many different states, and what was wrong."""

    prefixes: int = 0
    states: int = 0
    reruns: int = 0
    failures: list[str] = field(default_factory=list)


def lose(prepared: Prepared, *, reruns: int, double: str | None = None) -> Losses:
    """Let the power fail at every point of a run of the command; go on from `reruns` of the states."""
    losses = Losses()
    world = prepared.copy("lose", double)
    disk = Disk(world.root)
    run = world.trace(*prepared.row.run)
    assert run.code == 0, run.err
    states = _replay(prepared, world, disk, run.events, losses)
    world.remove()
    if not losses.failures:
        for state in _spread(states, reruns):
            _run_again(prepared, state, losses, double)
    return losses


def _replay(
    prepared: Prepared, world: World, disk: Disk, events: Sequence[Event], losses: Losses, *, code: int = 0
) -> list[State]:
    """Apply the calls one by one; gives the different states that the disk could have been in."""
    seen: dict[object, State] = {}
    for position, event in enumerate(events):
        disk.apply(event)
        last = position == len(events) - 1
        if not last and not _changes(event, world.root):
            continue
        losses.prefixes += 1
        for state in disk.states():
            if not last and state.key in seen:
                continue
            seen[state.key] = state
            problems = judge_loss(prepared, state, world.root, finished=last and code == 0)
            if problems:
                where = f"{prepared.row.name}: the power fails after {shown(event)} ({state.said})"
                losses.failures += [f"{where}: {problem}" for problem in problems]
                break
    assert disk.tree() == world.tree(), f"{prepared.row.name}: the model disk is not as the real one"
    losses.states += len(seen)
    return list(seen.values())


def _changes(event: Event, root: Path) -> bool:
    """Whether a call made the disk another one, or made something durable."""
    if event.call not in FAMILY_OF or event.result is None or event.result < 0:
        return False
    return event.changes and any(Path(path).is_relative_to(root) for path in event.paths)


def _spread(states: Sequence[State], count: int) -> list[State]:
    """`count` of the states, from the first to the last."""
    if count >= len(states):
        return list(states)
    return [states[round(step * (len(states) - 1) / max(count - 1, 1))] for step in range(count)]


def _give_back(theirs: Path, copy: Path) -> None:
    """Another tool's files are whose they were: a state of the model disk knows of no owners."""
    for path in theirs.rglob("*"):
        status = path.lstat()
        with suppress(FileNotFoundError, PermissionError):
            os.chown(copy / path.relative_to(theirs), status.st_uid, status.st_gid)


def _run_again(prepared: Prepared, state: State, losses: Losses, double: str | None) -> None:
    """Run the command for real on what the power failure left."""
    world = replace(
        prepared.world, root=prepared.place("lose", double), double=double
    )  # notes have its paths
    state.write(world.root)
    _give_back(prepared.world.root / "other", world.root / "other")
    for name in ("run", "out", "other", "files"):
        (world.root / name).mkdir(exist_ok=True)
    complete = is_new(state.tree, prepared.after, world.root)
    disk = Disk(world.root)
    run = world.trace(*prepared.row.run)
    losses.reruns += 1
    allowed = {0, *prepared.row.again} if complete else {0}
    where = f"{prepared.row.name}: again after a power failure ({state.said})"
    if run.code not in allowed:
        losses.failures.append(f"{where}: it ends with {run.code}: {run.err.strip()}")
    else:
        losses.failures += [f"{where}: {problem}" for problem in judge_end(prepared, world, run.code)]
        before = len(losses.failures)
        _replay(prepared, world, disk, run.events, losses, code=run.code)
        losses.failures[before:] = [f"{where}, and {problem}" for problem in losses.failures[before:]]
    world.remove()
