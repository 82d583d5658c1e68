"""How fast a pull is, beside what it cannot be faster than and what others do.

    python -m benchmarks.pull [--rounds 5] [--megabytes 1024] [--blobs 40] [--folder DIR] [--ramalama PROGRAM]

Writes benchmarks/results/pull.md and pull.json. Debian's docker-registry serves, on loopback, one model of
one blob and one of many blobs with as many bytes. All sides take turns, in the opposite order every other
round, after one round for nothing; each is a process, started to its end, into a place where nothing is, and
before each all that others wrote is flushed.

The floor is the larger of `curl -o FILE && sync FILE` and `openssl dgst -sha256 FILE`, each alone and round
by round: somebody must fetch the bytes and make them durable, and somebody must hash them. `slmctl pull` does
both, with the program's start and the requests for the manifest. skopeo copies into an OCI layout, oras-py
pulls into a folder (neither makes anything durable); `ramalama pull`, where it is installed, fetches the one
blob by its address. Whoever is not there is left out, and it is said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from registry import mediatypes
from registry.digest import Digest
from registry.manifest import Descriptor, modelpack_config, modelpack_layer, modelpack_manifest
from registry.names import parse
from registry.remotes.base import Blob
from registry.remotes.credentials import Keyring
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.registries import Registries
from registry.store.store import Session, Store
from registry.transfer.upload import from_reader, upload
from slmctl.app.cpus import usable_cpus
from tests.registries.programs import docker_registry
from tests.slmctl.cli.program import SCRIPT

RESULTS = Path(__file__).parent / "results"
MOST_OF_FLOOR = 1.25
LEAST_OF_SKOPEO = 3.0
PULL, CURL, OPENSSL, SKOPEO, ORAS = (
    "slmctl pull", "curl -o FILE && sync FILE", "openssl dgst -sha256 FILE", "skopeo copy", "oras-py pull"
)  # fmt: skip
RAMALAMA = "ramalama pull"
_ORAS = (
    "import sys, oras.client;"
    "oras.client.OrasClient(insecure=True)"
    ".pull(target=sys.argv[1], outdir=sys.argv[2], allowed_media_type=[])"
)


@dataclass
class Side:
    """One thing to time. `place` is removed before each start."""

    name: str
    command: Sequence[str]
    place: Path
    environment: Mapping[str, str]
    seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def start(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        os.sync()
        command, peak = list(self.command), self.place.with_name("peak")
        if has_time():
            command = [
                "time",
                "-f",
                "%M",
                "-o",
                str(peak),
                *command,
            ]  # a small process starts the one it measures
        start = perf_counter()
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        self.seconds.append(perf_counter() - start)
        assert done.returncode == 0, (self.name, done.stderr.decode(errors="replace")[-2000:])
        if has_time():
            self.peaks.append(int(peak.read_text().split()[-1]) << 10)

    def forget(self) -> None:
        self.seconds.clear()
        self.peaks.clear()


def has_time() -> bool:
    """Whether there is GNU's time, which tells how much memory a program had."""
    return shutil.which("time") is not None


