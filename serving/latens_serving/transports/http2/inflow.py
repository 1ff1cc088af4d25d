"""Requests as they arrive: gRPC's length-prefixed framing."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from latens_serving.transports.http2.headers import (
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    Head,
    Refusal,
)

if TYPE_CHECKING:
    from latens_serving.transports.http2.inbox import Inbox

Message = bytes | memoryview

PREFIX = struct.Struct(">BI")  # whether the message is compressed, and its length
_PREFIX_SIZE = PREFIX.size


class Stream:
    """One call on the wire: what came of it, and what is still to be sent."""

    __slots__ = (
        "buffer",
        "call",
        "compressed",
        "credit",
        "deadline",
        "filled",
        "head",
        "id",
        "inbox",
        "parts",
        "prefix",
        "received",
        "still",
        "trailers",
        "unsent",
        "uploading",
        "window",
    )

    def __init__(self, number: int, head: Head, window: int) -> None:
        self.id = number
        self.head = head
        self.window = window
        """Bytes that the client takes now; may be negative."""
        self.uploading = True
        """Whether the client may send more of the request."""
        self.received = 0
        self.credit = 0
        """Bytes received since the client was last given room."""
        self.call: Any = None
        """What answers it, from when the request is whole, or has begun if it is of several."""
        self.inbox: Inbox | None = None
        """The messages of a request of several."""
        self.still = 0
        """Sweeps since anything moved."""
        self.unsent = 0
        self.deadline: float | None = None
        """On the clock of `time.monotonic`."""
        # The rest is set by messages that take more than one frame.
        self.prefix = b""
        self.buffer: memoryview | None = None
        self.filled = 0
        self.compressed = False
        self.parts: deque[memoryview] | None = None
        self.trailers: bytes | None = None


def take_whole(stream: Stream, data: bytes, start: int, stop: int, limit: int) -> Message:
    """The message of a request that came in one frame, `data[start:stop]`.

    Raises:
        Refusal: it is not one message, or too large a one.
    """
    if stop - start < _PREFIX_SIZE:
        raise Refusal(INTERNAL, "a unary call carries one message; the body ended before it")
    compressed, length = PREFIX.unpack_from(data, start)
    start += _PREFIX_SIZE
    if length != stop - start:
        raise miscounted(length, limit)
    message = data[start:stop]
    return plain(stream.head, message, limit) if compressed else message


def take_piece(stream: Stream, piece: memoryview, limit: int) -> int:
    """Adds bytes of the body, and returns how many of them are now held for the message.

    Raises:
        Refusal: more than one message, or too large a one.
    """
    if stream.buffer is None:
        needed = _PREFIX_SIZE - len(stream.prefix)
        stream.prefix += bytes(piece[:needed])
        piece = piece[needed:]
        if len(stream.prefix) < _PREFIX_SIZE:
            return 0
        compressed, length = PREFIX.unpack(stream.prefix)
        if length > limit:
            raise miscounted(length, limit)
        stream.compressed = bool(compressed)
        # Not filled with zeros: memory is taken only where bytes arrive.
        stream.buffer = np.empty(length, np.uint8).data
    end = stream.filled + len(piece)
    if end > len(stream.buffer):
        raise miscounted(len(stream.buffer), limit)
    stream.buffer[stream.filled : end] = piece
    stream.filled = end
    return len(piece)


def take_end(stream: Stream, limit: int) -> Message:
    """The message of a request that came in pieces, the last of which has come.

    Raises:
        Refusal: it is not complete.
    """
    if stream.buffer is None or stream.filled < len(stream.buffer):
        raise Refusal(INTERNAL, "a unary call carries one message; the body ended before it")
    message = stream.buffer.toreadonly()
    return plain(stream.head, message, limit) if stream.compressed else message


def take(stream: Stream, piece: memoryview, limit: int) -> int:
    """Keeps bytes of a request; returns how many of them are now held.

    Raises:
        Refusal: more than one message of a unary call, or too large a one.
    """
    if stream.inbox is None:
        return take_piece(stream, piece, limit)
    stream.inbox.add(piece)
    return len(piece)


def held(stream: Stream) -> int:
    """Bytes of a request that are in memory."""
    return stream.filled if stream.inbox is None else len(stream.inbox.held)


def is_awaited(stream: Stream) -> bool:
    """Whether the client owes bytes; one of several messages need not come ever."""
    if stream.inbox is None:
        return stream.uploading
    return stream.uploading and stream.inbox.is_cut_short


def miscounted(length: int, limit: int) -> Refusal:
    """Why a message of another length than is allowed or was announced is refused."""
    if length > limit:
        text = f"received message larger than max ({length} vs. {limit})"
        return Refusal(RESOURCE_EXHAUSTED, text)
    return Refusal(INTERNAL, "a unary call carries one message, of the length that its prefix says")


def plain(head: Head, message: Message, limit: int) -> bytes:
    """A compressed message, inflated no further than the limit.

    Raises:
        Refusal: it cannot be.
    """
    if head.encoding == b"identity":
        raise Refusal(INTERNAL, "compressed message, but no grpc-encoding")
    if head.encoding != b"gzip":
        raise Refusal(UNIMPLEMENTED, "messages may be plain or compressed by gzip")
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(message, limit + 1)
    except zlib.error:
        raise Refusal(INTERNAL, "broken gzip data") from None
    if len(plain) > limit:
        raise miscounted(len(plain), limit)
    if not inflater.eof:
        raise Refusal(INTERNAL, "gzip data cut short")
    return plain
