"""A minute of 64 streams from one server, and another in which a gigabyte loads: the second half of `make load`.

    python -m tests.load.serve [--streams 64] [--seconds 60]

The limits are ten times those of issue 8, which `benchmarks/serve.py` measures on a machine that does nothing
else; memory may grow by what is said here.
"""

from __future__ import annotations

import argparse
import time

from tests.faults.site import HELLO, config, make_gigabyte, make_tiny, site
from tests.load.apis import openai_lane
from tests.load.lanes import ask
from tests.load.serving import Loaded, put_streams
from tests.servers import serving

LIVE_DEADLINE_SECONDS = 1.0
GROWTH_BYTES = 16 << 20
"""A server that kept anything of each of thousands of requests would grow by more in a minute."""


def minutes_of_load(*, streams: int, seconds: float) -> tuple[Loaded, Loaded, float]:
    """The streams alone, and while a gigabyte loads; and seconds from asking for it to its first token."""
    took: list[float] = []
    with site() as program:
        make_tiny(program)
        make_gigabyte(program)
        with serving(program, config=config(parallel=8)) as server:
            address = server.address

            def load_gigabyte() -> None:
                time.sleep(seconds / 3)
                begin = time.monotonic()
                lane = openai_lane("big", address, "gigabyte", 2, requests=1, silence=300)
                (asked,) = ask(lane)["big"]
                assert asked.outcome == "whole", asked
                took.append(time.monotonic() - begin)

            models = (HELLO, "tiny")
            ask(*(openai_lane(model, address, model, 3, requests=1) for model in models))
            alone = put_streams(server.pid, address, models, streams=streams, seconds=seconds)
            alone.check(growth_bytes=GROWTH_BYTES, live_seconds=LIVE_DEADLINE_SECONDS)
            beside = put_streams(
                server.pid, address, models, streams=streams, seconds=seconds, meanwhile=load_gigabyte
            )
            beside.check(growth_bytes=2 * GROWTH_BYTES, live_seconds=LIVE_DEADLINE_SECONDS)
    return alone, beside, took[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.load.serve")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    alone, beside, took = minutes_of_load(streams=given.streams, seconds=given.seconds)
    for what, each in (("alone", alone), (f"while a gigabyte loaded ({took:.1f} s)", beside)):
        print(
            f"{given.streams} streams {what}: {len(each.asked)} answers, {each.tokens_per_second:.0f} tokens/s, "
            f"no error; /livez {1000 * each.live_p99:.0f} ms (99 of 100); widest gap "
            f"{1000 * max(one.gap for one in each.asked):.0f} ms; memory {each.growth_bytes >> 10:+} KiB"
        )


if __name__ == "__main__":
    main()
