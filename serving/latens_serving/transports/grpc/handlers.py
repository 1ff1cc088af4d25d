"""The RPCs of a server by path: from a service's descriptor, or a servicer of a library."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from latens_serving.calls.boundary import (
    BIDI_STREAM,
    SERVER_STREAM,
    UNARY,
    Boundaries,
    CallBoundary,
)
from latens_serving.calls.context import CallContext
from latens_serving.errors import LatensError
from latens_serving.transports.grpc.methods import (
    Behavior,
    Context,
    Handler,
    StreamMethod,
    UnaryMethod,
    header,
    refusing,
)
from latens_serving.transports.grpc.unsent import UnsentAnswers
from latens_serving.transports.tracing import Tracing


class Services(grpc.GenericRpcHandler):
    """The RPCs of a server, by path.

    `add_..._to_server` functions of generated code take it for a server.
    """

    def __init__(
        self,
        boundaries: Boundaries,
        tracing: Tracing | None = None,
        unsent: UnsentAnswers | None = None,
    ) -> None:
        """Makes a table without services.

        Args:
            boundaries: of the server.
            tracing: makes spans of calls.
            unsent: bounds the answers that clients do not take; None where the front end does.
        """
        self._boundaries = boundaries
        self._tracing = tracing
        self._unsent = unsent
        self._handlers: dict[str, tuple[Handler, CallBoundary]] = {}

    def add_service(self, descriptor: ServiceDescriptor, *implementations: object) -> None:
        """Adds the RPCs of a service, each by the first of `implementations` that has its method.

        Methods are named in snake case and take the request, or an iterator of requests, and the
        call's context. An RPC without a method is answered UNIMPLEMENTED.
        """
        for method in descriptor.methods:
            name = snake_case(method.name)
            found = [getattr(one, name) for one in implementations if hasattr(one, name)]
            if found:
                path = f"/{descriptor.full_name}/{method.name}"
                self._add(path, _without_context(found[0]), *_codec_of(method), *_kind_of(method))

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Adds the servicer of a library; as of `grpc.aio.Server`."""
        for name, handler in method_handlers.items():
            self._add(
                f"/{service_name}/{name}",
                _without_call(_behavior_of(handler)),
                cast("Any", handler.request_deserializer),
                cast("Any", handler.response_serializer),
                bool(handler.request_streaming),
                bool(handler.response_streaming),
            )

    def add_generic_rpc_handlers(self, _: Iterable[grpc.GenericRpcHandler]) -> None:
        """As of `grpc.aio.Server`; generated code registers the same handlers the other way too."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a path; None for UNIMPLEMENTED."""
        known = self._handlers.get(handler_call_details.method)
        if known is None:
            self._boundaries.count_unknown()
            return None
        handler, boundary = known
        if self._unsent is None:
            return handler
        # grpc.aio asks here before it reads the request: who is refused sends it for nothing.
        try:
            boundary.admit(header(handler_call_details.invocation_metadata, "authorization"))
        except LatensError as error:
            return refusing(boundary, error)
        return handler

    def _add(
        self,
        path: str,
        behavior: Behavior,
        parse: Callable[[bytes], Any],
        serialize: Callable[[Any], bytes],
        requests: bool,
        responses: bool,
    ) -> None:
        kind = BIDI_STREAM if requests else SERVER_STREAM if responses else UNARY
        boundary = self._boundaries.of(path, kind)
        if self._tracing is not None and not (responses and path.startswith("/grpc.")):
            behavior = self._tracing.around(path, behavior)
        if not responses:
            unary = UnaryMethod(behavior, parse, serialize, boundary, self._unsent)
            handler: Handler = grpc.unary_unary_rpc_method_handler(unary.handle)
        else:
            stream = StreamMethod(behavior, parse, serialize, boundary)
            make = (
                grpc.stream_stream_rpc_method_handler
                if requests
                else grpc.unary_stream_rpc_method_handler
            )
            handler = make(stream.handle_several if requests else stream.handle_one)
        self._handlers[path] = handler, boundary


def snake_case(name: str) -> str:
    """`GetModel` as `get_model`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _codec_of(method: MethodDescriptor) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    request: Any = message_factory.GetMessageClass(method.input_type)
    response: Any = message_factory.GetMessageClass(method.output_type)
    return request.FromString, response.SerializeToString


def _kind_of(method: MethodDescriptor) -> tuple[bool, bool]:
    return bool(method.client_streaming), bool(method.server_streaming)


def _without_context(behavior: Callable[[Any, CallContext], Any]) -> Behavior:
    return lambda request, call, _: behavior(request, call)


def _without_call(behavior: Callable[[Any, Context], Awaitable[Any]]) -> Behavior:
    return lambda request, _, context: behavior(request, context)


def _behavior_of(handler: Handler) -> Any:
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, True): handler.stream_stream,
    }
    return kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
