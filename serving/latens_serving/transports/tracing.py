"""Traces of calls over gRPC and HTTP with OpenTelemetry: an extra, off by default.

OpenTelemetry's own variables say where spans go, for example OTEL_EXPORTER_OTLP_ENDPOINT. A span
continues the caller's trace (W3C `traceparent`). It has what a log line has: the method, the model,
the rows, the status code; never a tensor, a token or the text of an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from latens_serving.calls.boundary import code_of
from latens_serving.calls.context import CallContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_CARRIED: Final = ("traceparent", "tracestate", "baggage")


class TracingMissingError(Exception):
    """Tracing is on, and OpenTelemetry is not installed; the text says what to do."""


class Tracing:
    """Makes a span of each call. A stream is one span over its whole length."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("latens.serving")
        self._shutdown = provider.shutdown
        self._propagator = TraceContextTextMapPropagator()

    def around(self, method: str, behavior: Callable[..., Any]) -> Callable[..., Any]:
        """A gRPC behavior, from a request, a call and a context, with a span around it."""

        async def traced(request: Any, call: CallContext, context: Any) -> Any:
            with self.span(method, context.invocation_metadata() or (), call):
                answer = behavior(request, call, context)
                if not hasattr(answer, "__aiter__"):
                    return await answer
                async for message in answer:
                    await context.write(message)
                return None

        return traced

    def shutdown(self) -> None:
        """Sends the spans that are left, and waits for it."""
        self._shutdown()

    @contextmanager
    def span(
        self,
        method: str,
        headers: Iterable[tuple[str, str | bytes]],
        call: CallContext,
        system: str = "grpc",
    ) -> Iterator[Span]:
        """Surrounds a call.

        Args:
            method: the full name, `/package.Service/Method`.
            headers: of the call; the caller's trace context may be among them.
            call: read at the end, for the model and the rows.
            system: the protocol, by OpenTelemetry's names.
        """
        from opentelemetry.trace import SpanKind, StatusCode

        carrier = {key: value for key, value in headers if key in _CARRIED}
        _, service, name = method.rsplit("/", 2)
        with self._tracer.start_as_current_span(
            f"{service}/{name}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {"rpc.system": system, "rpc.service": service, "rpc.method": name},
            record_exception=False,
            set_status_on_exception=False,  # its description would be the error's text
        ) as span:
            code = grpc.StatusCode.OK
            try:
                yield span
            except grpc.aio.AbortError:
                code = grpc.StatusCode.UNKNOWN
                raise
            except BaseException as error:
                code = code_of(error, call)
                raise
            finally:
                span.set_attributes(
                    {
                        "rpc.grpc.status_code": code.value[0],
                        "latens.model": call.model,
                        "latens.version": call.version,
                        "latens.rows": call.rows,
                    }
                )
                if code is not grpc.StatusCode.OK:
                    span.set_status(StatusCode.ERROR)


def from_environment() -> Tracing:
    """Tracing by OTLP over HTTP to the address in OpenTelemetry's variables.

    Raises:
        TracingMissingError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingMissingError(
            f"--tracing needs {error.name}: pip install 'latens-serving[otel]'"
        ) from error
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "latens"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
