"""The commands under test. Adding one is adding a row to `ROWS`.

A row says what is there before (commands that are run, and files that are made), what is run, and which exit
codes a second run may end with when the first had done all of it. What the command changes is found out by running it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slmctl.cli.main import COMMANDS
from tests.crash.oracle import REF_NAME, Tree, read_tree
from tests.crash.tracing import DEADLINE_SECONDS, Injection, Run
from tests.crash.tracing import run as traced
from tests.gguf_bytes import F32, STRING, U32, Builder, tiny
from tests.hf_folders import write_tiny_folder

FAILED, NOT_FOUND, BAD_CONTENT = 1, 3, 5


@dataclass(frozen=True, slots=True)
class World:
    """A folder with a home, a user's files (`files`), another tool's store (`other`) and what is written (`out`).

    `double` is the name of a defect that the program is given (doubles.py). `registry` is HOST:PORT of one outside
    of the world, `settings` are further variables.
    """

    root: Path
    double: str | None = None
    registry: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def store(self) -> Path:
        return self.root / "home" / "store"

    @property
    def watched(self) -> tuple[Path, ...]:
        return (self.store, self.root / "files", self.root / "out", self.root / "other")

    @property
    def exactly(self) -> tuple[Path, ...]:
        """The folders that the store lies in."""
        return (self.root, self.root / "home")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "SLMCTL_HOME": str(self.root / "home"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "OLLAMA_MODELS": str(self.root / "other"),
            "PYTHONHASHSEED": "0",  # the same calls in each run
            **dict(self.settings),
        }

    def command(self, *arguments: str) -> list[str]:
        """The command line of slmctl; `{files}`, `{out}` and `{other}` are those folders,
        `{registry}` is the registry."""
        places = {path.name: str(path) for path in self.watched} | {"registry": self.registry or ""}
        filled = [argument.format_map(places) for argument in arguments]
        if self.double is None:
            return [sys.executable, "-S", "-P", "-m", "slmctl", *filled]
        return [sys.executable, "-S", "-m", "tests.crash.doubles", self.double, *filled]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run slmctl, without strace."""
        return subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self._environment_of_child,
            cwd="/",
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def trace(self, *arguments: str, injection: Injection | None = None) -> Run:
        """Run slmctl under strace."""
        scratch = self.root.with_name(f"{self.root.name}.trace")
        environment = {**self._environment_of_child, "PYTHONDONTWRITEBYTECODE": "1"}  # those are calls too
        return traced(self.command(*arguments), environment, scratch, injection)

    def tree(self) -> dict[str, bytes | None]:
        return read_tree(self.root)

    def copy(self, root: Path, double: str | None = None) -> World:
        """Another world like this one: modes, times and hard links too."""
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.root), str(root)], check=True)
        return replace(self, root=root, double=double or self.double)

    def remove(self) -> None:
        shutil.rmtree(self.root)

    @property
    def _environment_of_child(self) -> dict[str, str]:
        """Without `site` (-S), whose files others add and remove meanwhile: those are calls too."""
        places = (
            str(Path(__file__).parents[2]),
            sysconfig.get_path("purelib"),
            sysconfig.get_path("platlib"),
        )
        return {**self.environment, "PYTHONPATH": ":".join(dict.fromkeys(places))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One command. `before` are slmctl's command lines that make its world after `make` has made its files.

    `points` is a lower bound of the calls that touch the store: should the recording miss them, it is noticed.
    `again` are the codes that a second run may end with when the first was complete, beside 0. `codes` are those
    that it may fail with beside 1. `sweeps` when nothing is left over after it. `needs_root` to be made.
    `may_go_without_lease` where nothing is put into the store: what is read from a dying disk is worth more.
    `fetches` when manifests come before their blobs, because they say which those are, and what came is kept for
    the next try: a lease lists it.
    `settings` are variables for all of its commands.
    """

    name: str
    run: tuple[str, ...]
    points: int
    before: tuple[tuple[str, ...], ...] = ()
    make: Callable[[World], None] | None = None
    ready: Callable[[World], None] | None = None
    again: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()
    sweeps: bool = False
    needs_root: bool = False
    may_go_without_lease: bool = False
    fetches: bool = False
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def needs_registry(self) -> bool:
        return any("{registry}" in word for line in (self.run, *self.before) for word in line)

    @property
    def exists(self) -> bool:
        """Whether slmctl has all commands of this row yet, and it can be made here."""
        if self.needs_root and os.geteuid() != 0:
            return False
        return {line[0] for line in (self.run, *self.before)} <= COMMANDS.keys()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row with its world, and what lies there before and after the command."""

    row: Row
    world: World
    before: Tree
    after: Tree
    root_after: Path

    def copy(self, name: str, double: str | None = None) -> World:
        """A fresh world to run the command in, beside the prepared one."""
        return self.world.copy(self.place(name, double), double)

    def place(self, name: str, double: str | None = None) -> Path:
        """Where that world lies: doubles of one row run at the same time."""
        return self.world.root.with_name(f"{self.row.name}-{double or 'slmctl'}-{name}")


def prepare(row: Row, folder: Path, registry: str | None = None) -> Prepared:
    """Make a row's world in `folder` and run the command in a copy of it."""
    world = World(folder / f"{row.name}-world", registry=registry, settings=row.settings)
    for name in ("home", "files", "out", "other", "run"):
        (world.root / name).mkdir(parents=True)
    _make_files(world)
    if row.make is not None:
        row.make(world)
    for line in row.before:
        _must(world, line)
    if row.ready is not None:
        row.ready(world)
    done = world.copy(folder / f"{row.name}-after")
    _must(done, row.run)
    return Prepared(row, world, world.tree(), done.tree(), done.root)


def _must(world: World, line: Sequence[str]) -> None:
    done = world.run(*line)
    assert done.returncode == 0, f"{' '.join(line)}: {done.stderr}"


def gguf(salt: int, *, half: bool = False) -> bytes:
    """A valid model of a few KB; another one for each `salt`, of another quantization with `half`."""
    if not half:
        return tiny().put("crash.salt", U32, salt).build()
    made = Builder()
    for pair in tiny().pairs:
        made.pairs.append(pair)
    for tensor in tiny().tensors:
        count = 1
        for dim in tensor.dims:
            count *= dim
        made.tensor(str(tensor.name), tensor.dims, 1, data=bytes(2 * count))
    made.pairs = [pair for pair in made.pairs if b"file_type" not in pair[0]]
    return made.put("general.file_type", U32, 1).put("crash.salt", U32, salt).build()


def _make_files(world: World) -> None:
    files = world.root / "files"
    for number, name in enumerate(("a", "b", "c")):
        (files / f"{name}.gguf").write_bytes(gguf(number))
    (files / "half.gguf").write_bytes(gguf(0, half=True))
    (files / "Modelfile").write_text("FROM m\nSYSTEM You are brief.\nPARAMETER temperature 0\n")
    (files / "Several").write_text("FROM ./a.gguf\nFROM ./half.gguf\n")


def _make_folder(world: World) -> None:
    write_tiny_folder(world.root / "files" / "published")


def _remove_home(world: World) -> None:
    (world.root / "home").rmdir()


def _tear_table(world: World) -> None:
    """What a disk may do to a file: the current table of names ends in its middle."""
    table = world.store / "index.json"
    table.write_bytes(table.read_bytes()[:60])


def _make_version_1(world: World) -> None:
    """The store as slmctl of version 1 left it: the first command that writes to it makes it one of today."""
    for name in ("linked", "borrowed", "quarantine"):
        (world.store / name).rmdir()
    (world.store / "slmctl.json").write_bytes(b'{"schema": "slmctl.store/1", "version": 1}')


def _leave_garbage(world: World) -> None:
    """What crashed commands leave: leases without an owner, half files, and blobs that only these listed."""
    store = world.store
    for number in range(2):
        blob = f"left over {number}".encode()
        digest = hashlib.sha256(blob).hexdigest()
        path = store / "blobs" / "sha256" / digest
        path.write_bytes(blob)
        path.chmod(0o444)
        owner = f"{number:016x}"
        header = json.dumps({"schema": "slmctl.lease/1", "purpose": "create x", "pid": 1})
        (store / "leases" / owner).write_text(f"{header}\nsha256:{digest}\n")
        (store / "ingest" / f"{owner}.1").write_bytes(b"half a fi")
    stray = b"nobody's"
    (store / "blobs" / "sha256" / hashlib.sha256(stray).hexdigest()).write_bytes(stray)


def _make_ollama_store(world: World) -> None:
    """Two models of Ollama's that share a blob (ollama.md section 4: manifests/HOST/NAMESPACE/MODEL/TAG)."""
    blobs, manifests = world.root / "other" / "blobs", world.root / "other" / "manifests"
    blobs.mkdir()

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / f"sha256-{digest}").write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    shared = put(gguf(7), "application/vnd.ollama.image.model")
    for tag, system in (("one", b"Be brief."), ("two", b"Be kind.")):
        config = {"model_format": "gguf", "model_family": "llama", "architecture": "amd64", "os": "linux"}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": put(json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"),
            "layers": [shared, put(system, "application/vnd.ollama.image.system")],
        }
        path = manifests / "registry.ollama.ai" / "library" / "m" / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest, separators=(",", ":")))


