"""One call: the handler of a servicer run as a task, in the context that grpc.aio would give it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from latens_serving.transports.http2 import answers
from latens_serving.transports.http2.headers import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    Refusal,
)
from latens_serving.transports.http2.inbox import Inbox
from latens_serving.transports.http2.inflow import Message, Stream
from latens_serving.transports.http2.session import Session

log = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str | bytes], ...]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Context:
    """What a handler may ask and say of its call: the part of grpc.aio's context that serves here.

    Methods are named and behave as in `grpc.aio.ServicerContext`.
    """

    def __init__(self, session: Session, stream: Stream) -> None:
        self._session = session
        self._stream = stream
        self._code = 0
        self._details = ""
        self._trailers: Metadata = ()
        self.begun = False
        """Whether headers were sent."""

    def invocation_metadata(self) -> Metadata:
        return self._stream.head.metadata

    def time_remaining(self) -> float | None:
        deadline = self._stream.deadline
        if deadline is None:
            return None
        return max(deadline - asyncio.get_running_loop().time(), 0.0)

    def peer(self) -> str:
        return self._session.peer

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._session.identity

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
        await self._session.out.room(self._stream)
        if not self.begun:
            self.begun = True
            self._session.out.begin(self._stream)
        self._session.out.message(self._stream, self.serialize(message))

    def serialize(self, message: Any) -> bytes:
        """The bytes of an answer."""
        payload: bytes = self._stream.head.route.serialize(message)
        return payload

    def status(self) -> bytes:
        """What was said of the call's end, as trailers."""
        return answers.trailers(self._code, self._details, self._trailers, alone=not self.begun)


class Route:
    """One RPC of a servicer."""

    def __init__(
        self,
        handler: Handler,
        intercepted: Callable[[Handler], Awaitable[Handler]],
        message_bytes: int,
    ) -> None:
        """Makes one.

        Args:
            handler: of a method of any kind.
            intercepted: puts the interceptors around it, at the first call.
            message_bytes: the largest answer.
        """
        self.takes_several = handler.request_streaming
        self._handler = handler
        self._intercepted = intercepted
        self._streams = handler.response_streaming
        self._behavior: Callable[[Any, Any], Any] | None = None
        self._parse: Callable[[bytes], Any] = handler.request_deserializer or bytes
        self.serialize: Callable[[Any], bytes] = handler.response_serializer or bytes
        self._message_bytes = message_bytes

    def start(self, session: Session, stream: Stream, message: Message | Inbox) -> None:
        """Begins a call."""
        given = message if isinstance(message, Inbox) else bytes(message)
        stream.call = Call(self, session, stream, given)

    async def run(
        self, context: Context, session: Session, stream: Stream, given: bytes | Inbox
    ) -> None:
        """The call, to its end."""
        if isinstance(given, Inbox):
            request: Any = self._messages(context, given)
        else:
            request = await self._parsed(context, given)
        response = await self._respond(request, context)
        if not self._streams and not context.code():
            self._answer(context, session, stream, response)
        else:
            session.out.end(stream, context.status())

    async def _messages(self, context: Context, inbox: Inbox) -> AsyncIterator[Any]:
        try:
            while (message := await inbox.next()) is not None:
                yield await self._parsed(context, message)
        except Refusal as refusal:
            await context.abort(_CODES[refusal.code], refusal.message)

    async def _parsed(self, context: Context, message: bytes) -> Any:
        try:
            return self._parse(message)
        except Exception:
            await context.abort(grpc.StatusCode.INTERNAL, "the request cannot be parsed")

    async def _respond(self, request: Any, context: Context) -> Any:
        if self._behavior is None:
            self._behavior = _behavior_of(await self._intercepted(self._handler))
        answer = self._behavior(request, context)
        if not hasattr(answer, "__aiter__"):
            return await answer
        async for message in answer:
            await context.write(message)
        return None

    def _answer(self, context: Context, session: Session, stream: Stream, response: Any) -> None:
        payload = self.serialize(response)
        if len(payload) > self._message_bytes:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            most = self._message_bytes
            context.set_details(f"the answer is larger than max ({len(payload)} vs. {most})")
            session.out.end(stream, context.status())
            return
        session.out.answer(stream, (payload,), len(payload))


def _behavior_of(handler: Handler) -> Callable[[Any, Any], Any]:
    # Handlers are given our context for grpc's; it has what they use of it.
    behaviors = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }
    behavior = behaviors[handler.request_streaming, handler.response_streaming]
    return cast(Callable[[Any, Any], Any], behavior)


class Call:
    """A handler at work."""

    __slots__ = ("_context", "_session", "_stream", "_task", "_timer")

    def __init__(
        self, route: Route, session: Session, stream: Stream, given: bytes | Inbox
    ) -> None:
        self._session = session
        self._stream = stream
        self._context = Context(session, stream)
        loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        if stream.deadline is not None:
            self._timer = loop.call_at(stream.deadline, self._expire)
        self._task = loop.create_task(route.run(self._context, session, stream, given))
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """The client has left."""
        self._task.cancel()

    def _expire(self) -> None:
        text = "the deadline passed"
        self._session.out.end(
            self._stream, answers.trailers(DEADLINE_EXCEEDED, text, alone=not self._context.begun)
        )
        self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._stream.id not in self._session.streams or self._stream.trailers is not None:
            if not task.cancelled():
                task.exception()  # no one is there to be told, or the client was told already
            return
        alone = not self._context.begun
        if task.cancelled():
            block = answers.trailers(UNAVAILABLE, "the server is shutting down", alone=alone)
        elif (error := task.exception()) is None:
            return  # answered, as far as the client's windows let it
        elif isinstance(error, grpc.aio.AbortError):
            block = self._context.status()
        else:
            log.error("a handler failed", exc_info=error)
            block = answers.trailers(INTERNAL, "internal error", alone=alone)
        self._session.out.end(self._stream, block)


__all__ = ["RESOURCE_EXHAUSTED", "Call", "Context", "Route"]
