"""Putting the load on, and looking at what is there and what is left when it is over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from slmctl.app.models import remove_models
from tests.load.world import FIXED, World
from tests.slmctl.cli.program import REPOSITORY

DEADLINE_SECONDS = 300.0
"""Beyond the time of the load: the last step of each, on a machine that is busy with all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What all processes did how often, and how many names were left to look at."""

    counts: Counter[str]
    names: int


def put_load(world: World, *, processes: int, seconds: float) -> Outcome:
    """Raises AssertionError with what was found."""
    fixed = world.digests()
    untouched = world.other_tools_files()
    children = [_start(world.root, f"w{number:02}", seconds) for number in range(processes)]
    reports, failures = [], []
    for child in children:
        out, err = child.communicate(timeout=seconds + DEADLINE_SECONDS)
        if child.returncode != 0:
            failures.append(err.decode())
        else:
            reports.append(json.loads(out))
    assert not failures, "\n".join(failures)
    kept = {
        name: digest for report in reports for name, digest in {**report["kept"], **report["staying"]}.items()
    }
    _check_names(world, {**fixed, **kept})
    assert world.other_tools_files() == untouched
    _check_nothing_is_left(world)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report["counts"])
    return Outcome(counts=counts, names=len(kept))


def _start(root: Path, name: str, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.load.actor", str(root), name, str(seconds)],
        cwd=REPOSITORY,
        env={**os.environ, "OLLAMA_MODELS": str(root / "ollama")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _check_names(world: World, kept: dict[str, str]) -> None:
    """Each name that was given last is there with its digest, whole, and a few of them answer."""
    seen = world.digests()
    free_for_all = ("shared/", "mine:")
    assert {name: digest for name, digest in seen.items() if not name.startswith(free_for_all)} == kept
    checked = world.program("verify", "--json")
    assert checked.code == 0, checked.out
    kinds = {finding["kind"] for finding in checked.json["findings"]}
    assert kinds <= {"unneeded"}, checked.out  # a blob whose last name went while an export held it
    for name in (*FIXED, *sorted(kept)[-3:]):
        done = world.program("run", name, "--verify", "--raw", "--max-tokens", "2", "--ctx", "64", "x")
        assert done.code == 0, (name, done.err)


def _check_nothing_is_left(world: World) -> None:
    """No temporary, no lease, nothing in quarantine; and when all names are gone, no blob and no note."""
    layout = world.store.layout
    for folder in (layout.ingest, layout.leases, layout.quarantine):
        assert list(folder.iterdir()) == [], folder
    assert world.program("gc").code == 0
    checked = world.program("verify", "--json").json
    assert checked["findings"] == []
    remove_models(world.store, list(world.digests()))
    for folder in (layout.blobs, layout.linked, layout.borrowed, layout.origins):
        assert not folder.is_dir() or list(folder.iterdir()) == [], folder