def _make_anothers_ollama_store(world: World) -> None:
    """Of another user, whose files are not linked but noted where they lie."""
    _make_ollama_store(world)
    for path in (world.root / "other").rglob("*"):
        os.chown(path, 65534, 65534)


def _damage_blob(world: World) -> None:
    """A flipped bit in the weights of `m`, whose file the user still has."""
    digest = hashlib.sha256((world.root / "files" / "a.gguf").read_bytes()).hexdigest()
    path = world.store / "blobs" / "sha256" / digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def _measure(world: World) -> None:
    """Something was measured of `m`: an artifact that refers to its manifest, and a row that says so."""
    table = json.loads((world.store / "index.json").read_bytes())
    subject = next(row for row in table["manifests"] if row["annotations"][REF_NAME] == "m:latest")
    kind = "application/vnd.slmctl.quality.v1+json"

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (world.store / "blobs" / "sha256" / digest).write_bytes(data)
        (world.store / "blobs" / "sha256" / digest).chmod(0o444)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": kind,
        "config": put(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [put(b'{"schema": "slmctl.quality/1"}', kind)],
        "subject": {name: subject[name] for name in ("mediaType", "digest", "size")},
    }
    row = put(json.dumps(manifest).encode(), str(manifest["mediaType"]))
    about = {"artifactType": kind, "annotations": {"dev.slmctl.subject": subject["digest"]}}
    table["manifests"].append({**row, **about})
    (world.store / "index.json").write_text(json.dumps(table))


