"""OpenTelemetry traces: a span for each request, and below it one for each of its stages.

FastAPI makes the request's span, and goes on with the caller's where a `traceparent` came; the
stages are timed where metrics are, and told afterwards.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from m2d_clap.service.errors import ServiceError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


class TracesError(ServiceError):
    """Traces are wanted and the packages that send them are missing."""


class Traces:
    """Spans go to `exporter`, in the background; without one there are none."""

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        self._provider: Any = None
        self._tracer: Any = None
        if exporter is not None:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            self._provider = TracerProvider(resource=Resource.create({"service.name": "m2d-clap"}))
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            self._tracer = self._provider.get_tracer("m2d_clap.service")

    @classmethod
    def to(cls, endpoint: str | None) -> "Traces":
        """endpoint: a collector's address for OTLP over HTTP. Raises TracesError."""
        if endpoint is None:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return cls(OTLPSpanExporter(endpoint))
        except ImportError as error:
            raise TracesError(
                f"traces_endpoint is set, but {error.name or error} is not installed: "
                "pip install 'm2d-clap[traces]', or take the setting out"
            ) from error

    def of_requests(self) -> dict[str, Any]:
        """Arguments of FastAPI: only what is asked for is traced."""
        wanted = {"metrics": False, "logs": False, "operation_spans": False}
        if self._provider is None:
            return {"telemetry": {"tracing": False, **wanted}}
        return {"telemetry": {"tracing": True, "tracer_provider": self._provider, **wanted}}

    def stage(self, name: str, seconds: float, ago: float = 0.0) -> None:
        """A span of the request being served, which took `seconds` and ended `ago` seconds ago."""
        if self._tracer is None:
            return
        end = time.time_ns() - int(1e9 * ago)
        self._tracer.start_span(name, start_time=end - int(1e9 * seconds)).end(end)

    def queued(self, waited: float, stages: Mapping[str, float]) -> None:
        """Spans of what has just left a queue: `waited` seconds in it, then those of its batch."""
        ago = sum(stages.values())
        self.stage("queue", waited, ago)
        for name, seconds in stages.items():
            ago -= seconds
            self.stage(name, seconds, ago)

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()
