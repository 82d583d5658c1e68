"""Workers that are killed under load: samples of `make faults`."""

from __future__ import annotations

import pytest

from tests.faults.killing import kill_again_and_again
from tests.faults.site import HELLO, config, make_tiny, site
from tests.load.apis import openai_lane
from tests.load.lanes import ask
from tests.servers import serving


@pytest.mark.slow
def test_a_killed_worker_costs_only_what_it_was_answering() -> None:
    with site() as program:
        weights = make_tiny(program)
        with serving(program, config=config(parallel=4)) as server:
            lane = openai_lane("cold", server.address, "tiny", 3, requests=1)
            (cold,) = ask(lane)["cold"]
            assert cold.first is not None
            killed = kill_again_and_again(
                server.pid, server.address, hit=("tiny", weights), other=HELLO, every=2.0, times=3
            )
            killed.check()
            assert max(killed.recoveries) < 10 * (cold.first + 1)
