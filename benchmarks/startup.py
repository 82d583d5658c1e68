"""How long slmctl takes to start: `version`, and `list` on a store of 1,000 models.

    python -m benchmarks.startup [--rounds 15] [--models 1000] [--ramalama PATH] [--folder DIR]

Writes benchmarks/results/startup.md. The sides are this tree installed from its wheel into a fresh
environment (which is what counts: users have that), the editable installation that runs this, the bare
interpreter of the first environment, and RamaLama, from the package index unless `--ramalama` names one. All
take turns, in the opposite order every other round. With `--folder` the environments and stores are kept
and found again: make them with `--rounds 0`, and measure when the machine is quiet.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.names import parse
from registry.store.store import Store
from slmctl.app.create import CreateRequest, create
from slmctl.app.listing import list_models
from tests.slmctl.cli.program import REPOSITORY, SCRIPT
from tools.random_model import Shape, write_random_model

RESULT = Path(__file__).parent / "results" / "startup.md"
SMALL = Shape(hidden=2, heads=1, kv_heads=1, head_size=2, feed_forward=64)  # 49 kB, nearly all vocabulary
NOW = "2026-11-22T00:00:00Z"

VERSION, LIST, BARE, CLICK = "`slmctl version`", "`slmctl list`", "bare interpreter", "`import click`"
FIRST_LIST = "`slmctl list`, its first time"
EDITABLE_VERSION, EDITABLE_LIST = "`slmctl version`, editable", "`slmctl list`, editable"
RAMALAMA_VERSION = "`ramalama version`"
RAMALAMA_LIST, RAMALAMA_EMPTY = "`ramalama list`", "`ramalama list`, empty store"

GOALS = (
    (VERSION, BARE, 5.5),
    (LIST, BARE, 8.0),
    (VERSION, RAMALAMA_VERSION, 1 / 3),
    (LIST, RAMALAMA_LIST, 1 / 3),
)
"""(side, against, at most how many times as long)."""

FILL_RAMALAMA = """
import sys
from ramalama.cli import main
store, files = sys.argv[1], sys.argv[2:]
for file in files:
    sys.argv = ["ramalama", "--nocontainer", "--quiet", "--store", store, "pull", "file://" + file]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
"""A program for RamaLama's interpreter: its own `pull`, without starting it a thousand times."""


@dataclass(frozen=True)
class Side:
    """One command to time. `before` is done ahead of each start, untimed."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    before: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.before()
        start = time.perf_counter()
        subprocess.run(
            list(self.command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        self.seconds.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def row(self, bare: float) -> str:
        ms = [f"{1000 * value:.1f}" for value in (self.median, min(self.seconds), max(self.seconds))]
        return f"| {self.name} | {' | '.join(ms)} | {self.median / bare:.2f} |"


def installed(folder: Path, what: str | Path, script: str) -> Path:
    """The console script `script` of `what`, in an environment of its own; made unless it is there."""
    path = folder / "bin" / script
    if not path.exists():
        venv.create(folder, with_pip=True, symlinks=True)
        pip: list[str | Path] = [
            folder / "bin" / "python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        subprocess.run([*pip, what], check=True, cwd=folder)
    return path


def make_models(folder: Path, count: int) -> list[Path]:
    """Small GGUF files that differ in their last weight."""
    paths = [folder / f"model{number:04}.gguf" for number in range(count)]
    if not all(path.exists() for path in paths):
        folder.mkdir(exist_ok=True)
        write_random_model(paths[0], shape=SMALL)
        data = paths[0].read_bytes()
        for number, path in enumerate(paths):
            path.write_bytes(data[:-4] + struct.pack("<f", 1 + number / count))
    return paths


def fill_store(root: Path, paths: Sequence[Path]) -> None:
    """One model of slmctl's per file."""
    store = Store(root)
    for path in paths:
        name = parse(path.stem)
        if store.names().find(name.full_name) is None:
            request = CreateRequest(name=name, bases=[str(path)], folder=Path("/"), spec=ModelSpec())
            create(store, request, now=NOW)
    assert len(list_models(store)) == len(paths)


def slmctl_sides(folder: Path, models: Sequence[Path]) -> list[Side]:
    home = folder / "slmctl-home"
    fill_store(home / "store", models)
    notes = Store(home / "store").layout.cache / "summaries.json"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "SLMCTL_HOME": str(home)}
    script = installed(folder / "wheel", REPOSITORY, "slmctl")
    python: list[str | Path] = [script.with_name("python"), "-I", "-c"]
    sides = [
        Side(BARE, [*python, "pass"], environment),
        Side(CLICK, [*python, "import click"], environment),
        Side(VERSION, [script, "version"], environment),
        Side(FIRST_LIST, [script, "list"], environment, lambda: notes.unlink(missing_ok=True)),
        Side(LIST, [script, "list"], environment),
    ]
    if SCRIPT.exists():
        sides.append(Side(EDITABLE_VERSION, [SCRIPT, "version"], environment))
        sides.append(Side(EDITABLE_LIST, [SCRIPT, "list"], environment))
    return sides


