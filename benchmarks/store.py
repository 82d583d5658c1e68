"""What a store's size costs, and how fast `verify` hashes.

    python -m benchmarks.store [--rounds 5] [--sizes 100 1000 10000] [--blob-megabytes 512] [--folder DIR]

Writes benchmarks/results/store.md and store.json. `list`, `show`, a tag (`cp`), `gc --dry-run` and `verify`
on stores of 100, 1,000 and 10,000 models: every command is a process, started to its end; all commands on all
stores take turns, in the opposite order every other round, after one round for nothing. Seconds that passed
are what a user waits for. Processor seconds, of the command and its threads, depend less on what else the
machine does, and growth is judged by them: a line through the smaller two stores says what the largest may
take.

For the hashing, blobs that are in memory are hashed by `slmctl verify` and, right after or before it, by one
`openssl dgst -sha256` for each core at once. With `--folder` the stores are kept and found again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.many_models import make_store, name_of
from registry.digest import Digest
from registry.manifest import Descriptor
from registry.store.store import Store
from slmctl.app.cpus import usable_cpus
from tests.slmctl.cli.program import SCRIPT

RESULTS = Path(__file__).parent / "results"
SIZES = (100, 1_000, 10_000)
TAG_SECONDS, LIST_SECONDS = 0.2, 1.0
NOISE = 1.25
"""So much more than the line's a measurement may be before it is called more than linear."""
SHARE_OF_OPENSSL = 0.9
BLOBS_PER_CORE = 4
COMMANDS = ("list", "show", "cp", "gc --dry-run", "verify")


