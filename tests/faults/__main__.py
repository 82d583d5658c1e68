"""The full lengths: `make faults`. What the tests of this folder do briefly, for as long as issue 8 says.

python -m tests.faults [--kills 24] [--every 5] [--aborts 10000]
"""

from __future__ import annotations

import argparse
import statistics
import time

from tests.faults.going_away import check_nothing_is_left, go_away
from tests.faults.killing import kill_again_and_again
from tests.faults.site import HELLO, config, make_tiny, site
from tests.load.apis import openai_lane
from tests.load.lanes import ask
from tests.servers import serving


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--aborts", type=int, default=10_000)
    given = parser.parse_args()
    with site() as program:
        weights = make_tiny(program)
        with serving(program, config=config(parallel=4)) as server:
            (cold,) = ask(openai_lane("cold", server.address, "tiny", 3, requests=1))["cold"]
            assert cold.first is not None
            killed = kill_again_and_again(
                server.pid,
                server.address,
                hit=("tiny", weights),
                other=HELLO,
                every=given.every,
                times=given.kills,
            )
            killed.check()
        asked = sum(map(len, killed.hit.values()))
        print(f"{len(killed.kills)} workers killed, every {given.every:g} s, under load")
        print(f"the other model: {len(killed.other)} answers, no error")
        print(
            f"the model hit: {asked} answers, {killed.errors} errors, all of requests in flight, well formed"
        )
        print(
            f"from the kill to the first token: {statistics.median(killed.recoveries):.2f} s, at most "
            f"{max(killed.recoveries):.2f} s; the first load took {cold.first:.2f} s"
        )
        with serving(program, config=config(parallel=4)) as server:
            begin = time.monotonic()
            seen = go_away(server.address, "tiny", times=given.aborts)
            check_nothing_is_left(server, "tiny", 4)
        print(
            f"{seen.total()} clients went away at {len(seen)} stages of three APIs in "
            f"{time.monotonic() - begin:.0f} s: no slot left taken, the engine idle"
        )


if __name__ == "__main__":
    main()
