"""One call of a servicer: its handler run as a task, in the context that grpc.aio would give it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from latens_serving.transports.http2.contract import Responder
from latens_serving.transports.http2.trailers import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    UNAVAILABLE,
    Metadata,
    Refusal,
    Status,
)

log = logging.getLogger(__name__)

MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behavior: TypeAlias = Callable[[Any, Any], Any]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Context:
    """What a handler may ask and say of its call: the part of grpc.aio's context that serves here.

    Methods are named and behave as in `grpc.aio.ServicerContext`.
    """

    def __init__(self, call: Responder, serialize: Callable[[Any], bytes]) -> None:
        self._call = call
        self._serialize = serialize
        self._code = 0
        self._details = ""
        self._trailers: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        return self._call.head.metadata

    def time_remaining(self) -> float | None:
        deadline = self._call.deadline
        return None if deadline is None else max(deadline - time.monotonic(), 0.0)

    def peer(self) -> str:
        return self._call.peer

    def code(self) -> int:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata:
        return self._trailers

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code.value[0]

    def set_details(self, details: str) -> None:
        self._details = details

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        self._trailers = tuple(trailing_metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        self.set_code(code)
        self._details = details
        self._trailers = tuple(trailing_metadata) or self._trailers
        raise grpc.aio.AbortError

    async def write(self, message: Any) -> None:
        """Sends one message of several, once the client has taken most of those before."""
        await self._call.write(self._serialize(message))

    def status(self) -> Status:
        """What was said of the call's end."""
        return Status(self._code, self._details, self._trailers)


class ServicerRoute:
    """One RPC of a servicer, as a handler of the HTTP/2 server."""

    def __init__(self, method: MethodHandler, message_bytes: int) -> None:
        """Creates the handler of one RPC.

        Args:
            method: of any kind.
            message_bytes: the largest answer.
        """
        self.takes_stream = method.request_streaming
        self._streams = method.response_streaming
        self._behavior = _behavior_of(method)
        self._parse: Callable[[bytes], Any] = method.request_deserializer or bytes
        self._serialize: Callable[[Any], bytes] = method.response_serializer or bytes
        self._message_bytes = message_bytes

    def start(self, call: Responder) -> None:
        """Starts a call."""
        _Task(call, Context(call, self._serialize), self._run)

    async def _run(self, call: Responder, context: Context) -> None:
        if self.takes_stream:
            request: Any = self._messages(call, context)
        else:
            message = await call.read()
            assert message is not None  # a unary call starts when its message is complete
            request = await self._parsed(bytes(message), context)
            del message
        response = await self._respond(request, context)
        del request
        if self._streams or context.code():
            call.end(context.status())
        else:
            self._answer(call, self._serialize(response))

    async def _messages(self, call: Responder, context: Context) -> AsyncIterator[Any]:
        try:
            while (message := await call.read()) is not None:
                yield await self._parsed(bytes(message), context)
        except Refusal as refusal:
            status = refusal.status
            await context.abort(_CODES[status.code], status.message)

    async def _parsed(self, message: bytes, context: Context) -> Any:
        try:
            return self._parse(message)
        except Exception:
            await context.abort(grpc.StatusCode.INTERNAL, "the request cannot be parsed")

    async def _respond(self, request: Any, context: Context) -> Any:
        answer = self._behavior(request, context)
        if not hasattr(answer, "__aiter__"):
            return await answer
        async with aclosing(answer) as messages:
            async for message in messages:
                await context.write(message)
        return None

    def _answer(self, call: Responder, payload: bytes) -> None:
        size, most = len(payload), self._message_bytes
        if size > most:
            text = f"the answer is larger than max ({size} vs. {most})"
            call.end(Status(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], text))
        else:
            call.answer((payload,), size)


class _Task:
    """A handler at work."""

    __slots__ = ("_call", "_context", "_task", "_timer")

    def __init__(
        self,
        call: Responder,
        context: Context,
        run: Callable[[Responder, Context], Any],
    ) -> None:
        self._call = call
        self._context = context
        loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        if call.deadline is not None:
            self._timer = loop.call_later(call.deadline - time.monotonic(), self._expire)
        self._task = loop.create_task(run(call, context))
        self._task.add_done_callback(self._ended)
        call.on_cancel(self._task.cancel)

    def _expire(self) -> None:
        self._call.end(Status(DEADLINE_EXCEEDED, "the deadline passed"))
        self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if task.cancelled():
            self._call.end(Status(UNAVAILABLE, "the server is shutting down"))
            return
        error = task.exception()
        if error is None:
            return  # answered
        if isinstance(error, grpc.aio.AbortError):
            self._call.end(self._context.status())
        elif self._call.is_open:
            log.error("a handler failed", exc_info=error)
            self._call.end(Status(INTERNAL, "internal error"))


def _behavior_of(method: MethodHandler) -> Behavior:
    # Handlers are given our context for grpc's; it has what they use of it.
    behaviors = {
        (False, False): method.unary_unary,
        (False, True): method.unary_stream,
        (True, False): method.stream_unary,
        (True, True): method.stream_stream,
    }
    return cast(Behavior, behaviors[method.request_streaming, method.response_streaming])
