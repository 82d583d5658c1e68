"""A child process of the tests: creates and removes models under names of its own, as fast as it can.

    churn.py STORE GGUF NAME SECONDS

Every few steps it looks whether exactly the names that it made and did not remove are there and whole, and
prints what it kept when its time is over, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.names import parse
from registry.store.store import Store
from slmctl.app.create import CreateRequest, create
from slmctl.app.finding import find_package
from slmctl.app.models import copy_model, remove_models

NOW = "2026-11-22T00:00:00Z"


def main(root: Path, base: Path, mine: str, seconds: float) -> None:
    store = Store(root)
    chance = random.Random(mine)
    kept: dict[str, str] = {}
    number = steps = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        steps += 1
        number += 1
        name = f"{mine}/model:{number}"
        # few different systems, so that the two processes share blobs and free each other's candidates
        spec = ModelSpec(system=f"{chance.randrange(3)}")
        request = CreateRequest(name=parse(name), bases=[str(base)], folder=Path("/"), spec=spec)
        kept[name] = str(create(store, request, now=NOW).entry.descriptor.digest)
        if chance.random() < 0.3:
            copy_model(store, parse(name), parse(f"{name}-copy"), force=False, now=NOW)
            kept[f"{name}-copy"] = kept[name]
        while len(kept) > chance.randrange(12):
            gone = chance.choice(sorted(kept))
            assert remove_models(store, [gone]).removed == (gone,)
            del kept[gone]
        names = store.names()
        assert names.generation == "current"
        seen = {
            name: str(entry.descriptor.digest)
            for name, entry in names.entries.items()
            if name.startswith(f"{mine}/")
        }
        assert seen == kept, f"kept {sorted(kept)}, seen {sorted(seen)}"
        for name in kept:
            assert all(variant.local for variant in find_package(store, parse(name)).variants), name
    sys.stdout.write(json.dumps({"kept": kept, "steps": steps}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