def _carry_measured(world: World) -> None:
    """The same in a bundle, and not in the store any more."""
    _measure(world)
    _must(world, ("export", "m", "-o", "{files}/m.tar"))
    _must(world, ("rm", "m"))


def _leave_partial_export(world: World) -> None:
    """What an export leaves that was killed between linking its file's name and removing its temporary one."""
    token = hashlib.sha256(b"m.tar").hexdigest()[:16]
    (world.root / "out" / f".slmctl-export-{token}.partial").hardlink_to(world.root / "out" / "m.tar")


_M = ("create", "m", "--from", "{files}/a.gguf")
_N = ("create", "n", "--from", "{files}/b.gguf")
_EXPORT = ("export", "m", "-o", "{out}/m.tar")
_BASED = ("create", "based", "-f", "{files}/Modelfile")

ROWS: tuple[Row, ...] = (
    Row(name="create", points=110, make=_remove_home, run=_M),
    Row(name="create-replacing", points=80, before=(_M,), run=("create", "m", "--from", "{files}/b.gguf")),
    Row(name="create-known-bytes", points=48, before=(_M,), run=("create", "n", "--from", "{files}/a.gguf")),
    Row(
        name="create-move",
        points=72,
        before=(_M,),
        run=("create", "c", "--from", "{files}/c.gguf", "--move"),
        again=(NOT_FOUND,),
    ),
    Row(name="create-from-name", points=70, before=(_M,), run=_BASED),
    Row(name="create-several", points=110, before=(_M,), run=("create", "s", "-f", "{files}/Several")),
    Row(
        name="create-folder",
        points=150,
        make=_make_folder,
        run=("create", "m", "--from", "{files}/published"),
    ),
    Row(
        name="convert",
        points=60,
        make=_make_folder,
        before=(_M,),
        run=("convert", "{files}/published", "--to", "gguf", "-o", "m"),
    ),
    Row(name="create-on-torn-table", points=70, before=(_M, _N), ready=_tear_table, run=_BASED),
    Row(name="cp-on-version-1", points=40, before=(_M,), ready=_make_version_1, run=("cp", "m", "copy")),
    Row(name="cp", points=16, before=(_M,), run=("cp", "m", "copy")),
    Row(name="cp-force", points=24, before=(_M, _N), run=("cp", "m", "n", "--force")),
    Row(name="rm", points=26, before=(_M, _N), run=("rm", "m"), again=(NOT_FOUND,)),
    Row(name="rm-several", points=30, before=(_M, _N, _BASED), run=("rm", "m", "n"), again=(NOT_FOUND,)),
    Row(name="rm-measured", points=30, before=(_M, _N), ready=_measure, run=("rm", "m"), again=(NOT_FOUND,)),
    Row(
        name="cp-force-measured", points=26, before=(_M, _N), ready=_measure, run=("cp", "n", "m", "--force")
    ),
    Row(
        name="import-measured",
        points=90,
        before=(_M, _N),
        ready=_carry_measured,
        run=("import", "{files}/m.tar"),
    ),
    Row(name="gc", points=20, before=(_M,), ready=_leave_garbage, run=("gc",)),
    Row(name="gc-all", points=30, before=(_M,), ready=_leave_garbage, run=("gc", "--all"), sweeps=True),
    Row(
        name="verify-repair",
        points=40,
        before=(_M,),
        ready=_damage_blob,
        run=("verify", "--repair"),
        codes=(BAD_CONTENT,),
    ),
    Row(
        name="export-tar",
        points=30,
        before=(_M,),
        run=_EXPORT,
        again=(FAILED,),
        may_go_without_lease=True,
    ),
    Row(
        name="export-tar-force",
        points=30,
        before=(_M, _N, _EXPORT),
        ready=_leave_partial_export,
        run=("export", "n", "-o", "{out}/m.tar", "--force"),
        may_go_without_lease=True,
    ),
    Row(
        name="export-folder",
        points=80,
        before=(_M, _BASED),
        run=("export", "m", "based", "-o", "{out}/m/"),
        again=(FAILED,),
        may_go_without_lease=True,
    ),
    Row(
        name="import-tar",
        points=70,
        before=(_M, ("export", "m", "-o", "{files}/m.tar"), ("rm", "m"), _N),
        run=("import", "{files}/m.tar"),
    ),
    Row(
        name="import-folder",
        points=90,
        before=(_M, ("export", "m", "-o", "{files}/m/"), ("rm", "m"), _N),
        run=("import", "{files}/m/", "--as", "other"),
    ),
    Row(name="adopt", points=20, make=_make_ollama_store, before=(_M,), run=("adopt",)),
    Row(
        name="adopt-borrowed",
        points=20,
        make=_make_anothers_ollama_store,
        before=(_M,),
        run=("adopt",),
        needs_root=True,
    ),
)


__all__ = ["F32", "ROWS", "STRING", "Prepared", "Row", "World", "gguf", "prepare"]