def measure(sides: Sequence[Side], rounds: int) -> None:
    """Time all sides in turns, after a round for nothing: byte code, caches, and files into memory."""
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            side.start()
        if number == 0:
            for side in sides:
                side.forget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What was pushed: `name` is how a client names it, `blobs` its large blobs with their addresses."""

    title: str
    name: str
    reference: str
    size: int
    blobs: Mapping[Digest, str]


def push_model(http: HttpClient, host: str, folder: Path, title: str, sizes: Sequence[int]) -> Model:
    """Make a model whose weights are files of these sizes, and push it."""
    path = f"bench/{title.replace(' ', '-')}"
    registries = Registries(http=http, keyring=Keyring((), search_path="", helper_environment={}))
    remote = registries.oci(parse(f"http://{host}/{path}:v1"))
    store = Store(folder / title.replace(" ", "-"))
    with store.session("benchmark") as session:
        layers = [_layer(session, title, number, size) for number, size in enumerate(sizes)]
        config = modelpack_config(
            architecture=None,
            format="safetensors",
            quantization=None,
            parameters=None,
            licenses=[],
            diff_ids=[layer.digest for layer in layers],
        )
        manifest = modelpack_manifest(
            config=Descriptor(
                media_type=mediatypes.MODELPACK_CONFIG, digest=session.put(config), size=len(config)
            ),
            layers=layers,
            annotations={mediatypes.SLMCTL_VARIANT: "safetensors-f32"},
        )
        upload(
            from_reader(store), remote, [Blob(digest=each.digest, size=each.size) for each in manifest.blobs]
        )
        remote.put_manifest(manifest.raw, mediatypes.OCI_MANIFEST, "v1")
    shutil.rmtree(store.root)
    return Model(
        title=title,
        name=f"http://{host}/{path}:v1",
        reference=f"{host}/{path}:v1",
        size=sum(sizes),
        blobs={layer.digest: f"http://{host}/v2/{path}/blobs/{layer.digest}" for layer in layers},
    )


def _layer(session: Session, title: str, number: int, size: int) -> Descriptor:
    """A file that the hub's tools would call weights: random bytes, the same for each run."""
    hasher = hashlib.sha256()
    for piece in _pieces(title, number, size):
        hasher.update(piece)
    digest = Digest(hasher.hexdigest())
    session.receive(Descriptor(media_type="", digest=digest, size=size), _pieces(title, number, size))
    name = f"model-{number + 1:05d}.safetensors"
    return modelpack_layer(media_type=mediatypes.MODELPACK_WEIGHT, digest=digest, size=size, path=name)


def _pieces(title: str, number: int, size: int) -> Iterator[bytes]:
    chance = random.Random(f"{title} {number}")
    for start in range(0, size, 1 << 20):
        yield chance.randbytes(min(1 << 20, size - start))


def sides_of(model: Model, folder: Path, ramalama: str | None) -> tuple[list[Side], list[str]]:
    """What is timed for one model, and who is left out."""
    base = {"PATH": os.environ["PATH"], "HOME": str(folder / "home")}
    sources, files = folder / "sources", folder / "files"
    sources.mkdir(parents=True)
    files.mkdir()
    (folder / "home").mkdir()
    for digest, url in model.blobs.items():
        subprocess.run(["curl", "-sSf", "-o", str(files / digest.short), url], check=True)
    curl = " ".join(f"-o {digest.short} {url}" for digest, url in model.blobs.items())
    names = " ".join(digest.short for digest in model.blobs)

    def side(name: str, *command: str, **environment: str) -> Side:
        return Side(name, command, folder / name.split(" ")[0] / "place", {**base, **environment})

    pull = side(PULL, str(SCRIPT), "pull", model.name, "--quiet")
    pull.environment = {**base, "SLMCTL_HOME": str(pull.place)}
    sides = [
        pull,
        side(CURL, "sh", "-c", f"curl -sSf {curl} && sync {names}"),
        side(OPENSSL, "openssl", "dgst", "-sha256", *(str(files / digest.short) for digest in model.blobs)),
    ]
    missing = []
    if shutil.which("skopeo"):
        source = f"docker://{model.reference}"
        sides.append(
            side(SKOPEO, "skopeo", "copy", "--quiet", "--src-tls-verify=false", source, "oci:layout:v1")
        )
    else:
        missing.append("skopeo is not installed")
    sides.append(side(ORAS, sys.executable, "-c", _ORAS, model.reference, "."))
    if ramalama is None:
        missing.append("ramalama is not installed (it pulls from registries through podman or docker only)")
    elif len(model.blobs) == 1:
        (url,) = model.blobs.values()
        sides.append(side(RAMALAMA, ramalama, "--store", ".", "pull", url))
    return sides, missing


