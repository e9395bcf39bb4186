"""Traces for OpenTelemetry: a span for each request and one for each stage of its search.

Optional (`pip install 'rankwell[otel]'`). Nothing of OpenTelemetry's global state is touched; the
times of the stages are those that the search measured itself.
"""

from collections.abc import Mapping
from typing import Any

from rankwell.data.errors import MissingPackage
from rankwell.data.records import SearchResult

_NS_PER_MS = 1_000_000


class Tracer:
    """Sends spans to a collector, in batches, on a thread of its own."""

    def __init__(self, processor: Any) -> None:
        """Starts.

        Args:
            processor: a span processor of OpenTelemetry's, which gets the spans.
        """
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise MissingPackage("opentelemetry-sdk", "otel") from None
        self._provider = TracerProvider(resource=Resource.create({"service.name": "rankwell"}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("rankwell")
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def request(
        self,
        name: str,
        headers: Mapping[str, str],
        began_ns: int,
        ended_ns: int,
        attributes: Mapping[str, Any],
        result: SearchResult | None,
    ) -> None:
        """Records a request that has been answered.

        Args:
            name: the method and the route.
            headers: of the request; a traceparent among them makes the span a part of that trace.
            began_ns: since the epoch.
            ended_ns: likewise.
            attributes: of the span.
            result: of its search, where it was one.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        parent = self._propagator.extract(headers)
        span = self._tracer.start_span(
            name, parent, SpanKind.SERVER, attributes=dict(attributes), start_time=began_ns
        )
        if result is not None:
            inside = set_span_in_context(span)
            # the stages follow one another and end, but for writing the answer, with the request
            at = max(began_ns, ended_ns - int(result.took_ms * _NS_PER_MS))
            for stage in result.stages:
                part = self._tracer.start_span(
                    f"stage {stage.name}",
                    inside,
                    attributes={"rankwell.candidates": stage.candidates},
                    start_time=at,
                )
                at += int(stage.ms * _NS_PER_MS)
                part.end(at)
        span.end(ended_ns)


def tracer_to(url: str) -> Tracer | None:
    """Returns a tracer that sends to a collector's address by OTLP over HTTP; None for no address.

    Raises:
        MissingPackage: OpenTelemetry is not installed.
    """
    if not url:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingPackage("opentelemetry-exporter-otlp-proto-http", "otel") from None
    return Tracer(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
