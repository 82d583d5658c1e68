"""Let hypothesis look for a bundle that breaks `slmctl import`, for as long as one likes.

python -m tools.fuzz_import [--seconds 60] [--seed NUMBER]
"""

from __future__ import annotations

import argparse
import time

from tests.property.bundle_mutations import LAWS, law_of

_ROUND = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % (1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    end = time.monotonic() + given.seconds
    rounds = 0
    while time.monotonic() < end:
        for name in LAWS:
            law_of(name, examples=_ROUND, number=given.seed + rounds)()
        rounds += 1
    print(f"{rounds * len(LAWS) * _ROUND} bundles, nothing found")


if __name__ == "__main__":
    main()
