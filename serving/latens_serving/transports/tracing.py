"""Traces of calls, by gRPC and by HTTP, in OpenTelemetry: an extra, off unless asked for.

Where spans go is told by OpenTelemetry's own variables, for example OTEL_EXPORTER_OTLP_ENDPOINT.
A caller's trace context (W3C `traceparent`) is carried on. A span says what a log line would: the
method, the model, the rows, the status; never a tensor or a token.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from latens_serving.calls.context import CallContext
from latens_serving.transports.grpc.interceptors import CALL, Behavior, Context, Handler, writing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_CARRIED: Final = ("traceparent", "tracestate", "baggage")


class TracingMissingError(Exception):
    """Tracing was asked for, and OpenTelemetry is not installed; the text says what to do."""


class Tracing(grpc.aio.ServerInterceptor):
    """Makes a span of each call. Comes after the interceptor that knows the call.

    A stream is one span over its whole length; watching health and asking for descriptors are none.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("latens.serving")
        self._shutdown = provider.shutdown
        self._propagator = TraceContextTextMapPropagator()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or (handler.response_streaming and method.startswith("/grpc.")):
            return handler
        behavior, make = _kind_of(handler)

        async def traced(request: Any, context: Context) -> Any:
            with self.span(method, context.invocation_metadata() or (), CALL.get()):
                return await behavior(request, context)

        return make(traced, handler.request_deserializer, handler.response_serializer)

    def shutdown(self) -> None:
        """Sends what is left; waits for it."""
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
            headers: what came with the call; the caller's trace context is among them, or not.
            call: read when the call has ended, for what the service learnt of it.
            system: what carries it, in OpenTelemetry's words.
        """
        from opentelemetry.trace import SpanKind

        carrier = {key: value for key, value in headers if key in _CARRIED}
        _, service, name = method.rsplit("/", 2)
        with self._tracer.start_as_current_span(
            f"{service}/{name}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {"rpc.system": system, "rpc.service": service, "rpc.method": name},
            record_exception=False,  # its text is for our log alone
        ) as span:
            try:
                yield span
            finally:
                span.set_attributes(
                    {
                        "latens.model": call.model,
                        "latens.version": call.version,
                        "latens.rows": call.rows,
                    }
                )


def _kind_of(handler: Handler) -> tuple[Behavior, Callable[..., Handler]]:
    """What a handler does, and what makes such a handler."""
    if handler.request_streaming:
        return writing(handler.stream_stream), grpc.stream_stream_rpc_method_handler
    if handler.response_streaming:
        return writing(handler.unary_stream), grpc.unary_stream_rpc_method_handler
    return cast("Behavior", handler.unary_unary), grpc.unary_unary_rpc_method_handler


def from_environment() -> Tracing:
    """Tracing to where OpenTelemetry's variables say, by OTLP over HTTP.

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
