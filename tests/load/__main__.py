"""A minute of load by sixteen processes: `make load`.

python -m tests.load [--processes 16] [--seconds 60]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.fakes.registry import fake_registry
from tests.load.load import put_load
from tests.load.published import bytes_served
from tests.load.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm") as folder, fake_registry() as registry:
        world = World(Path(folder) / "world")
        world.make(registry)
        registry.requests.clear()
        outcome = put_load(world, processes=given.processes, seconds=given.seconds)
        world.served_once(registry)
        served = sum(bytes_served(registry).values())
    for what, count in sorted(outcome.counts.items()):
        print(f"{count:6} {what.replace('_', ' ')}")
    print(
        f"{given.processes} processes, {given.seconds:.0f} seconds: {outcome.names} names were there, whole"
    )
    print(f"{served:,} bytes were pulled; what nobody freed was pulled once")
    print("nothing lost, nothing left")


if __name__ == "__main__":
    main()
