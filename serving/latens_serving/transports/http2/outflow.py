"""Answers, as the client's flow-control windows (RFC 9113, section 5.2) let them through."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence

from latens_serving.transports.http2 import hpack_blocks
from latens_serving.transports.http2.frames import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    LARGEST_WINDOW,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from latens_serving.transports.http2.inflow import PREFIX, Stream
from latens_serving.transports.http2.limits import ANSWERS_BYTES, Account

Part = bytes | memoryview

# `:status: 200` is entry 8 of HPACK's static table.
_HEADERS = b"\x88" + hpack_blocks.encode([("content-type", "application/grpc")])
_OK = hpack_blocks.encode([("grpc-status", "0")])
# The headers frame, then the head of a DATA frame and the prefix of the message in it.
_BEGIN = struct.Struct(f">IBI{len(_HEADERS)}sIBIBI")
_HEADERS_SIZED = len(_HEADERS) << 8 | HEADERS
_END = struct.Struct(f">IBI{len(_OK)}s")
_OK_SIZED = len(_OK) << 8 | HEADERS
_LAST = END_HEADERS | END_STREAM


class Outflow:
    """What one connection sends. Frames of one turn of the event loop leave in one write."""

    def __init__(self, account: Account, finished: Callable[[Stream], None]) -> None:
        """Makes one; `finished` is told of each stream whose answer has been handed over whole."""
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME
        self.unsent = 0
        self._account = account
        self._finished = finished
        self._chunks: list[Part] = []
        self._flush_due = False
        self._waiting: dict[int, Stream] = {}
        self._paused = False
        self._writers: list[asyncio.Future[None]] = []
        self._transport: asyncio.Transport | None = None
        self._call_soon = asyncio.get_running_loop().call_soon

    def attach(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def send(self, frame: bytes) -> None:
        """Sends a frame that no window holds back."""
        self._chunks.append(frame)
        self._wake()

    def flush(self) -> None:
        """Writes what is ready."""
        self._flush_due = False
        chunks, self._chunks = self._chunks, []
        if chunks and self._transport is not None:
            self._transport.write(b"".join(chunks))

    def answer(self, stream: Stream, parts: Sequence[Part], size: int) -> None:
        """Sends a message of `size` bytes in `parts`, and the status OK."""
        framed = size + PREFIX.size
        number = stream.id
        if framed > self.max_frame or framed > self.window or framed > stream.window:
            self._answer_in_turn(stream, parts, size)
            return
        self.window -= framed
        chunks = self._chunks
        chunks.append(
            _BEGIN.pack(
                *(_HEADERS_SIZED, END_HEADERS, number, _HEADERS),
                *(framed << 8, 0, number, 0, size),
            )
        )
        chunks += parts
        chunks.append(_END.pack(_OK_SIZED, _LAST, number, _OK))
        self._finished(stream)
        self._wake()

    def begin(self, stream: Stream) -> None:
        """Sends the headers of an answer of several messages."""
        self.send(HEAD.pack(_HEADERS_SIZED, END_HEADERS, stream.id) + _HEADERS)

    def message(self, stream: Stream, message: bytes) -> None:
        """Sends one of several messages."""
        self._queue(stream, [PREFIX.pack(0, len(message)) + message])

    async def room(self, stream: Stream) -> None:
        """Waits while the client is behind with taking what it was sent."""
        while self._paused or stream.unsent > ANSWERS_BYTES:
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer

    def pause(self) -> None:
        """The socket takes no more for now."""
        self._paused = True

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        self._relieve()

    def end(self, stream: Stream, block: bytes) -> None:
        """Ends an answer with trailers, or is one, once what was queued for the stream is sent."""
        stream.trailers = HEAD.pack(len(block) << 8 | HEADERS, _LAST, stream.id) + block
        self._pump(stream)

    def open_window(self, stream: Stream | None, increment: int) -> None:
        """The client takes more bytes, of one stream or on the connection."""
        if stream is None:
            self.window += increment
            if self.window > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window beyond 2^31-1")
            for waiting in list(self._waiting.values()):
                self._pump(waiting)
            return
        stream.window += increment
        if stream.window > LARGEST_WINDOW:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "window beyond 2^31-1")
        if stream.id in self._waiting:
            self._pump(stream)

    def drop(self, stream: Stream) -> None:
        """Forgets what is unsent of a stream."""
        if self._waiting.pop(stream.id, None) is not None:
            self._count(stream, -stream.unsent)
            stream.parts = None

    def _answer_in_turn(self, stream: Stream, parts: Sequence[Part], size: int) -> None:
        self.begin(stream)
        stream.trailers = _END.pack(_OK_SIZED, _LAST, stream.id, _OK)
        self._queue(stream, [PREFIX.pack(0, size), *parts])

    def _queue(self, stream: Stream, parts: Sequence[Part]) -> None:
        views = [memoryview(part).cast("B") for part in parts]
        if stream.parts is None:
            stream.parts = deque()
        stream.parts += views
        self._waiting[stream.id] = stream
        self._count(stream, sum(view.nbytes for view in views))
        self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Sends of a stream what the windows allow."""
        self._wake()
        while stream.unsent:
            length = min(stream.unsent, self.window, stream.window, self.max_frame)
            if length <= 0:
                return
            self._chunks.append(HEAD.pack(length << 8 | DATA, 0, stream.id))
            self._take(stream, length)
            self.window -= length
            stream.window -= length
            self._count(stream, -length)
            stream.still = 0
        self._waiting.pop(stream.id, None)
        self._relieve()
        if stream.trailers is not None:
            self._chunks.append(stream.trailers)
            self._finished(stream)

    def _take(self, stream: Stream, length: int) -> None:
        parts = stream.parts
        assert parts is not None
        while length:
            part = parts[0]
            if len(part) <= length:
                self._chunks.append(parts.popleft())
                length -= len(part)
            else:
                self._chunks.append(part[:length])
                parts[0] = part[length:]
                return

    def _relieve(self) -> None:
        """Those who wait look again whether there is room."""
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    def _count(self, stream: Stream, change: int) -> None:
        stream.unsent += change
        self.unsent += change
        self._account.held += change

    def _wake(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._call_soon(self.flush)
