"""The services as handlers of grpc.aio: bytes in, bytes out, the call boundary between.

grpc.aio parses a request before it calls the handler, and tells the client what the parser raised.
So the handlers here take the bytes: the boundary authorizes, and only then is the request parsed.
Services are registered from their descriptors, or as the servicers that a library brings.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from latens_serving.calls.boundary import (
    BIDI_STREAM,
    SERVER_STREAM,
    UNARY,
    Boundaries,
    CallBoundary,
    Failure,
)
from latens_serving.calls.context import CallContext
from latens_serving.errors import LatensError
from latens_serving.transports.grpc.unsent import UnsentAnswers
from latens_serving.transports.tracing import Tracing

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Subscripted in the type stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = Callable[[Any, CallContext, Context], Any]
"""From a request, or several, to an awaitable answer or the messages of a stream."""


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
            return _refusing(boundary, error)
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
            unary = _Unary(behavior, parse, serialize, boundary, self._unsent)
            handler: Handler = grpc.unary_unary_rpc_method_handler(unary.handle)
        else:
            stream = _Stream(behavior, parse, serialize, boundary)
            make = (
                grpc.stream_stream_rpc_method_handler
                if requests
                else grpc.unary_stream_rpc_method_handler
            )
            handler = make(stream.handle_several if requests else stream.handle_one)
        self._handlers[path] = handler, boundary


class _Unary:
    """An RPC with one request and one answer."""

    def __init__(
        self,
        behavior: Behavior,
        parse: Callable[[bytes], Any],
        serialize: Callable[[Any], bytes],
        boundary: CallBoundary,
        unsent: UnsentAnswers | None,
    ) -> None:
        self._behavior = behavior
        self._parse = parse
        self._serialize = serialize
        self._boundary = boundary
        self._unsent = unsent

    async def handle(self, payload: bytes, context: Context) -> bytes:
        boundary = self._boundary
        metadata = context.invocation_metadata() or ()
        call = boundary.begin(deadline_of(context), header(metadata, "x-request-id"))
        try:
            boundary.admit(header(metadata, "authorization"), call)
            answer = await self._answer(payload, call, context)
        except grpc.aio.AbortError:
            boundary.end(call, _code_of(context))
            raise
        except asyncio.CancelledError as error:
            boundary.fail(call, error)
            raise
        except Exception as error:
            failure = boundary.fail(call, error)
        else:
            boundary.succeed(call)
            return answer
        # Outside of the except clause: raised there, the abort would hold the other error.
        del payload
        await abort(context, failure)
        raise AssertionError("abort raises")

    async def _answer(self, payload: bytes, call: CallContext, context: Context) -> bytes:
        unsent = self._unsent
        if unsent is not None:
            unsent.check(context, len(payload))
        response = await self._behavior(self._parse(payload), call, context)
        answer = self._serialize(response)
        if unsent is not None:
            unsent.charge(context, len(payload), len(answer))
        return answer


class _Stream:
    """An RPC with several answers."""

    def __init__(
        self,
        behavior: Behavior,
        parse: Callable[[bytes], Any],
        serialize: Callable[[Any], bytes],
        boundary: CallBoundary,
    ) -> None:
        self._behavior = behavior
        self._parse = parse
        self._serialize = serialize
        self._boundary = boundary

    async def handle_one(self, payload: bytes, context: Context) -> None:
        await self._handle(lambda: self._parse(payload), context)

    async def handle_several(self, payloads: AsyncIterator[bytes], context: Context) -> None:
        await self._handle(lambda: self._parsed(payloads), context)

    async def _handle(self, request: Callable[[], Any], context: Context) -> None:
        boundary = self._boundary
        metadata = context.invocation_metadata() or ()
        call = boundary.begin(deadline_of(context), header(metadata, "x-request-id"))
        try:
            boundary.admit(header(metadata, "authorization"), call)
            await self._answer(request(), call, context)
        except grpc.aio.AbortError:
            boundary.end(call, _code_of(context))
            raise
        except asyncio.CancelledError as error:
            boundary.fail(call, error)
            raise
        except Exception as error:
            failure = boundary.fail(call, error)
        else:
            boundary.succeed(call)
            return
        await abort(context, failure)

    async def _answer(self, request: Any, call: CallContext, context: Context) -> None:
        # A library's servicer writes to the context itself; it gets one that takes messages.
        answer = self._behavior(request, call, cast("Any", _Writer(context, self._serialize)))
        if not hasattr(answer, "__aiter__"):
            await answer
            return
        async for message in answer:
            await context.write(self._serialize(message))

    async def _parsed(self, payloads: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for payload in payloads:
            yield self._parse(payload)


class _Writer:
    """A context whose `write` takes messages where the front end's takes bytes."""

    def __init__(self, context: Context, serialize: Callable[[Any], bytes]) -> None:
        self._context = context
        self._serialize = serialize

    async def write(self, message: Any) -> None:
        await self._context.write(self._serialize(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def snake_case(name: str) -> str:
    """`GetModel` as `get_model`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def header(metadata: Any, wanted: str) -> str:
    """The first textual value of a key; empty if there is none."""
    for key, value in metadata:
        if key == wanted and isinstance(value, str):
            return value
    return ""


def deadline_of(context: Context) -> float | None:
    """The caller's deadline on the clock of `time.monotonic`."""
    remaining = cast("float | None", context.time_remaining())
    return None if remaining is None else time.monotonic() + remaining


async def abort(context: Context, failure: Failure) -> None:
    """Ends a call with a status. Raises what grpc.aio expects of a handler then."""
    rich = failure.status
    try:
        await context.abort(_CODES[rich.code], rich.message, failure.trailers())
    except grpc.aio.AbortError as error:
        # grpc.aio's state of the call holds this error, whose traceback holds that state.
        asyncio.get_running_loop().call_soon(_untie, error)
        raise


def _untie(error: BaseException) -> None:
    error.__traceback__ = None


def _refusing(boundary: CallBoundary, error: LatensError) -> Handler:
    """A handler that refuses a call, of whatever kind, without reading its request."""

    async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
        metadata = context.invocation_metadata() or ()
        call = boundary.begin(deadline_of(context), header(metadata, "x-request-id"))
        await abort(context, boundary.fail(call, error))

    return grpc.stream_stream_rpc_method_handler(refuse)


def _code_of(context: Context) -> grpc.StatusCode:
    code = cast("Any", context.code())  # a number, in spite of the type stubs
    return _CODES.get(code, grpc.StatusCode.UNKNOWN)


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
