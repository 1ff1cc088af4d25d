"""HTTP/2 frames over a socket, including those that no valid client sends."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from hpack import Decoder, Encoder

import http2_frames as frames
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.servicer_routes import Http2FrontEnd

SECONDS = 20
SAY = "/test.Echo/Say"


class Echo:
    """A service that says what it was told; `Wait` and `Heed` do so once `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def say(self, request: bytes, context: object) -> bytes:
        del context
        return request

    async def wait(self, request: bytes, context: object) -> bytes:
        del context
        self.waiting += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return request

    async def chat(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        del context
        async for request in requests:
            yield request

    async def heed(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        await self.wait(b"", context)
        async for request in requests:
            yield request

    async def join(self, requests: AsyncIterator[bytes], context: object) -> bytes:
        del context
        return b"".join([request async for request in requests])


@dataclass
class Running:
    """A server in this event loop."""

    server: Http2FrontEnd
    port: int
    echo: Echo
    peers: list[Peer] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def socket(self) -> Peer:
        """A client's end of a connection on which nothing was said."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    async def connect(self, settings: dict[int, int] | None = None) -> Peer:
        """A connection that has begun as it should."""
        peer = await self.socket()
        pairs = b"".join(struct.pack(">HI", *pair) for pair in (settings or {}).items())
        greeting = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, pairs)
        acknowledged = frames.frame(frames.SETTINGS, frames.ACK, 0)
        peer.send(greeting + acknowledged)
        return peer

    async def stop(self) -> None:
        """Ends the server and every client."""
        self.echo.open.set()
        await self.server.stop(None)
        for peer in self.peers:
            peer.writer.close()
            with contextlib.suppress(ConnectionError):
                await peer.writer.wait_closed()


async def start(limits: Limits | None = None) -> Running:
    """A server of Echo."""
    echo = Echo()
    server = Http2FrontEnd(limits)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say),
        "Wait": grpc.unary_unary_rpc_method_handler(echo.wait),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat),
        "Heed": grpc.stream_stream_rpc_method_handler(echo.heed),
        "Join": grpc.stream_unary_rpc_method_handler(echo.join),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.bind("127.0.0.1", 0)
    await server.start()
    return Running(server, port, echo)


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Answer:
    """What came on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    reset: int | None = None


class Peer:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()
        self.decoder = Decoder()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def block(self, path: str = SAY, **more: str) -> bytes:
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
        fields += [("content-type", "application/grpc"), ("te", "trailers")]
        fields += [(name.replace("_", "-"), value) for name, value in more.items()]
        block: bytes = self.encoder.encode(fields)
        return block

    def begin(self, stream: int, path: str = SAY, **more: str) -> None:
        """Sends the headers of a call."""
        self.send(
            frames.frame(frames.HEADERS, frames.END_HEADERS, stream, self.block(path, **more))
        )

    def finish(self, stream: int, message: bytes) -> None:
        """Sends the message of a call."""
        self.send(frames.body(stream, prefixed(message), frames.END_STREAM))

    def call(self, stream: int, message: bytes, path: str = SAY, **more: str) -> None:
        self.begin(stream, path, **more)
        self.finish(stream, message)

    async def frame(self) -> Frame:
        """The next frame.

        Raises:
            EOFError: the connection was closed.
        """
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readexactly(frames.HEADER_SIZE)
            sized, flags, stream = frames.HEAD.unpack(head)
            return Frame(sized & 0xFF, flags, stream, await self.reader.readexactly(sized >> 8))

    async def answer(self, stream: int) -> Answer:
        """All that comes on one stream, which is the only one."""
        answer = Answer()
        while True:
            frame = await self.frame()
            if frame.kind == frames.GOAWAY:
                raise AssertionError(f"GOAWAY {frame.payload!r}")
            if frame.kind == frames.HEADERS:
                answer.headers |= {str(k): str(v) for k, v in self.decoder.decode(frame.payload)}
            if frame.stream != stream:
                continue
            if frame.kind == frames.RST_STREAM:
                answer.reset = struct.unpack(">I", frame.payload)[0]
                return answer
            if frame.kind == frames.DATA:
                answer.data += frame.payload
            if frame.kind == frames.HEADERS and frame.flags & frames.END_STREAM:
                return answer

    async def goaway(self) -> frames.ErrorCode:
        """Why the server ended the connection; it closes it, too."""
        code = None
        try:
            while True:
                frame = await self.frame()
                if frame.kind == frames.GOAWAY:
                    code = frames.ErrorCode(frames.PAIR.unpack_from(frame.payload)[1])
        except (EOFError, ConnectionError):
            assert code is not None, "closed without a word"
            return code

    async def closed(self) -> bytes:
        """What came until the connection was closed."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


async def say(address: str, message: bytes) -> bytes:
    """The answer that grpcio's own client gets."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(SAY)
        answer: bytes = await call(message, timeout=SECONDS)
        return answer


def prefixed(message: bytes) -> bytes:
    """A message as gRPC frames it."""
    return struct.pack(">BI", 0, len(message)) + message
