"""Request bodies: gRPC's length-prefixed messages, as their bytes arrive."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from latens_serving.transports.http2.contract import Payload
from latens_serving.transports.http2.limits import STREAM_WINDOW
from latens_serving.transports.http2.trailers import (
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    Refusal,
)

PREFIX = struct.Struct(">BI")  # whether the message is compressed, and its length
_PREFIX_SIZE = PREFIX.size
_INCOMPLETE = "a unary call carries one message; the body ended before it"
_MISCOUNTED = "a unary call carries one message, of the length that its prefix says"


class Body(Protocol):
    """The body of a request."""

    held: int
    """Bytes in memory."""

    @property
    def wants_more(self) -> bool:
        """Whether the client may send on."""
        ...

    @property
    def is_awaited(self) -> bool:
        """Whether the client owes bytes: a message has begun, or must come."""
        ...

    def add(self, data: bytes, last: bool) -> None:
        """Takes bytes of the body; `last` says that no more will come.

        Raises:
            Refusal: they do not belong to a message that may be sent, or the body is not complete.
        """
        ...

    async def next(self) -> Payload | None:
        """The next message; None after the last.

        Raises:
            Refusal: what came is not a message, or is too large.
        """
        ...

    def drop(self) -> None:
        """Frees what is held."""
        ...


class UnaryBody:
    """A body of one message, which is taken when it is complete."""

    # Defaults of the class: most messages come in one frame and need none of these.
    held = 0
    wants_more = True
    is_awaited = True
    _prefix = b""
    _buffer: memoryview | None = None
    _compressed = 0
    _message: Payload | None = None

    def __init__(self, encoding: bytes, limit: int) -> None:
        self._encoding = encoding
        self._limit = limit

    def add(self, data: bytes, last: bool) -> None:
        buffer = self._buffer
        if buffer is not None:
            end = self.held + len(data)
            if end > len(buffer):
                raise Refusal(INTERNAL, _MISCOUNTED)
            buffer[self.held : end] = data
            self.held = end
        elif last and not self._prefix:
            self._take(data)
            return
        else:
            self._begin(data)
        if last:
            self._end()

    def _take(self, data: bytes) -> None:
        """The message came in one frame: it needs no buffer."""
        size = len(data) - _PREFIX_SIZE
        if size < 0:
            raise Refusal(INTERNAL, _INCOMPLETE)
        compressed, length = PREFIX.unpack_from(data)
        if length > self._limit:
            raise _too_large(length, self._limit)
        if length != size:
            raise Refusal(INTERNAL, _MISCOUNTED)
        if compressed:
            self._keep(data[_PREFIX_SIZE:], compressed)
        else:
            self._message, self.held = data[_PREFIX_SIZE:], size

    async def next(self) -> Payload | None:
        message, self._message = self._message, None  # the handler alone keeps it alive
        return message

    def drop(self) -> None:
        self._buffer = self._message = None
        self.held = 0

    def _begin(self, data: bytes) -> None:
        """Takes the prefix, or what came of it, and the first bytes of the message."""
        needed = _PREFIX_SIZE - len(self._prefix)
        self._prefix += data[:needed]
        if len(self._prefix) < _PREFIX_SIZE:
            return
        piece = memoryview(data)[needed:]
        buffer = self._buffer = self._allocate()
        if len(piece) > len(buffer):
            raise Refusal(INTERNAL, _MISCOUNTED)
        buffer[: len(piece)] = piece
        self.held = len(piece)

    def _end(self) -> None:
        if self._buffer is None or self.held < len(self._buffer):
            raise Refusal(INTERNAL, _INCOMPLETE)
        message = self._buffer.toreadonly()
        self._buffer = None
        self._keep(message, self._compressed)

    def _keep(self, message: Payload, compressed: int) -> None:
        if compressed:
            message = inflated(self._encoding, message, self._limit)
        self._message = message
        self.held = len(message)

    def _allocate(self) -> memoryview:
        compressed, length = PREFIX.unpack(self._prefix)
        if length > self._limit:
            raise _too_large(length, self._limit)
        self._compressed = compressed
        # Not filled with zeros: memory is taken only where bytes arrive.
        return np.empty(length, np.uint8).data


class StreamBody:
    """A body of several messages, cut from its bytes as the handler asks for them.

    While the handler does not ask, the client is given no room for more than a window of them: a
    client that is not read from stops sending.
    """

    __slots__ = ("_bytes", "_changed", "_encoding", "_ended", "_limit", "_taken", "held")

    def __init__(self, encoding: bytes, limit: int, taken: Callable[[], None]) -> None:
        """Creates an empty body; `taken` is called when the client may be given room."""
        self.held = 0
        self._encoding = encoding
        self._limit = limit
        self._taken = taken
        self._bytes = bytearray()
        self._ended = False
        self._changed: asyncio.Future[None] | None = None

    @property
    def wants_more(self) -> bool:
        return self._changed is not None or self.held < STREAM_WINDOW // 2

    @property
    def is_awaited(self) -> bool:
        return self._changed is not None and bool(self._bytes)

    def add(self, data: bytes, last: bool) -> None:
        self._bytes += data
        self.held = len(self._bytes)
        self._ended = last
        self._wake()

    async def next(self) -> Payload | None:
        while True:
            if len(self._bytes) >= _PREFIX_SIZE:
                compressed, length = PREFIX.unpack_from(self._bytes)
                if length > self._limit:
                    raise _too_large(length, self._limit)
                if len(self._bytes) >= _PREFIX_SIZE + length:
                    message = self._cut(_PREFIX_SIZE + length)
                    return inflated(self._encoding, message, self._limit) if compressed else message
            if self._ended:
                if self._bytes:
                    raise Refusal(INTERNAL, "the body ended within a message")
                return None
            await self._change()

    def drop(self) -> None:
        self._bytes = bytearray()
        self.held = 0
        self._ended = True
        self._wake()

    def _cut(self, size: int) -> bytes:
        with memoryview(self._bytes) as view:
            message = bytes(view[_PREFIX_SIZE:size])
        del self._bytes[:size]
        self.held = len(self._bytes)
        self._taken()
        return message

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        self._taken()
        try:
            await self._changed
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


def inflated(encoding: bytes, message: Payload, limit: int) -> bytes:
    """A compressed message, inflated no further than the limit.

    Raises:
        Refusal: it cannot be.
    """
    if encoding == b"identity":
        raise Refusal(INTERNAL, "compressed message, but no grpc-encoding")
    if encoding != b"gzip":
        raise Refusal(UNIMPLEMENTED, "messages may be plain or compressed by gzip")
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(message, limit + 1)
    except zlib.error:
        raise Refusal(INTERNAL, "broken gzip data") from None
    if len(plain) > limit:
        raise _too_large(len(plain), limit)
    if not inflater.eof:
        raise Refusal(INTERNAL, "gzip data cut short")
    return plain


def _too_large(length: int, limit: int) -> Refusal:
    return Refusal(RESOURCE_EXHAUSTED, f"received message larger than max ({length} vs. {limit})")
