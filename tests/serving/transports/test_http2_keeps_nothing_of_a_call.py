"""When a call ends, what it held is free at once: no cycle keeps it until a collection."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from hpack import Encoder

import http2_frames as frames
from http2_frames import ErrorCode, Setting
from latens_serving.transports import servicer_calls
from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.servicer_routes import Http2FrontEnd
from memory_transport import MemoryTransport, connect
from raw_http2 import Echo, prefixed

MEBIBYTE = 1 << 20
LIMITS = Limits(message_bytes=2 * MEBIBYTE, calls=4)


class Requests(Echo):
    """Handlers that end in every way. Each request is an object that tells when it is free."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[weakref.ref[Request]] = []

    def parse(self, message: bytes) -> Request:
        if message.startswith(b"garbage"):
            raise ValueError("not a request")
        request = Request(message)
        self.seen.append(weakref.ref(request))
        return request

    async def answered(self, request: Request, context: Any) -> bytes:
        del context
        return bytes(request.message[:10])

    async def refused(self, request: Request, context: Any) -> bytes:
        try:
            return bytes([request.message[0] + 256])
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise

    async def failed(self, request: Request, context: Any) -> bytes:
        del context
        raise RuntimeError(len(request.message))

    async def held(self, request: Request, context: Any) -> bytes:
        await self.wait(b"", context)
        return bytes(request.message[:10])

    async def streamed(
        self, requests: AsyncIterator[Request], context: Any
    ) -> AsyncIterator[bytes]:
        del context
        async for request in requests:
            yield bytes(request.message[:10])

    async def gathered(self, requests: AsyncIterator[Request], context: Any) -> bytes:
        del context
        return b"".join([bytes(request.message[:10]) async for request in requests])


class Request:
    def __init__(self, message: bytes) -> None:
        self.message = message


class Client:
    """Calls over a connection in memory."""

    def __init__(self, connection: Connection, transport: MemoryTransport) -> None:
        self._connection = connection
        self._transport = transport
        self._encoder = Encoder()
        self.newest = -1
        acknowledged = frames.frame(frames.SETTINGS, frames.ACK, 0)
        connection.data_received(frames.PREFACE + frames.settings({}) + acknowledged)

    def call(self, name: str, body: bytes, flags: int = frames.END_STREAM, **more: str) -> None:
        self.newest += 2
        fields = [(":method", "POST"), (":scheme", "http"), (":path", f"/test.Echo/{name}")]
        fields += [(":authority", "x"), ("content-type", "application/grpc"), ("te", "trailers")]
        fields += [(key.replace("_", "-"), value) for key, value in more.items()]
        block = self._encoder.encode(fields)
        self.send(frames.frame(frames.HEADERS, frames.END_HEADERS, self.newest, block))
        self.send(frames.body(self.newest, body, flags))

    def send(self, data: bytes) -> None:
        self._connection.data_received(data)

    def cancel(self) -> None:
        self.send(frames.reset(self.newest, ErrorCode.CANCEL))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


WHOLE = prefixed(bytes(MEBIBYTE))
SMALL = prefixed(b"small")
# Each way: the method, the body, and whether the client resets the stream in the end.
WAYS: dict[str, tuple[str, bytes, bool]] = {
    "answered": ("Answered", WHOLE, False),
    "refused by the handler": ("Refused", WHOLE, False),
    "failed": ("Failed", WHOLE, False),
    "not parseable": ("Answered", prefixed(b"garbage" + bytes(MEBIBYTE)), False),
    "too large": ("Answered", prefixed(bytes(3 * MEBIBYTE)), False),
    "not known": ("Nothing", WHOLE, False),
    "cancelled by the client": ("Held", WHOLE, True),
    "cut off in mid-message": ("Answered", WHOLE[:-1], True),
    "a stream": ("Streamed", WHOLE + SMALL, False),
    "a stream cut off": ("Streamed", WHOLE + WHOLE[:-1], True),
    "many requests and one answer": ("Gathered", WHOLE + SMALL, False),
}


async def make_call(client: Client, way: str) -> None:
    name, body, is_reset = WAYS[way]
    client.call(name, body, 0 if way.endswith(("message", "cut off")) else frames.END_STREAM)
    await turns()
    if is_reset:
        client.cancel()
        await turns()


@contextmanager
def collecting() -> Iterator[list[Any]]:
    """Keeps what only a collection would free, instead of freeing it."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    found: list[Any] = []
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_of_any_kind_leaves_no_cycle_and_no_bytes(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer_calls.log, "disabled", True)  # pytest keeps what was logged
    service = Requests()
    front_end = Http2FrontEnd(LIMITS)
    one: Any = grpc.unary_unary_rpc_method_handler
    handlers = {
        "Answered": one(service.answered, service.parse),
        "Refused": one(service.refused, service.parse),
        "Failed": one(service.failed, service.parse),
        "Held": one(service.held, service.parse),
        "Streamed": grpc.stream_stream_rpc_method_handler(service.streamed, service.parse),
        "Gathered": grpc.stream_unary_rpc_method_handler(service.gathered, service.parse),
    }
    methods = grpc.method_handlers_generic_handler("test.Echo", handlers)
    front_end.add_generic_rpc_handlers((methods,))
    connection, transport = connect(front_end.server)
    client = Client(connection, transport)
    await make_call(client, way)  # routes and interceptors are made at the first call
    service.seen.clear()
    with collecting() as garbage:
        for _ in range(20):
            await make_call(client, way)
        kept = [type(thing).__qualname__ for thing in garbage]
    assert not transport.is_closed
    assert [
        name for name in kept if name not in ("list_iterator", "builtin_function_or_method")
    ] == []
    assert [request for request in service.seen if request() is not None] == []
    admission = front_end.server.admission
    assert (admission.held, admission.calls) == (0, 0)


async def test_a_lost_connection_is_free_at_once_and_its_unsent_answers_with_it() -> None:
    service = Requests()
    front_end = Http2FrontEnd()
    handlers = {"Say": grpc.unary_unary_rpc_method_handler(service.say)}
    methods = grpc.method_handlers_generic_handler("test.Echo", handlers)
    front_end.add_generic_rpc_handlers((methods,))
    connection, transport = connect(front_end.server)
    client = Client(connection, transport)
    client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    client.call("Say", WHOLE)
    await turns()
    assert front_end.server.admission.held > MEBIBYTE
    gone = weakref.ref(connection)
    gc.collect()
    gc.disable()
    try:
        connection.connection_lost(None)
        del connection, client
        await turns()
        assert gone() is None
    finally:
        gc.enable()
    assert front_end.server.admission.held == 0
