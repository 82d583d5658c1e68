"""Let hypothesis look for a bundle that breaks `slmctl import`, for as long as one likes.

python -m tools.fuzz_import [--seconds 60] [--seed 0]
"""

from __future__ import annotations

import argparse
import time

from hypothesis import seed, settings

from tests.property import test_import_bundles

_ROUND = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % (1 << 32))
    given = parser.parse_args()
    laws = (
        test_import_bundles.test_a_changed_tar,
        test_import_bundles.test_a_changed_document_that_everything_agrees_with,
        test_import_bundles.test_a_changed_folder,
    )
    print(f"seed {given.seed}")
    end = time.monotonic() + given.seconds
    rounds = 0
    while time.monotonic() < end:
        for law in laws:
            once = settings(law._hypothesis_internal_use_settings, max_examples=_ROUND, database=None)(law)  # type: ignore[attr-defined]  # noqa: SLF001
            seed(given.seed + rounds)(once)()
        rounds += 1
    print(f"{rounds * len(laws) * _ROUND} bundles, nothing found")


if __name__ == "__main__":
    main()
