"""What `/metrics` tells Prometheus. Units are in the names."""

from collections.abc import Callable, Mapping
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

Stage = Literal["decode", "logmel", "encode_audio", "encode_text", "caption", "search"]
STAGES: tuple[Stage, ...] = ("decode", "logmel", "encode_audio", "encode_text", "caption", "search")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One server's, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "m2d_clap_requests", "answered", ("route", "method", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "m2d_clap_request_seconds",
            "from the first byte of a request to the last of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            "m2d_clap_rejected", "requests refused, by the problem's name", ("problem",),
            registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "m2d_clap_stage_seconds",
            "of each sound (decode), batch (logmel, encode, caption) or query (search)",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._batches = Histogram(
            "m2d_clap_batch_size_items",
            "requests encoded together",
            ("queue",),
            buckets=_ITEMS,
            registry=registry,
        )
        self._depth = Gauge(
            "m2d_clap_queue_depth",
            "what waits: texts, seconds of sound, uploads to decode",
            ("queue",),
            registry=registry,
        )
        self._deaths = Gauge(
            "m2d_clap_process_deaths",
            "processes that ended by themselves or hung, since the start",
            ("process",),
            registry=registry,
        )
        self.ready = Gauge("m2d_clap_ready", "1: /readyz answers 200", registry=registry)
        self.index_vectors = Gauge("m2d_clap_index_vectors", "searched", registry=registry)
        self.index_clips = Gauge("m2d_clap_index_clips", "searched", registry=registry)
        self.index_generation = Gauge("m2d_clap_index_generation", "number", registry=registry)
        self.model = Info("m2d_clap_model", "what is served", registry=registry)
        self.reloads = Counter(
            "m2d_clap_reloads", "of index or checkpoint", ("outcome",), registry=registry
        )
        self.reload_failing = Gauge(
            "m2d_clap_reload_failing", "1: the last reload failed", registry=registry
        )
        self.compactions = Counter(
            "m2d_clap_compactions", "of the index", ("outcome",), registry=registry
        )
        for outcome in ("done", "failed"):
            self.reloads.labels(outcome)
            self.compactions.labels(outcome)

    def took(self, stages: Mapping[str, float]) -> None:
        """Seconds by stage."""
        for stage, seconds in stages.items():
            self._stages.labels(stage).observe(seconds)

    def batch(self, queue: str, items: int) -> None:
        self._batches.labels(queue).observe(items)

    def watch(self, depth: Mapping[str, Callable[[], float]]) -> None:
        """Asks these for what waits in each queue, whenever somebody looks."""
        for queue, waiting in depth.items():
            self._depth.labels(queue).set_function(waiting)

    def watch_deaths(self, deaths: Mapping[str, Callable[[], float]]) -> None:
        for process, count in deaths.items():
            self._deaths.labels(process).set_function(count)

    def page(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
