"""A transfer whose client goes away stops, and what it had is gone on with."""

from __future__ import annotations

import json
import threading

import httpx
import ollama

from registry.store.leases import find_leases
from tests.fakes.relay import relay
from tests.processes import until
from tests.servers import Server
from tests.slmctl.server.models import HELLO

BYTES_BEFORE = 200_000


def held_leases(server: Server) -> list[str]:
    return [lease.purpose for lease in find_leases(server.store / "leases") if lease.held]


def test_a_pull_whose_client_leaves_stops_and_the_next_one_goes_on(
    author: ollama.Client, changing: Server, place: str
) -> None:
    author.create("long", from_=HELLO, system="Long.")
    author.copy("long", f"{place}/team/long:v1")
    assert author.push(f"{place}/team/long:v1", insecure=True).status == "success"
    size = next(model.size for model in author.list().models if model.model == f"{place}/team/long:v1")
    assert size is not None
    for name in ("long", f"{place}/team/long:v1"):
        author.delete(name)
    author.delete(HELLO)

    goes_on = threading.Event()
    with relay(place) as between:
        name = f"{between.host}/team/long:v1"
        between.on_served = lambda served: None if served < BYTES_BEFORE else _wait(goes_on)
        body = {"model": name, "insecure": True}
        with httpx.stream("POST", f"{changing.base_url}/api/pull", json=body, trust_env=False) as answer:
            for line in answer.iter_lines():
                if (
                    json.loads(line).get("completed", 0) > BYTES_BEFORE // 4
                ):  # of the weights: all else is small
                    break
            assert f"pull {name}" in held_leases(changing)
        until(lambda: True if f"pull {name}" not in held_leases(changing) else None)  # and nothing came
        goes_on.set()
        assert name not in [model.model for model in author.list().models]
        before = between.served
        assert author.pull(name, insecure=True).status == "success"
        assert between.served - before < size
        page = httpx.get(f"{changing.base_url}/metrics", trust_env=False).text
        pulled = float(page.partition("\nslmctl_pull_bytes_total ")[2].partition("\n")[0])
        assert 0.9 * size <= pulled <= between.served, "of both, and what was there counts once"
    assert author.generate(name, "Hi!", options={"num_predict": 2}).done


def _wait(event: threading.Event) -> None:
    assert event.wait(60)
