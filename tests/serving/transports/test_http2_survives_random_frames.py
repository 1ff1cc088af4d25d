"""Twenty thousand random frames, most of them invalid, raise nothing and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import random
import struct
from typing import Any

import grpc
from hpack import Encoder

import http2_frames as frames
from http2_frames import ErrorCode
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.servicer_routes import Http2FrontEnd
from memory_transport import connect
from raw_http2 import Echo, prefixed

FRAMES = 20_000
LIMITS = Limits(message_bytes=1 << 20, streams=16, misuse_burst=200)
PATHS = ("/test.Echo/Say", "/test.Echo/Wait", "/test.Echo/Chat", "/test.Echo/Join", "/no/Such")


class Dice:
    """Frames of one client, in the order in which they were thrown."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._encoder = Encoder()
        self._newest = -1

    def frame(self) -> bytes:
        kinds = (self._request, self._data, self._data, self._control, self._garbage)
        return self._random.choice(kinds)()

    def session_length(self) -> int:
        return self._random.randrange(1, 60)

    def cut(self, data: bytes) -> list[bytes]:
        """Some bytes as they may arrive: whole, or in two."""
        place = self._random.randrange(len(data) + 1)
        return [data] if self._random.random() < 0.5 else [data[:place], data[place:]]

    def _number(self) -> int:
        return self._random.choice(
            (max(self._newest, 1), max(self._newest, 1), 1, 3, 0, 2, 1 << 30)
        )

    def _request(self) -> bytes:
        self._newest += 2
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), ("te", "trailers")]
        fields += [(":path", self._random.choice(PATHS))]
        fields.sort(key=lambda field: field[0])
        fields += [("content-type", "application/grpc")]
        if self._random.random() < 0.2:
            fields += [("grpc-timeout", self._random.choice(("1n", "10m", "x", "99999999H")))]
        if self._random.random() < 0.05:
            fields += [("x-long", "v" * self._random.randrange(20_000))]
        flags = frames.END_HEADERS | self._random.choice((0, 0, 0, frames.END_STREAM))
        block = self._encoder.encode(fields, huffman=False)
        return frames.frame(frames.HEADERS, flags, self._newest, block[:16384])

    def _data(self) -> bytes:
        size = self._random.choice((0, 1, 100, 5000, 16_000))
        flags = self._random.choice((0, frames.END_STREAM, frames.END_STREAM, frames.PADDED))
        body = (
            prefixed(bytes(size)) if self._random.random() < 0.7 else self._random.randbytes(size)
        )
        return frames.frame(frames.DATA, flags, max(self._number(), 1), body[:16384])

    def _control(self) -> bytes:
        number, value = self._number(), self._random.randrange(1 << 31)
        return self._random.choice(
            (
                frames.reset(number, ErrorCode.CANCEL),
                frames.window_update(number, value >> self._random.randrange(31)),
                frames.frame(frames.PING, 0, 0, bytes(8)),
                frames.frame(frames.SETTINGS, 0, 0, struct.pack(">HI", value % 9, value)),
                frames.frame(frames.PRIORITY, 0, number, bytes(5)),
                frames.frame(frames.GOAWAY, 0, 0, bytes(8)),
            )
        )

    def _garbage(self) -> bytes:
        payload = self._random.randbytes(self._random.randrange(40))
        kind, flags = self._random.choice((*range(10), 77)), self._random.randrange(256)
        return frames.frame(kind, flags, self._number(), payload)


def server_of(echo: Echo) -> Http2FrontEnd:
    front_end = Http2FrontEnd(LIMITS)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say),
        "Wait": grpc.unary_unary_rpc_method_handler(echo.wait),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat),
        "Join": grpc.stream_unary_rpc_method_handler(echo.join),
    }
    methods = grpc.method_handlers_generic_handler("test.Echo", handlers)
    front_end.add_generic_rpc_handlers((methods,))
    return front_end


async def test_random_frames_raise_nothing_and_leave_nothing() -> None:
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    echo = Echo()
    front_end = server_of(echo)
    admission = front_end.server.admission
    sent, seed = 0, 0
    while sent < FRAMES:
        dice = Dice(seed)
        seed += 1
        connection, transport = connect(front_end.server)
        connection.data_received(frames.PREFACE + frames.settings({}))
        for _ in range(dice.session_length()):
            if transport.is_closed:
                break
            for piece in dice.cut(dice.frame()):
                connection.data_received(piece)
            sent += 1
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()  # a task whose failure no one asked for says so when it is collected
    assert raised == []
    assert (admission.held, admission.calls, len(admission.members)) == (0, 0, 0)
    assert echo.waiting == 0
    assert seed > 300, "sessions were expected to end early, most of them"
