"""What surrounds every gRPC call: its context, errors as statuses, metrics, a log line.

grpc.aio sends the text of an exception that escapes a handler to the client. So this one comes
first of all interceptors, and nothing but a status of `latens_serving.calls.status` leaves it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

import grpc
from google.rpc import status_pb2

from latens_serving.calls import status
from latens_serving.calls.authorization import Scope, Tokens
from latens_serving.calls.context import CallContext
from latens_serving.calls.recorder import MethodAccount
from latens_serving.errors import LatensError
from latens_serving.monitoring.metrics import Metrics

CALL: ContextVar[CallContext] = ContextVar("call")

_DETAILS_KEY = "grpc-status-details-bin"
_AUTHORIZATION_KEY = "authorization"
_REQUEST_ID_KEY = "x-request-id"
_LONGEST_REQUEST_ID = 64
_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Subscripted in the type stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Surrounds the handlers of all services."""

    def __init__(
        self,
        metrics: Metrics,
        tokens: Tokens,
        *,
        scope: Scope,
        open_services: Collection[str] = (),
        max_deadline: float,
        log_calls: str,
    ) -> None:
        """Makes one for a server.

        Args:
            metrics: where calls are counted.
            tokens: who may call.
            scope: what a token must allow for the services of this server.
            open_services: full names of the services that ask for no token.
            max_deadline: seconds that a call may take.
            log_calls: which calls get a log line: `all`, `failures` or `none`.
        """
        self._metrics = metrics
        self._tokens = tokens
        self._scope: Scope = scope
        self._open_services = open_services
        self._max_deadline = max_deadline
        self._log_calls = log_calls
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # the library answers UNIMPLEMENTED
                unknown = self._metrics.calls.of("unary", "unknown", "unknown")
                unknown.count_handled("UNIMPLEMENTED")
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        kinds: dict[tuple[bool, bool], tuple[str, Behavior, Callable[..., Handler]]] = {
            (False, False): (
                "unary",
                cast("Behavior", handler.unary_unary),
                grpc.unary_unary_rpc_method_handler,
            ),
            (False, True): (
                "server_stream",
                writing(handler.unary_stream),
                grpc.unary_stream_rpc_method_handler,
            ),
            (True, True): (
                "bidi_stream",
                writing(handler.stream_stream),
                grpc.stream_stream_rpc_method_handler,
            ),
        }
        kind, behavior, make = kinds[handler.request_streaming, handler.response_streaming]
        account = MethodAccount(method, kind, self._metrics, self._log_calls)
        is_open = method.split("/")[1] in self._open_services
        surrounded = _Surrounded(
            behavior,
            account,
            lambda header: None if is_open else self._tokens.authorize(header, self._scope),
            self._max_deadline,
            is_stream=kind != "unary",
        )
        return make(surrounded.handle, handler.request_deserializer, handler.response_serializer)


class _Surrounded:
    """One method's handler, with what surrounds it."""

    def __init__(
        self,
        behavior: Behavior,
        account: MethodAccount,
        authorize: Callable[[str], None],
        max_deadline: float,
        *,
        is_stream: bool,
    ) -> None:
        self._behavior = behavior
        self._account = account
        self._authorize = authorize
        self._max_deadline = max_deadline
        self._is_stream = is_stream

    async def handle(self, request: Any, context: Context) -> Any:
        call = self._call_of(context)
        CALL.set(call)
        code, reason = grpc.StatusCode.OK, ""
        begun = self._account.begin()
        try:
            self._authorize(_header(context, _AUTHORIZATION_KEY))
            return await self._behavior(request, context)
        except LatensError as error:
            code, reason = status.code_of(error), error.reason
            if code is grpc.StatusCode.INTERNAL:
                await _abort(context, self._account.incident(call, error))
            await _abort(context, status.status_of(error), status.trailers_of(error))
        except grpc.aio.AbortError:
            code = _CODES.get(context.code(), grpc.StatusCode.UNKNOWN)  # type: ignore[call-overload]
            raise
        except asyncio.CancelledError:
            late = call.deadline is not None and time.monotonic() >= call.deadline
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code, reason = grpc.StatusCode.INTERNAL, "INTERNAL"
            await _abort(context, self._account.incident(call, error))
        finally:
            self._account.end(call, begun, code, reason)

    def _call_of(self, context: Context) -> CallContext:
        remaining = cast("float | None", context.time_remaining())
        if self._is_stream:
            seconds = remaining
        else:
            seconds = min(remaining or self._max_deadline, self._max_deadline)
        deadline = None if seconds is None else time.monotonic() + seconds
        return CallContext(deadline, _header(context, _REQUEST_ID_KEY)[:_LONGEST_REQUEST_ID])


def writing(behavior: Any) -> Behavior:
    """A streaming handler of either kind, generator or writer, as a writer."""

    async def write(request: Any, context: Context) -> None:
        answer = behavior(request, context)
        if not hasattr(answer, "__aiter__"):
            await answer
            return
        async for message in answer:
            await context.write(message)

    return write


async def _abort(
    context: Context, rich: status_pb2.Status, trailers: tuple[tuple[str, str], ...] = ()
) -> None:
    details = (_DETAILS_KEY, rich.SerializeToString())
    await context.abort(_CODES[rich.code], rich.message, (details, *trailers))


def _header(context: Context, wanted: str) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == wanted and isinstance(value, str):
            return value
    return ""
