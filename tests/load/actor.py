"""A child process: does what users do to a store, at random and as fast as it can.

    python -m tests.load.actor ROOT NAME SECONDS

It has names of its own, which nobody else touches: after each step exactly those that it gave and did not take
must be there, with the digests that it was told. It also gives, takes and copies names that all others do too;
there a name that is gone or taken is no failure, and everything else is. Some of its steps are the installed
program. Prints as JSON what it kept, and how often it did what.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelfiles.spec import ModelSpec
from registry.digest import Digest
from registry.errors import NameTaken, NotFound
from registry.names import parse, parse_new_name
from registry.store.findings import Scope
from registry.store.keeper import Keeper
from registry.store.verify import verify
from slmctl.app import clock
from slmctl.app.create import CreateRequest, create
from slmctl.app.events import ignore
from slmctl.app.exporting import ExportRequest, export
from slmctl.app.finding import find_package
from slmctl.app.importing import ImportRequest, import_bundle
from slmctl.app.made_here import MADE_HERE
from slmctl.app.models import copy_model, remove_models
from slmctl.app.network import Network
from slmctl.app.places import Places
from slmctl.app.pull import pull
from slmctl.app.pulls import by_name
from slmctl.app.variants import is_modelpack
from slmctl.config import Settings
from tests.load.published import CHANGING, STAYING
from tests.load.world import ADOPTED, FIXED, PULLED, SEEDS, SHARED, TYPES, World

MOST_NAMES = 10
PROGRAM_SHARE = 0.08
"""Of the steps that have a command line as short as their name, so many are the installed program."""


class Actor:
    def __init__(self, world: World, mine: str) -> None:
        self._world = world
        self._store = Keeper(world.program.store)
        self._program = world.program
        self._mine = mine
        self._out = world.root / "out" / mine
        self._out.mkdir()
        self._settings = Settings.load(self._program.environment).network
        self._chance = random.Random(mine)
        self._number = 0
        self._fixed = {name: digest for name, digest in world.digests().items() if name in FIXED}
        self.kept: dict[str, str] = {}
        self.staying: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self._steps: dict[Callable[[], None], int] = {
            self.create_from_files: 10,
            self.replace_own: 4,
            self.create_from_a_fixed_model: 4,
            self.copy: 8,
            self.remove: 8,
            self.create_shared: 5,
            self.copy_shared: 4,
            self.remove_shared: 5,
            self.collect: 4,
            self.collect_everything: 2,
            self.look: 4,
            self.verify: 2,
            self.carry: 3,
            self.adopt: 2,
            self.run: 2,
            self.pull_staying: 3,
            self.pull: 4,
            self.pull_shared: 4,
        }

    def act(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            (step,) = self._chance.choices(list(self._steps), list(self._steps.values()))
            if len(self.kept) > MOST_NAMES:
                step = self.remove
            try:
                step()
                self._check()
            except BaseException:
                sys.stderr.write(f"{self._mine}, in {step.__name__}, after {dict(self.counts)}\n")
                raise
            self.counts[step.__name__] += 1

    def create_from_files(self) -> None:
        self._create(self._new_name())

    def replace_own(self) -> None:
        if self.kept:
            self._create(self._own(), force=True)

    def create_from_a_fixed_model(self) -> None:
        name = self._new_name()
        self.kept[name] = self._made(name, [self._chance.choice(FIXED)], force=False)

    def copy(self) -> None:
        source, target = self._any_of_mine(), self._new_name()
        if self._by_program():
            digest = self._ok("cp", source, target)["digest"]
        else:
            entry = copy_model(self._store, parse(source), parse(target), force=False, now=clock.now())
            digest = str(entry.descriptor.digest)
        assert digest == {**self._fixed, **self.kept}[source]
        self.kept[target] = digest

    def remove(self) -> None:
        names = self._chance.sample(sorted(self.kept), min(len(self.kept), self._chance.randint(1, 3)))
        if not names:
            return
        if self._by_program():
            assert self._ok("rm", *names)["removed"] == names
        else:
            assert remove_models(self._store, names).removed == tuple(names)
        for name in names:
            del self.kept[name]

    def create_shared(self) -> None:
        with suppress(NameTaken):
            self._made(self._chance.choice(SHARED), self._bases(), force=self._chance.random() < 0.5)

    def copy_shared(self) -> None:
        """In and out: a shared name may go while it is copied, and what was copied stays."""
        out = self._chance.random() < 0.5
        source = self._chance.choice((*SHARED, *PULLED, *ADOPTED)) if out else self._any_of_mine()
        target = self._new_name() if out else self._chance.choice(SHARED)
        with suppress(NotFound, NameTaken):
            entry = copy_model(self._store, parse(source), parse(target), force=not out, now=clock.now())
            if out:
                self.kept[target] = str(entry.descriptor.digest)

    def remove_shared(self) -> None:
        remove_models(self._store, [self._chance.choice((*SHARED, *PULLED, *ADOPTED))])

    def collect(self) -> None:
        if self._by_program():
            self._ok("gc")
        else:
            self._store.collect()

    def collect_everything(self) -> None:
        self._store.collect(everything=True)

    def look(self) -> None:
        if self._by_program():
            listed = {row["name"]: row["digest"] for row in self._ok("list")["models"]}
            assert {**self._fixed, **self.kept}.items() <= listed.items()
        name = self._any_of_mine()
        assert self._ok("show", name)["digest"] == {**self._fixed, **self.kept}[name]

    def verify(self) -> None:
        if self._by_program():
            self._ok("verify")
            return
        report = verify(self._store, Scope(made_here=MADE_HERE, threads=2), keeper=self._store)
        assert report.is_well, [finding for finding in report.findings if finding.is_bad]

    def carry(self) -> None:
        """Out of the store as a bundle, and in again under another name."""
        source, target = self._any_of_mine(), self._new_name()
        self._number += 1
        path = self._out / f"{self._number}.tar"
        place = f"{path}/" if self._chance.random() < 0.5 else str(path)
        if self._by_program():
            (exported,) = self._ok("export", source, "-o", place)["models"]
            digest = exported["digest"]
            self._ok("import", str(path), "--as", target)
        else:
            done = export(self._store, ExportRequest(names=[parse(source)], target=place))
            digest = str(done.models[0].descriptor.digest)
            request = ImportRequest(path=path, rename=parse_new_name(target))
            import_bundle(self._store, request, now=clock.now())
        before = {**self._fixed, **self.kept}[source]
        assert digest == before or self._is_adopted(before)  # which is written as ModelPack
        self.kept[target] = digest

    def _is_adopted(self, digest: str) -> bool:
        return not is_modelpack(self._store.manifest_of(Digest(digest.removeprefix("sha256:"))))

    def adopt(self) -> None:
        for row in self._ok("adopt", str(self._world.ollama))["models"]:
            assert row["problem"] is None, row

    def run(self) -> None:
        """Names that existed before and are there: no load of one may fail."""
        done = self._program("run", self._any_of_mine(), "--raw", "--max-tokens", "2", "--ctx", "64", "x")
        assert done.code == 0, done.err

    def pull_staying(self) -> None:
        """What all others pull under the same name, and nobody removes."""
        where, digest = self._published(STAYING)
        name = f"pulled/{where.rpartition('/')[2]}:latest"
        self._pull(where, name, digest)
        self.staying[name] = digest

    def pull(self) -> None:
        """Under a name of its own: what overlaps with what others pull and remove, or what stays anyway."""
        staying = [name for name in STAYING if f"pulled/{name}:latest" in self.staying]
        where, digest = self._published([*CHANGING, *staying])
        name = self._new_name()
        self._pull(where, name, digest)
        self.kept[name] = digest

    def pull_shared(self) -> None:
        where, digest = self._published(CHANGING)
        with suppress(NameTaken):
            self._pull(where, self._chance.choice(PULLED), digest, force=self._chance.random() < 0.5)

    def _published(self, models: Iterable[str]) -> tuple[str, str]:
        chosen = self._chance.choice(sorted(models))
        return next(pair for pair in self._world.published.items() if pair[0].endswith(f"/{chosen}"))

    def _pull(self, where: str, name: str, digest: str, *, force: bool = False) -> None:
        if not force and not name.startswith("shared/") and self._by_program():
            (row,) = self._ok("pull", where, "--as", name, "--all-variants")["models"]
            assert row["digest"] == digest
            return
        ref, search = parse(where), self._settings.search
        request = by_name(self._store, ref, search=search, name=parse_new_name(name), force=force)
        with Network(self._settings) as network:
            request = replace(request, all_variants=True)
            pulled = pull(self._store, Places(network, ignore), request, now=clock.now())
        assert str(pulled.digest) == digest

    def _create(self, name: str, *, force: bool = False) -> None:
        self.kept[name] = self._made(name, self._bases(), force=force)

    def _bases(self) -> list[str]:
        seed = self._chance.randrange(SEEDS)
        kinds = self._chance.sample(TYPES, self._chance.choice((1, 1, 2, 3)))
        return [str(self._world.files[seed, kind]) for kind in kinds]

    def _made(self, name: str, bases: list[str], *, force: bool) -> str:
        spec = ModelSpec(system=f"{self._chance.randrange(3)}")
        request = CreateRequest(name=parse(name), bases=bases, folder=Path("/"), spec=spec, force=force)
        return str(create(self._store, request, now=clock.now()).entry.descriptor.digest)

    def _new_name(self) -> str:
        self._number += 1
        return f"{self._mine}/m:{self._number}"

    def _own(self) -> str:
        return self._chance.choice(sorted(self.kept))

    def _any_of_mine(self) -> str:
        return self._chance.choice([*FIXED, *sorted(self.kept)])

    def _by_program(self) -> bool:
        by_program = self._chance.random() < PROGRAM_SHARE
        self.counts["programs"] += by_program
        return by_program

    def _ok(self, *arguments: str) -> dict[str, Any]:
        done = self._program(*arguments, "--json")
        assert done.code == 0, (arguments, done.out, done.err)
        return done.json

    def _check(self) -> None:
        seen = self._world.digests()
        assert {
            name: digest for name, digest in seen.items() if name.startswith(f"{self._mine}/")
        } == self.kept
        assert {**self._fixed, **self.staying}.items() <= seen.items()
        name = self._any_of_mine()
        assert all(variant.local for variant in find_package(self._store, parse(name)).variants), name


def main(root: Path, mine: str, seconds: float) -> None:
    actor = Actor(World(root), mine)
    actor.act(seconds)
    sys.stdout.write(json.dumps({"kept": actor.kept, "staying": actor.staying, "counts": actor.counts}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
