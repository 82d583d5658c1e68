"""What Prometheus reads: names and values, held against its own parser, and that nobody can make it grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from starlette.responses import Response

from registry.errors import DigestMismatch
from slmctl.server.call import Call, Endpoint, Told
from slmctl.server.metrics import MOST_MODELS, Metrics
from slmctl.server.scheduler import InstanceStatus
from slmctl.server.streams import answer
from tests.servers import Server
from tests.slmctl.server.guarded import Guarded, guarded

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def series(text: bytes) -> Series:
    """All values by name and labels; what is no text format raises."""
    found: Series = {}
    for family in parse(text.decode()):
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "no series twice"
            found[key] = sample.value
    return found


def page(metrics: Metrics, *instances: InstanceStatus, store_bytes: int | None = None) -> Series:
    return series(metrics.text(instances, store_bytes=store_bytes))


def value(found: Series, name: str, **labels: str) -> float:
    return found[f"slmctl_{name}", tuple(sorted(labels.items()))]


def told(model: str | None = "m:latest") -> Told:
    return Told(
        model=model,
        finish_reason="stop",
        prompt_tokens=100,
        cached_tokens=60,
        generated_tokens=11,
        queue_seconds=0.5,
        load_seconds=2.0,
        first_token_seconds=0.25,
        generation_seconds=1.25,
    )


def instance(
    name: str, digest: str, *, state: str = "ready", running: int = 0, waiting: int = 0
) -> InstanceStatus:
    return InstanceStatus(
        name=name, digest=digest, variant="gguf-q4_0", purpose="text", engine="llama.cpp", state=state,
        size_bytes=1000, vram_bytes=0, context_length=64, parallel=1, running=running, waiting=waiting,
        seconds_left=None, pinned=False, pid=1,
    )  # fmt: skip


def test_a_request_is_counted_and_timed() -> None:
    metrics = Metrics()
    metrics.begun()
    assert value(page(metrics), "http_requests_running") == 1
    metrics.ended(told(), endpoint="chat", code=200, seconds=4.0)
    found = page(metrics)
    model = {"model": "m:latest"}
    assert value(found, "http_requests_running") == 0
    assert value(found, "requests_total", **model, endpoint="chat", code="200", finish_reason="stop") == 1
    assert value(found, "request_duration_seconds_sum", **model, endpoint="chat") == 4.0
    assert value(found, "queue_duration_seconds_sum", **model) == 0.5
    assert value(found, "time_to_first_token_seconds_sum", **model) == 2.75, "from the client's point of view"
    assert value(found, "time_per_output_token_seconds_sum", **model) == pytest.approx(0.1)
    assert value(found, "time_per_output_token_seconds_bucket", **model, le="0.1") == 1
    assert value(found, "prompt_tokens_total", **model) == 100
    assert value(found, "prompt_tokens_cached_total", **model) == 60
    assert value(found, "generated_tokens_total", **model) == 11


def test_what_is_not_known_is_not_counted() -> None:
    metrics = Metrics()
    for each in (
        Told(),
        Told(model="m:latest"),
        Told(model="m:latest", generated_tokens=1, first_token_seconds=1.0),
    ):
        metrics.begun()
        metrics.ended(each, endpoint="chat", code=404, seconds=1.0)
    found = page(metrics)
    assert value(found, "requests_total", model="", endpoint="chat", code="404", finish_reason="") == 1
    names = {name for name, _ in found}
    assert "slmctl_time_per_output_token_seconds_count" not in names
    assert "slmctl_prompt_tokens_total" not in names
    assert value(found, "time_to_first_token_seconds_sum", model="m:latest") == 1.0


def test_how_things_stand() -> None:
    metrics = Metrics()
    metrics.loaded("m:latest", 3.0)
    metrics.worker_ended("m:latest", "killed")
    metrics.rejected("too_large")
    found = page(
        metrics,
        instance("m:latest", "sha256:new", running=2, waiting=5),
        instance("m:latest", "sha256:old", state="draining", running=1),
        instance("other:latest", "sha256:x", state="loading", waiting=1),
        store_bytes=12345,
    )
    assert value(found, "requests_running", model="m:latest") == 3
    assert value(found, "requests_waiting", model="m:latest") == 5
    assert value(found, "requests_waiting", model="other:latest") == 1
    assert value(found, "model_memory_bytes", model="m:latest") == 2000
    assert value(found, "model_loaded", model="m:latest", digest="sha256:new") == 1
    assert value(found, "model_loaded", model="m:latest", digest="sha256:old") == 1
    assert not [
        key for key in found if key[0] == "slmctl_model_loaded" and ("model", "other:latest") in key[1]
    ]
    assert value(found, "model_load_seconds_sum", model="m:latest") == 3.0
    assert value(found, "worker_restarts_total", model="m:latest", reason="killed") == 1
    assert value(found, "rejected_total", reason="too_large") == 1
    assert value(found, "store_bytes") == 12345


def test_two_instances_that_say_the_same_are_one_series() -> None:
    twice = instance("m:latest", "sha256:x"), instance("m:latest", "sha256:x")
    assert value(page(Metrics(), *twice), "model_loaded", model="m:latest", digest="sha256:x") == 1


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "ü", "a{b}", "a,b", ""])
def test_names_are_escaped(name: str) -> None:
    metrics = Metrics()
    metrics.begun()
    metrics.ended(told(name), endpoint="chat", code=200, seconds=1.0)
    found = page(metrics, instance(name, name))
    assert value(found, "generated_tokens_total", model=name) == 11
    assert value(found, "model_loaded", model=name, digest=name) == 1


def test_a_model_that_is_removed_loses_its_series() -> None:
    metrics = Metrics()
    empty = page(metrics)
    for model in ("a:latest", "b:latest"):
        metrics.begun()
        metrics.ended(told(model), endpoint="chat", code=200, seconds=1.0)
        metrics.loaded(model, 1.0)
        metrics.worker_ended(model, "killed")
    metrics.forget({"b:latest"})
    found = page(metrics)
    assert {dict(labels).get("model") for _, labels in found} == {None, "b:latest"}
    metrics.forget(set())
    assert page(metrics).keys() == empty.keys()


def test_however_many_models_there_are_the_page_stays_bounded() -> None:
    """As when somebody makes and removes ever more of them."""
    metrics = Metrics()
    for number in range(20_000):
        metrics.begun()
        metrics.ended(told(f"m{number}:latest"), endpoint="chat", code=200, seconds=1.0)
        if number == 2 * MOST_MODELS:
            size = len(page(metrics))
    found = page(metrics)
    assert len(found) == size
    assert value(found, "generated_tokens_total", model="other") == 11 * (20_000 - MOST_MODELS)
    metrics.forget(set())
    metrics.begun()
    metrics.ended(told("new:latest"), endpoint="chat", code=200, seconds=1.0)
    assert value(page(metrics), "generated_tokens_total", model="new:latest") == 11


# Through the server


async def say(call: Call) -> Response:
    await call.json()
    if call.request.path_params["name"] == "damaged":
        raise DigestMismatch("It is not what its digest says.")
    return answer(call, {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    table = Endpoint(
        method="POST",
        path="/v1/say/{name}",
        handler=say,
        scope="infer",
        family="openai",
        label="say",
        about="",
    )
    with guarded(tmp_path_factory.mktemp("metrics"), table, max_request_bytes=1000) as running:
        yield running


def scrape(server: Guarded) -> Series:
    status, headers, body = server.ask("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return series(body)


def test_the_page_of_a_server(server: Guarded) -> None:
    server.ask("POST", "/v1/say/x", b"{}")
    found = scrape(server)
    assert (
        value(found, "requests_total", model="", endpoint="/v1/say/{name}", code="200", finish_reason="") >= 1
    )
    assert value(found, "http_requests_running") == 1, "this one"


def test_bytes_that_have_not_their_digest_are_counted(server: Guarded) -> None:
    assert value(scrape(server), "verify_failures_total") == 0
    assert server.ask("POST", "/v1/say/damaged", b"{}")[0] == 400
    assert value(scrape(server), "verify_failures_total") == 1


def test_strangers_make_no_series(server: Guarded) -> None:
    """Paths, methods, hosts, names and headers, ten thousand in all, over one connection each hundred."""
    for number in range(3):
        server.ask(f"M{number}", f"/v1/say/{number}")
        server.ask("POST", f"/v1/say/{number}", b"{}", host=f"h{number}.example")
    server.ask("GET", "/nowhere")
    server.ask("POST", "/v1/say/0", b"{}")
    scrape(server)  # is counted itself, once it is answered
    before = scrape(server)
    for number in range(100):
        with server.connect() as connection:
            asks = [
                f"POST /v1/say/m{number}-{each} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"
                f"X{number}Y{each} /v1/say/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
                f"GET /p{number}/{each} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                f"GET /livez HTTP/1.1\r\nHost: h{number}.{each}\r\n\r\n"
                for each in range(25)
            ]
            connection.sendall("".join(asks).encode())
            answered = b""
            while answered.count(b"HTTP/1.1 ") < 100:
                answered += connection.recv(65536)
    after = scrape(server)
    new = {key for key in after.keys() - before.keys() if ("endpoint", "/livez") not in key[1]}
    assert new == set()
    assert (
        value(after, "requests_total", model="", endpoint="/v1/say/{name}", code="200", finish_reason="")
        >= 2500
    )


def test_what_is_not_let_in_is_counted_by_its_reason(server: Guarded) -> None:
    server.ask("POST", "/v1/say/x", b"x" * 2000)
    server.ask("POST", "/v1/say/x", b"{}", host="evil.com")
    server.ask("POST", "/v1/say/x", b"{}", headers="Content-Encoding: gzip\r\n")
    found = scrape(server)
    for reason in ("too_large", "forbidden", "unsupported_media_type"):
        assert value(found, "rejected_total", reason=reason) >= 1


def test_the_store_is_measured(tmp_path: Path) -> None:
    with guarded(tmp_path) as server:
        assert ("slmctl_store_bytes", ()) not in scrape(server), "there is none yet"
        blobs = server.state.store.layout.blobs
        blobs.mkdir(parents=True)
        (blobs / "a").write_bytes(b"x" * 100)
        (blobs / "b").write_bytes(b"x" * 11)
        assert value(scrape(server), "store_bytes") == 111


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/v1/messages"])
def test_a_real_answer_is_counted(served: Server, path: str, stream: bool) -> None:
    def scraped() -> Series:
        return series(httpx.get(f"{served.base_url}/metrics", trust_env=False).content)

    messages = [{"role": "user", "content": "Hi"}]
    limit = {"options": {"num_predict": 5}} if path == "/api/chat" else {"max_tokens": 5}
    asked = {"model": "hello", "messages": messages, "stream": stream, **limit}
    before = scraped()
    answered = httpx.post(served.base_url + path, json=asked, timeout=60, trust_env=False)
    assert answered.status_code == 200
    after = scraped()

    def more(name: str, **labels: str) -> float:
        key = (f"slmctl_{name}", tuple(sorted({"model": "hello:latest", **labels}.items())))
        return after[key] - before.get(key, 0.0)

    assert more("generated_tokens_total") == 5
    assert more("prompt_tokens_total") > 0
    assert more("time_to_first_token_seconds_count") == 1
    assert more("time_per_output_token_seconds_count") == 1
    assert more("queue_duration_seconds_count") == 1
    assert more("request_duration_seconds_count", endpoint=path) == 1
    assert more("requests_total", endpoint=path, code="200", finish_reason="length") == 1
    assert [key for key in after if key[0] == "slmctl_model_loaded" and ("model", "hello:latest") in key[1]]
    assert value(after, "model_memory_bytes", model="hello:latest") > 0
    assert value(after, "model_load_seconds_count", model="hello:latest") >= 1
    assert value(after, "requests_running", model="hello:latest") == 0