@dataclass
class Side:
    """One thing to time: command lines that run at once. `{round}` in them is the round's number."""

    name: str
    models: int
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def start(self, number: int) -> None:
        start = time.perf_counter()
        running = [
            subprocess.Popen(
                [part.replace("{round}", str(number)) for part in command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in self.commands
        ]
        cpu = 0.0
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0, (process.args, process.returncode)
            cpu += usage.ru_utime + usage.ru_stime
        self.seconds.append(time.perf_counter() - start)
        self.cpu_seconds.append(cpu)

    def forget(self) -> None:
        self.seconds.clear()
        self.cpu_seconds.clear()


def measure(sides: Sequence[Side], rounds: int) -> None:
    """Time all sides in turns, after a round for nothing: byte code, caches, and files into memory."""
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            side.start(number)
        if number == 0:
            for side in sides:
                side.forget()


def store_sides(folder: Path, sizes: Sequence[int]) -> list[Side]:
    sides = []
    for size in sizes:
        home = folder / f"models-{size}"
        if not home.exists():
            make_store(home / "store", size)
        environment = _environment(home)
        some = name_of(size // 2)
        run = str(time.time_ns())  # a folder that is kept has the tags of an earlier run
        for command in COMMANDS:
            more = {"show": [some], "cp": [some, f"tag/of-{run}:{{round}}"]}.get(command, [])
            sides.append(Side(command, size, [[str(SCRIPT), *command.split(), *more]], environment))
    return sides


def hash_sides(folder: Path, blob_bytes: int) -> tuple[list[Side], int]:
    """slmctl and OpenSSL over the same blobs, and how many bytes those have."""
    cores = usable_cpus()
    count = cores * BLOBS_PER_CORE
    home = folder / f"blobs-{count}-{blob_bytes}"
    store = Store(home / "store")
    if not home.exists():
        with store.session("benchmark") as session:
            for number in range(count):
                hasher = hashlib.sha256()
                for chunk in _chunks(number, blob_bytes):
                    hasher.update(chunk)
                digest = Digest(hasher.hexdigest())
                descriptor = Descriptor(media_type="", digest=digest, size=blob_bytes)
                session.receive(descriptor, _chunks(number, blob_bytes))
    paths = sorted(str(path) for path in store.layout.blobs.iterdir())
    assert len(paths) == count
    openssl = [["openssl", "dgst", "-sha256", *paths[core::cores]] for core in range(cores)]
    empty = folder / "empty"
    Store(empty / "store").prepare()
    return [
        Side("slmctl verify", 0, [[str(SCRIPT), "verify"]], _environment(home)),
        Side(f"openssl dgst -sha256, {cores} at once", 0, openssl, _environment(home)),
        Side("slmctl verify, an empty store", 0, [[str(SCRIPT), "verify"]], _environment(empty)),
    ], sum(Path(path).stat().st_size for path in paths)


def _chunks(number: int, size: int) -> Iterator[bytes]:
    block = hashlib.shake_256(str(number).encode()).digest(1 << 20)
    for start in range(0, size, len(block)):
        yield block[: size - start]


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "SLMCTL_HOME": str(home)}


def report(sides: Sequence[Side], hashing: Sequence[Side], total: int, facts: Mapping[str, object]) -> str:
    lines = [
        "# What a store's size costs",
        "",
        f"`python -m benchmarks.store`; see there for what is measured. {facts['rounds']} rounds on",
        f"{facts['machine']}; load average {facts['load_before']} before and {facts['load_after']} after.",
        "Medians (lowest to highest); the start of the program is in all of them.",
        "",
        "| command | models | seconds | processor seconds |",
        "|---|---|---|---|",
        *(f"| `slmctl {side.name}` | {side.models:,} | {_times(side)} |" for side in sides),
        "",
        "| goal | at most | measured | |",
        "|---|---|---|---|",
    ]
    largest = max(side.models for side in sides)
    found = {(side.name, side.models): side for side in sides}
    for name, what, most in (("cp", "a tag", TAG_SECONDS), ("list", "`list`", LIST_SECONDS)):
        side = found[name, largest]
        for unit, values in (("seconds", side.seconds), ("processor seconds", side.cpu_seconds)):
            value = statistics.median(values)
            lines.append(
                f"| {what} at {largest:,}, {unit} | {most:.2f} | {value:.3f} | {_verdict(value <= most)} |"
            )
    small, middle, _ = sizes = sorted({side.models for side in sides})
    for name in COMMANDS:
        costs = [statistics.median(found[name, size].cpu_seconds) for size in sizes]
        line = costs[1] + (costs[1] - costs[0]) * (largest - middle) / (middle - small)
        ratio = costs[2] / line
        lines.append(
            f"| `{name}` at {largest:,} : the line through {small:,} and {middle:,} | {NOISE:.2f}"
            f" | {ratio:.2f} | {_verdict(ratio <= NOISE)} |"
        )
    return "\n".join([*lines, "", *_hash_report(hashing, total), ""])


def _hash_report(hashing: Sequence[Side], total: int) -> list[str]:
    ours, theirs, start = hashing
    pairs = list(zip(ours.seconds, theirs.seconds, start.seconds, strict=True))
    whole = [other / mine for mine, other, _ in pairs]
    alone = [other / (mine - empty) for mine, other, empty in pairs]
    verdict = _verdict(statistics.median(whole) >= SHARE_OF_OPENSSL)
    cpu = [other / mine for mine, other in zip(ours.cpu_seconds, theirs.cpu_seconds, strict=True)]
    return [
        f"{total / 1e9:.1f} GB in {usable_cpus() * BLOBS_PER_CORE} blobs, in memory:",
        "",
        "| command | seconds | processor seconds | GB/s |",
        "|---|---|---|---|",
        *(
            f"| `{side.name}` | {_times(side)} | {total / 1e9 / statistics.median(side.seconds):.2f} |"
            for side in (ours, theirs)
        ),
        f"| `{start.name}` | {_times(start)} | |",
        "",
        "| goal | at least | measured, round by round | |",
        "|---|---|---|---|",
        f"| speed of `verify` : OpenSSL on all cores | {SHARE_OF_OPENSSL} | {_spread(whole)} | {verdict} |",
        f"| the same without the program's start | | {_spread(alone)} | |",
        f"| the same by processor seconds, start included | | {_spread(cpu)} | |",
    ]


def _times(side: Side) -> str:
    return f"{_spread(side.seconds)} | {_spread(side.cpu_seconds)}"


def _spread(values: Sequence[float]) -> str:
    median, low, high = (f"{value:.3f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high})"


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def run(folder: Path, sizes: Sequence[int], rounds: int, blob_bytes: int) -> tuple[str, dict[str, object]]:
    """Measure everything in `folder`; gives the report and all numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = store_sides(folder, sizes)
    hashing, total = hash_sides(folder, blob_bytes)
    load_before = _load()
    measure(sides, rounds)
    measure(hashing, rounds)
    facts: dict[str, object] = {
        "rounds": rounds,
        "machine": f"{platform.machine()}, {usable_cpus()} cores, {platform.system()},"
        f" Python {platform.python_version()}",
        "load_before": load_before,
        "load_after": _load(),
    }
    numbers = {
        **facts,
        "hashed_bytes": total,
        "sides": [
            {
                "command": side.name,
                "models": side.models or None,
                "seconds": side.seconds,
                "cpu_seconds": side.cpu_seconds,
            }
            for side in (*sides, *hashing)
        ],
    }
    return report(sides, hashing, total, facts), numbers


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a store's size costs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs=3, default=SIZES)
    parser.add_argument("--blob-megabytes", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="where everything is made, and found again")
    chosen = parser.parse_args()
    if shutil.which("openssl") is None:
        sys.stderr.write("There is no openssl to compare with.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="slm") as temporary:
        folder = Path(chosen.folder or temporary).absolute()
        text, numbers = run(folder, chosen.sizes, chosen.rounds, chosen.blob_megabytes << 20)
    (RESULTS / "store.md").write_text(text)
    (RESULTS / "store.json").write_text(json.dumps(numbers, indent=1) + "\n")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
