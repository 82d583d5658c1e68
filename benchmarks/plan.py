"""What a plan among 200 variants takes, beside reading their manifests.

    python -m benchmarks.plan [--rounds 9]        writes benchmarks/results/plan.md

A model of 200 variants is written into a store by our own code. In turns, in the other order every other
round: its manifests are read and parsed (`Package.open`, the store's files in the page cache), and a plan is
made of what they say, for a machine with and for one without a GPU. Processor seconds of this process, which
is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import modelfiles
from modelfiles.spec import ModelSpec
from registry.formats.facts import ModelFacts
from registry.names import parse_name
from registry.store.index import Entry
from registry.store.store import Store
from runtimes.hardware.profiles import profile
from runtimes.planning.mix import QUANTIZATIONS, quantized
from runtimes.planning.plan import plan
from runtimes.planning.values import Build as Candidate
from runtimes.planning.values import PlanRequest
from slmctl.app.package import Package, PackageFile
from slmctl.app.packaging import Build, write_model
from slmctl.app.planning.package_builds import builds_of_package

RESULT = Path(__file__).parent / "results" / "plan.md"
VARIANTS = 200
NAME = "many:latest"
LIMIT_SECONDS = 0.1
MACHINES = ("vps-2cpu-4gb", "rtx-3060-12gb")


def write_store(root: Path) -> Store:
    """A store with one model of 200 variants: every quantization there is, by several makers."""
    path = Path(modelfiles.__file__).parent / "library" / "qwen3" / "4b" / "facts.json"
    whole = ModelFacts.from_json(json.loads(path.read_text("utf-8")))
    store = Store(root)
    with store.session("benchmark") as session:
        digest = session.put(b"weights")
        builds = []
        for number, label in enumerate(itertools.islice(itertools.cycle(QUANTIZATIONS), VARIANTS)):
            facts = quantized(whole, label)
            file = PackageFile(
                path="model.gguf", role="weights", digest=digest, size=facts.tensor_bytes + number
            )
            own_id = f"gguf-{label.lower()}-{number}"
            builds.append(Build(files=(file,), facts=facts, licenses=(), spec=ModelSpec(), own_id=own_id))
        descriptor = write_model(session, builds)
        entry = Entry(name=NAME, descriptor=descriptor, source="create", linked="2026-11-22T00:00:00Z")
        store.link_all([entry], lambda _old, _new: None)
    return store


def read(store: Store) -> tuple[Candidate, ...]:
    """The manifests, parsed, as what a plan takes."""
    package = Package.open(store, parse_name(NAME))
    builds = builds_of_package(store, package)
    assert len(builds) == VARIANTS
    return tuple(dataclasses.replace(build, stored=True) for build in builds)


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a plan among many variants.")
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store")
        builds = read(store)
        sides: dict[str, Callable[[], object]] = {"reading the manifests": lambda: read(store)}
        for name in MACHINES:
            machine = profile(name)
            sides[f"plan, {name}"] = lambda machine=machine: plan(builds, machine, PlanRequest())  # type: ignore[misc]
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            for name in order:
                spent = timed(sides[name])
                if number:  # the first is for the caches
                    seconds[name].append(spent)
    base = statistics.median(seconds["reading the manifests"])
    rows = [
        f"| {name} | {statistics.median(spent) * 1e3:.1f} | {min(spent) * 1e3:.1f} | {max(spent) * 1e3:.1f} |"
        f" {statistics.median(spent) / base:.2f} |"
        for name, spent in seconds.items()
    ]
    met = all(
        statistics.median(spent) <= LIMIT_SECONDS
        for name, spent in seconds.items()
        if name.startswith("plan")
    )
    verdict = "met" if met else "MISSED"
    lines = [
        f"# A plan among {VARIANTS} variants",
        "",
        f"`python -m benchmarks.plan --rounds {rounds}` on {platform.machine()}, {os.cpu_count()} cores,",
        f"{platform.system()}, Python {platform.python_version()}. Processor milliseconds of one process;",
        f"the load average was {load:.1f} at the start. Limit {LIMIT_SECONDS * 1e3:.0f}: {verdict}.",
        "",
        "| what | median | best | worst | to reading |",
        "|---|---|---|---|---|",
        *rows,
    ]
    text = "\n".join(lines)
    RESULT.write_text(text + "\n", "utf-8")
    print(text)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