def ramalama_sides(folder: Path, models: Sequence[Path], given: Path | None) -> list[Side]:
    """RamaLama's commands; none where it does not install or work.

    --nocontainer keeps it from asking Docker or Podman for images, which takes longer and fails where no
    daemon runs; --store keeps it from the user's models (as root it makes an empty folder under /var/lib all
    the same).
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    full, empty = folder / "ramalama-store", folder / "ramalama-empty"
    try:
        script = given or installed(folder / "ramalama", "ramalama", "ramalama")
        base: list[str | Path] = [script, "--nocontainer", "--store"]
        if not full.exists():
            python = script.resolve().with_name("python")
            fill: list[str | Path] = [python, "-c", FILL_RAMALAMA, full, *models]
            subprocess.run(fill, env=environment, stdout=subprocess.DEVNULL, check=True)
        listed = subprocess.run([*base, full, "list"], env=environment, stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"RamaLama is not measured: {error}\n")
        return []
    if (found := listed.stdout.count(b"file://")) != len(models):
        sys.stderr.write(f"RamaLama is not measured: it lists {found} of {len(models)} models.\n")
        return []
    return [
        Side(RAMALAMA_VERSION, [*base, empty, "version"], environment),
        Side(RAMALAMA_LIST, [*base, full, "list"], environment),
        Side(RAMALAMA_EMPTY, [*base, empty, "list"], environment),
    ]


def measure(sides: Sequence[Side], rounds: int) -> None:
    """Time all sides in turns, after a start of each for nothing: byte code, and files into memory."""
    for number in range(-1, rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            side.start()
            if number < 0:
                side.seconds.clear()


def report(sides: Sequence[Side], rounds: int, models: int, versions: str) -> str:
    found = {side.name: side for side in sides}
    bare = found[BARE].median
    lines = [
        "# Start-up",
        "",
        f"`python -m benchmarks.startup --rounds {rounds}` on {platform.machine()}, {os.cpu_count()} cores,",
        f"{platform.system()}, Python {platform.python_version()}, {versions}.",
        "Milliseconds from start to end of the process, output to /dev/null.",
        f"`list` is on a store of {models:,} models; RamaLama has the same files in its own",
        "(pulled as file://), and is run with --nocontainer, which spares it the question to Docker.",
        "slmctl is the wheel in a fresh environment, and that is what counts, unless it says editable.",
        "",
        "| command | median | best | worst | times bare |",
        "|---|---|---|---|---|",
        *(side.row(bare) for side in sides),
        "",
        "| goal | at most | measured | |",
        "|---|---|---|---|",
    ]
    for name, other, limit in GOALS:
        measured = "not measured | "
        if name in found and other in found:
            ratio = found[name].median / found[other].median
            measured = f"{ratio:.2f} | {'met' if ratio <= limit else 'MISSED'}"
        lines.append(f"| {name} : {other} | {limit:.2f} | {measured} |")
    if RAMALAMA_EMPTY in found:
        ratio = found[LIST].median / found[RAMALAMA_EMPTY].median
        lines += [
            "",
            f"No goal: listing {models:,} models takes {ratio:.2f} of what RamaLama takes for none.",
        ]
    return "\n".join([*lines, ""])


def versions_of(sides: Sequence[Side]) -> str:
    """Of click in the environment that counts, and of RamaLama."""
    found = {side.name: side for side in sides}
    python = found[BARE].command[0]
    code = "import importlib.metadata as m; print('click', m.version('click'))"
    texts = [subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()]
    if side := found.get(RAMALAMA_VERSION):
        done = subprocess.run(side.command, env=side.environment, capture_output=True, text=True, check=True)
        texts.append(done.stdout.strip())
    return ", ".join(texts)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how long slmctl takes to start.")
    parser.add_argument("--rounds", type=int, default=15, help="0 makes the environments and stores only")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--ramalama", type=Path, help="an installed ramalama")
    parser.add_argument("--folder", type=Path, help="where everything is made, and found again")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm") as temporary:
        folder = Path(chosen.folder or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        models = make_models(folder / "models", chosen.models)
        sides = slmctl_sides(folder, models) + ramalama_sides(folder, models, chosen.ramalama)
        if chosen.rounds == 0:
            return 0
        measure(sides, chosen.rounds)
        text = report(sides, chosen.rounds, chosen.models, versions_of(sides))
    RESULT.write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
