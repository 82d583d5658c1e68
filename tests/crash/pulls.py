"""The rows that pull: from a registry that lies outside of their worlds, over one connection and in small chunks.

With one connection the same calls name the same paths in each run, whichever thread of a crew makes them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from tests.crash.commands import BAD_CONTENT, Row, World, gguf
from tests.fakes.artifact import OCI_MANIFEST
from tests.fakes.kitops import model_kit
from tests.gguf_bytes import STRING, tiny
from tests.registries.author import put_blob, put_manifest

CHUNK = 4096
_ONE = (("SLMCTL_CONNECTIONS", "1"), ("SLMCTL_CHUNK_SIZE", str(CHUNK)))


def large(salt: int) -> bytes:
    """A model of six chunks and a bit."""
    return tiny().put("crash.filling", STRING, hashlib.sha512(b"%d" % salt).hexdigest() * 160).build()


@dataclass(frozen=True, slots=True)
class _Publish:
    """Somebody else pushes a model that is made of `sources`, a model's weights by a word of `_weights`.

    With `then_nothing` there is no home yet in the world that pulls it.
    """

    repository: str
    sources: tuple[str, ...]
    then_nothing: bool = False

    def __call__(self, world: World) -> None:
        author = replace(world, root=world.root.with_name(f"{world.root.name}-author"), settings=())
        for folder in ("home", "files", "out", "other", "run"):
            (author.root / folder).mkdir(parents=True, exist_ok=True)
        lines = []
        for source in self.sources:
            path = author.root / "files" / f"{source}.gguf"
            path.write_bytes(_weights(source))
            lines.append(f"FROM {path}")
        modelfile = author.root / "files" / "Modelfile"
        modelfile.write_text("\n".join(lines))
        for line in (
            ("create", "m", "-f", str(modelfile), "--force"),
            ("push", "m", f"{{registry}}/{self.repository}/m"),
        ):
            done = author.run(*line)
            assert done.returncode == 0, done.stderr
        if self.then_nothing:
            (world.root / "home").rmdir()


def _weights(source: str) -> bytes:
    kind, number = source.split("-")
    return large(int(number)) if kind == "large" else gguf(int(number), half=kind == "half")


def _publish_kit(world: World) -> None:
    """A ModelKit: its layer is a compressed tar, which is unpacked on arrival."""
    made = model_kit({"m.gguf": gguf(1)}, docs={"README.md": b"A model."})
    for data in made.blobs.values():
        put_blob(f"http://{world.registry}", "pull-kit/m", data)
    put_manifest(f"http://{world.registry}", "pull-kit/m", made.raw, OCI_MANIFEST, reference="latest")


@dataclass(frozen=True, slots=True)
class _LeaveHalf:
    """What a killed pull leaves of the blob with the weights: its first chunks, the journal, and a lease.

    With `lying` the journal says more than is there: bytes that a power cut took, or a disk that rots.
    """

    lying: bool = False

    def __call__(self, world: World) -> None:
        data = large(1)
        digest = hashlib.sha256(data).hexdigest()
        half = data[: 3 * CHUNK]
        there = half[:CHUNK] + bytes(CHUNK) + half[2 * CHUNK :] if self.lying else half
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        journal = f"slmctl.partial/1 {digest} {len(data)} {boot}\ndone 0 {len(half)}\n"
        ingest = world.store / "ingest"
        (ingest / f"{digest}.partial").write_bytes(there)
        (ingest / f"{digest}.journal").write_text(journal)
        header = {"schema": "slmctl.lease/1", "purpose": "pull m:latest", "pid": 1}
        (world.store / "leases" / f"{7:016x}").write_text(f"{json.dumps(header)}\nsha256:{digest}\n")


def _damage(world: World) -> None:
    """A flipped bit in weights that were pulled."""
    path = world.store / "blobs" / "sha256" / hashlib.sha256(large(1)).hexdigest()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def _pull(name: str, *more: str) -> tuple[str, ...]:
    return ("pull", f"{{registry}}/{name}/m", "--as", "m", "--quiet", *more)


_N = ("create", "n", "--from", "{files}/b.gguf")

PULLS: tuple[Row, ...] = (
    Row(
        name="pull",
        points=100,
        make=_Publish("pull", ("full-1", "half-1"), then_nothing=True),
        run=_pull("pull", "--all-variants"),
        settings=_ONE,
        fetches=True,
    ),
    Row(
        name="pull-replacing",
        points=60,
        make=_Publish("pull-replacing", ("full-1",)),
        before=(_N, _pull("pull-replacing")),
        ready=_Publish("pull-replacing", ("full-2",)),
        run=_pull("pull-replacing"),
        settings=_ONE,
        fetches=True,
    ),
    Row(
        name="pull-in-chunks",
        points=60,
        make=_Publish("pull-in-chunks", ("large-1",)),
        before=(_N,),
        run=_pull("pull-in-chunks", "--limit-rate", "15kB"),
        settings=_ONE,
        fetches=True,
    ),
    Row(
        name="pull-going-on",
        points=60,
        make=_Publish("pull-going-on", ("large-1",)),
        before=(_N,),
        ready=_LeaveHalf(),
        run=_pull("pull-going-on"),
        settings=_ONE,
        fetches=True,
    ),
    Row(
        name="pull-on-lying-journal",
        points=60,
        make=_Publish("pull-on-lying-journal", ("large-1",)),
        before=(_N,),
        ready=_LeaveHalf(lying=True),
        run=_pull("pull-on-lying-journal"),
        settings=_ONE,
        fetches=True,
    ),
    Row(
        name="pull-kit",
        points=60,
        make=_publish_kit,
        before=(_N,),
        run=_pull("pull-kit"),
        settings=_ONE,
        fetches=True,
    ),
    Row(
        name="verify-repair-pulled",
        points=40,
        make=_Publish("verify-repair-pulled", ("large-1",)),
        before=(_N, _pull("verify-repair-pulled")),
        ready=_damage,
        run=("verify", "--repair"),
        codes=(BAD_CONTENT,),
        settings=_ONE,
        fetches=True,
    ),
)
