"""One RPC on grpc.aio: bytes in, bytes out, the call boundary between.

grpc.aio parses a request before it calls the handler, and tells the client what the parser raised.
So the handlers here take the bytes: the boundary authorizes, and only then is the request parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias, cast

import grpc

from latens_serving.calls.boundary import CallBoundary, Failure
from latens_serving.calls.context import CallContext
from latens_serving.errors import LatensError
from latens_serving.transports.grpc.unsent import UnsentAnswers

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Subscripted in the type stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = Callable[[Any, CallContext, Context], Any]
"""From a request, or several, to an awaitable answer or the messages of a stream."""


class UnaryMethod:
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


class StreamMethod:
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


def refusing(boundary: CallBoundary, error: LatensError) -> Handler:
    """A handler that refuses a call, of whatever kind, without reading its request."""

    async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
        metadata = context.invocation_metadata() or ()
        call = boundary.begin(deadline_of(context), header(metadata, "x-request-id"))
        await abort(context, boundary.fail(call, error))

    return grpc.stream_stream_rpc_method_handler(refuse)


def _code_of(context: Context) -> grpc.StatusCode:
    code: Any = context.code()  # of an abort the status, else its number
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)