def report(results: Mapping[str, Sequence[Side]], missing: Sequence[str], facts: Mapping[str, object]) -> str:
    lines = [
        "# How fast a pull is",
        "",
        f"`python -m benchmarks.pull`; see there for what is measured. {facts['rounds']} rounds on",
        f"{facts['machine']}; load average {facts['load_before']} before and {facts['load_after']} after.",
        "Medians (lowest to highest); the start of each program is in all of them.",
        *(f"Left out: {each}." for each in missing),
    ]
    for title, sides in results.items():
        found = {side.name: side.seconds for side in sides}
        floors = [max(pair) for pair in zip(found[CURL], found[OPENSSL], strict=True)]
        lines += ["", f"{title}:", "", "| side | seconds | peak memory, MB |", "|---|---|---|"]
        lines += [f"| `{side.name}` | {_spread(side.seconds)} | {_peak(side)} |" for side in sides]
        lines += ["", "| goal | | measured, round by round | |", "|---|---|---|---|"]
        goals: list[tuple[str, str, list[float], Callable[[float], bool]]] = [
            (
                "slmctl : the floor",
                f"at most {MOST_OF_FLOOR}",
                [mine / floor for mine, floor in zip(found[PULL], floors, strict=True)],
                lambda ratio: ratio <= MOST_OF_FLOOR,
            )
        ]
        if SKOPEO in found:
            ratios = [theirs / mine for mine, theirs in zip(found[PULL], found[SKOPEO], strict=True)]
            goals.append(
                (
                    "skopeo : slmctl",
                    f"at least {LEAST_OF_SKOPEO}",
                    ratios,
                    lambda ratio: ratio >= LEAST_OF_SKOPEO,
                )
            )
        lines += [
            f"| {what} | {goal} | {_spread(values)} |"
            f" {'met' if is_met(statistics.median(values)) else 'MISSED'} |"
            for what, goal, values, is_met in goals
        ]
    return "\n".join([*lines, ""])


def _spread(values: Sequence[float]) -> str:
    median, low, high = (f"{value:.3f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high})"


def _peak(side: Side) -> str:
    return f"{max(side.peaks) / 1e6:.0f}" if side.peaks else ""


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    with docker_registry(folder) as registry:
        yield registry.host


def run(
    folder: Path, rounds: int, size: int, count: int, ramalama: str | None = None
) -> tuple[str, dict[str, object]]:
    """Measure everything in `folder`, with `size` bytes in one blob and in `count`; gives the report and all
    numbers."""
    results: dict[str, Sequence[Side]] = {}
    missing: dict[str, None] = {}
    with _registry(folder / "registry") as host, HttpClient(HttpSettings()) as http:
        models = [
            push_model(http, host, folder, "one blob", [size]),
            push_model(http, host, folder, f"{count} blobs", _shares(size, count)),
        ]
        load_before = _load()
        for number, model in enumerate(models):
            sides, absent = sides_of(model, folder / f"model-{number}", ramalama)
            missing |= dict.fromkeys(absent)
            measure(sides, rounds)
            results[f"{model.size / 1e9:.2f} GB in {model.title}"] = sides
    facts: dict[str, object] = {
        "rounds": rounds,
        "machine": f"{platform.machine()}, {usable_cpus()} cores, {platform.system()},"
        f" Python {platform.python_version()}",
        "load_before": load_before,
        "load_after": _load(),
    }
    numbers = {
        **facts,
        "left_out": list(missing),
        "models": {
            title: [{"side": side.name, "seconds": side.seconds, "peak_bytes": side.peaks} for side in sides]
            for title, sides in results.items()
        },
    }
    return report(results, list(missing), facts), numbers


def _shares(size: int, count: int) -> list[int]:
    """`count` sizes, of which no two are equal, that make `size` together."""
    shares = [size // count + number - count // 2 for number in range(count)]
    shares[-1] += size - sum(shares)
    return shares


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how fast a pull is.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--blobs", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="where everything is made; removed by who names it")
    parser.add_argument(
        "--ramalama", default=shutil.which("ramalama"), help="the program, if it is not on PATH"
    )
    chosen = parser.parse_args()
    for program in ("docker-registry", "curl", "openssl"):
        if shutil.which(program) is None:
            sys.stderr.write(f"There is no {program}.\n")
            return 1
    with tempfile.TemporaryDirectory(prefix="slm") as temporary:
        folder = Path(chosen.folder or temporary).absolute()
        text, numbers = run(folder, chosen.rounds, chosen.megabytes << 20, chosen.blobs, chosen.ramalama)
    (RESULTS / "pull.md").write_text(text)
    (RESULTS / "pull.json").write_text(json.dumps(numbers, indent=1) + "\n")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
