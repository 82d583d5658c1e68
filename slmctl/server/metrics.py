"""What is counted and measured, for Prometheus (serving.md 3.4 has the names).

Labels are bounded: a model's name becomes one only after it was found in the store, at most so many of them
have series at once, and a model that is removed loses its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slmctl.app.events import Event, OnEvent, Transfer
from slmctl.server.call import Told

if TYPE_CHECKING:
    from slmctl.server.scheduler import InstanceStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_MODELS = 500
"""How many models have series at once; what is beyond is counted as model "other"."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_Labelled = Counter | Gauge | Histogram
M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """Belongs to the event loop's thread, but for `text` and `counting`."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asks for
        self._registry = registry = CollectorRegistry()
        self._children: dict[str, dict[_Labelled, set[tuple[str, ...]]]] = {}
        self._state = _State()
        registry.register(self._state)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"slmctl_{name}", about, labels, registry=registry)

        def seconds(name: str, about: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"slmctl_{name}_seconds", about, labels, registry=registry, buckets=buckets)

        self._running = Gauge(
            "slmctl_http_requests_running", "HTTP requests that are being answered.", registry=registry
        )
        self._requests = counter(
            "requests", "Requests that have ended.", "model", "endpoint", "code", "finish_reason"
        )
        self._duration = seconds(
            "request_duration", "From a request's head to the end of its answer.", "model", "endpoint"
        )
        self._queued = seconds("queue_duration", "Waiting for a slot of a model.", "model")
        self._first = seconds("time_to_first_token", "From a request's head to its first token.", "model")
        self._per_token = seconds(
            "time_per_output_token", "Between two tokens of an answer.", "model", buckets=_TOKEN_SECONDS
        )
        self._prompt = counter("prompt_tokens", "Tokens of prompts.", "model")
        self._cached = counter("prompt_tokens_cached", "Tokens of prompts that were in a cache.", "model")
        self._generated = counter("generated_tokens", "Tokens that models have written.", "model")
        self._loading = seconds("model_load", "From the start of a worker until it is ready.", "model")
        self._restarts = counter("worker_restarts", "Workers that died.", "model", "reason")
        self._rejected = counter("rejected", "Requests that were not let in.", "reason")

        self._pulled = counter("pull_bytes", "Bytes that pulls have fetched.")
        self._resumed = counter(
            "pull_resumes", "Files that pulls went on with where an earlier one had ended."
        )
        self._unverified = counter(
            "verify_failures", "Requests that failed over bytes that have not their digest."
        )

    def begun(self) -> None:
        """A request is under way."""
        self._running.inc()

    def ended(self, told: Told, *, endpoint: str, code: int, seconds: float) -> None:
        """A request is over. `endpoint` is its path in the table of endpoints, `code` the HTTP status."""
        self._running.dec()
        model = self._label(told.model)
        self._at(self._requests, model, endpoint, str(code), told.finish_reason or "").inc()
        self._at(self._duration, model, endpoint).observe(seconds)
        if told.model is None:
            return
        if told.queue_seconds is not None:
            self._at(self._queued, model).observe(told.queue_seconds)
        if told.first_token_seconds is not None:
            waited = (told.queue_seconds or 0.0) + (told.load_seconds or 0.0)
            self._at(self._first, model).observe(waited + told.first_token_seconds)
            if told.generation_seconds is not None and (told.generated_tokens or 0) > 1:
                spent = told.generation_seconds - told.first_token_seconds
                self._at(self._per_token, model).observe(spent / ((told.generated_tokens or 0) - 1))
        for metric, tokens in (
            (self._prompt, told.prompt_tokens),
            (self._cached, told.cached_tokens),
            (self._generated, told.generated_tokens),
        ):
            if tokens:
                self._at(metric, model).inc(tokens)

    def rejected(self, reason: str) -> None:
        """A request was not let in; `reason` is the code of a problem."""
        self._rejected.labels(reason).inc()

    def loaded(self, model: str, seconds: float) -> None:
        """A worker is ready."""
        self._at(self._loading, self._label(model)).observe(seconds)

    def worker_ended(self, model: str, reason: str) -> None:
        """A worker died of itself; `reason` is one of few words (`fleet.Watcher`)."""
        self._at(self._restarts, self._label(model), reason).inc()

    def counting(self, on_event: OnEvent) -> OnEvent:
        """Has `on_event` told of a pull, and counts what is fetched. Called from the pull's own thread."""
        fetched = 0

        def told(event: Event) -> None:
            nonlocal fetched
            if isinstance(event, Transfer) and event.stage == "pull":
                now = event.all_done - event.reused  # less than before, where one is fetched anew
                self._pulled.inc(max(0, now - fetched))
                fetched = now
            on_event(event)

        return told

    def verify_failed(self) -> None:
        """Something is not what its digest says."""
        self._unverified.inc()

    def forget(self, known: Collection[str]) -> None:
        """Drop the series of models that are not among `known`."""
        for model in [each for each in self._children if each not in known and each not in {"", "other"}]:
            for metric, labels in self._children.pop(model).items():
                for each in labels:
                    metric.remove(*each)

    def text(self, instances: Iterable[InstanceStatus], *, store_bytes: int | None) -> bytes:
        """The page that Prometheus reads, with how things stand now."""
        self._state.instances = tuple(instances)
        self._state.store_bytes = store_bytes
        return generate_latest(self._registry)

    def _label(self, model: str | None) -> str:
        if model is None:
            return ""
        return model if model in self._children or len(self._children) < MOST_MODELS else "other"

    def _at(self, metric: M, model: str, *labels: str) -> M:
        values = (model, *labels)
        self._children.setdefault(model, {}).setdefault(metric, set()).add(values)
        return metric.labels(*values)


class _State(Collector):
    """How things stand, asked for when the page is made."""

    def __init__(self) -> None:
        self.instances: tuple[InstanceStatus, ...] = ()
        self.store_bytes: int | None = None

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("slmctl_requests_running", "Requests in a slot.", labels=["model"])
        waiting = GaugeMetricFamily("slmctl_requests_waiting", "Requests in a queue.", labels=["model"])
        loaded = GaugeMetricFamily(
            "slmctl_model_loaded", "1 for a model that is loaded.", labels=["model", "digest"]
        )
        memory = GaugeMetricFamily(
            "slmctl_model_memory_bytes", "What a loaded model was planned to take.", labels=["model"]
        )
        counts: dict[str, list[int]] = {}
        digests: set[tuple[str, str]] = set()
        for each in self.instances:
            one = counts.setdefault(each.name, [0, 0, 0])
            one[0] += each.running
            one[1] += each.waiting
            one[2] += each.size_bytes
            if each.state in {"ready", "draining"}:
                digests.add((each.name, each.digest))
        for name, (runs, waits, size) in counts.items():
            running.add_metric([name], runs)
            waiting.add_metric([name], waits)
            memory.add_metric([name], size)
        for name, digest in sorted(digests):
            loaded.add_metric([name, digest], 1)
        yield from (running, waiting, loaded, memory)
        if self.store_bytes is not None:
            yield GaugeMetricFamily(
                "slmctl_store_bytes", "Bytes of blobs in the store.", value=self.store_bytes
            )
