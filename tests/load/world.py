"""Where the load is put: a home with a few models that nobody removes, a user's files, and an Ollama store."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from registry.store.store import Store
from tests.fakes.ollama_store import OllamaStore
from tests.fakes.registry import FakeRegistry, digest_of
from tests.load.published import ONCE, bytes_served, publish
from tests.slmctl.cli.program import Program
from tools.random_model import TINY, write_random_model

TYPES = ("F32", "F16", "Q8_0")
SEEDS = 2

FIXED = ("fixed/one:latest", "fixed/several:latest")
"""Names that exist the whole time."""

PULLED = tuple(f"shared/p:{number}" for number in range(3))
SHARED = tuple(f"shared/m:{number}" for number in range(4))
ADOPTED = ("mine:one", "mine:two")
"""Names that every process gives and takes."""


@dataclass(frozen=True, slots=True)
class World:
    root: Path

    @property
    def program(self) -> Program:
        program = Program(self.root / "home", self.root / "run")
        program.go_online()
        return program

    @property
    def published(self) -> dict[str, str]:
        """What can be pulled from where, with its digest: HOST/t/NAME."""
        found: dict[str, str] = json.loads((self.root / "published.json").read_text())
        return found

    @property
    def store(self) -> Store:
        return Store(self.program.store)

    @property
    def files(self) -> dict[tuple[int, str], Path]:
        """GGUF files by seed and type: those of one seed are builds of one model."""
        return {
            (seed, kind): self.root / "files" / f"{seed}-{kind}.gguf"
            for seed in range(SEEDS)
            for kind in TYPES
        }

    @property
    def ollama(self) -> Path:
        return self.root / "ollama"

    def make(self, registry: FakeRegistry) -> None:
        for folder in ("files", "run", "out"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "run").chmod(0o700)
        for (seed, kind), path in self.files.items():
            write_random_model(path, shape=TINY, seed=seed, tensor_type=kind)
        one = self.files[0, "F32"]
        several = self.root / "files" / "Several"
        several.write_text(f"FROM {one}\nFROM {self.files[0, 'Q8_0']}\nSYSTEM Be brief.\n")
        for arguments in (("fixed/one", "--from", str(one)), ("fixed/several", "-f", str(several))):
            done = self.program("create", *arguments)
            assert done.code == 0, done.err
        self._publish(registry)
        theirs = OllamaStore(self.ollama)
        weights = self.files[1, "Q8_0"].read_bytes()
        for name, system in zip(ADOPTED, (b"Be brief.", b"Be kind."), strict=True):
            theirs.add(name, [("model", weights), ("system", system)])

    def _publish(self, registry: FakeRegistry) -> None:
        kinds = itertools.product(range(10, 12), TYPES)
        weights = {}
        for letter, (seed, kind) in zip("abcdef", kinds, strict=True):
            weights[letter] = self.root / "files" / f"{letter}.gguf"
            write_random_model(weights[letter], shape=TINY, seed=seed, tensor_type=kind)
        author = Program(self.root / "author", self.root / "run")
        host = registry.server.url.removeprefix("http://")
        digests = publish(registry, author, weights)
        found = {f"{host}/t/{name}": digest for name, digest in digests.items()}
        (self.root / "published.json").write_text(json.dumps(found))

    def served_once(self, registry: FakeRegistry) -> None:
        """Of what nobody freed, each byte was fetched once at most."""
        served = bytes_served(registry)
        for letter in ONCE:
            data = (self.root / "files" / f"{letter}.gguf").read_bytes()
            assert served[digest_of(data)] in {0, len(data)}, (letter, served, len(data))

    def digests(self) -> dict[str, str]:
        """What each name points at now."""
        names = self.store.names()
        assert names.generation == "current"
        return {name: str(entry.descriptor.digest) for name, entry in names.entries.items()}

    def other_tools_files(self) -> dict[str, tuple[object, ...]]:
        """What may not change: all of Ollama's, and the user's files."""
        found: dict[str, tuple[object, ...]] = {}
        for top in ("files", "ollama"):
            for folder, _, names in os.walk(self.root / top):
                for path in (Path(folder) / name for name in names):
                    status = path.lstat()
                    found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, path.read_bytes())
        return found
