"""The messages of a call that sends several, cut from its bytes as its handler asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from latens_serving.transports.http2.headers import INTERNAL, Refusal
from latens_serving.transports.http2.inflow import PREFIX, Stream, miscounted, plain
from latens_serving.transports.http2.limits import STREAM_WINDOW


class Inbox:
    """What a client has sent of a call and the handler has not taken.

    Bytes stay as they came until the handler asks for a message, and until then the client is given
    no room for more than a window of them: who is not read from stops sending.
    """

    __slots__ = ("_changed", "_limit", "_release", "_stream", "_whole", "held")

    def __init__(self, stream: Stream, limit: int, release: Callable[[Stream, int], None]) -> None:
        """Makes an empty one.

        Args:
            stream: whose.
            limit: the largest message, in bytes.
            release: told of bytes that are held no more, and that the client may be given room.
        """
        self.held = bytearray()
        self._stream = stream
        self._limit = limit
        self._release = release
        self._whole = False
        self._changed: asyncio.Future[None] | None = None

    def add(self, piece: memoryview) -> None:
        """More bytes came."""
        self.held += piece
        self._wake()

    def end(self) -> None:
        """The client will send no more."""
        self._whole = True
        self._wake()

    @property
    def wants_more(self) -> bool:
        """Whether the client may be given room: what is held does not fill half a window."""
        return self._changed is not None or len(self.held) < STREAM_WINDOW // 2

    @property
    def is_cut_short(self) -> bool:
        """Whether the handler waits for the rest of a message that has begun."""
        return self._changed is not None and bool(self.held)

    async def next(self) -> bytes | None:
        """The next message; None after the last one.

        Raises:
            Refusal: what came is no message, or too large a one.
        """
        while True:
            if len(self.held) >= PREFIX.size:
                compressed, length = PREFIX.unpack_from(self.held)
                if length > self._limit:
                    raise miscounted(length, self._limit)
                if len(self.held) >= PREFIX.size + length:
                    message = self._take(PREFIX.size + length)
                    return plain(self._stream.head, message, self._limit) if compressed else message
            if self._whole:
                if self.held:
                    raise Refusal(INTERNAL, "the body ended within a message")
                return None
            await self._change()

    def _take(self, size: int) -> bytes:
        with memoryview(self.held) as view:
            message = bytes(view[PREFIX.size : size])
        del self.held[:size]
        self._release(self._stream, size)
        return message

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        self._release(self._stream, 0)
        try:
            await self._changed
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
