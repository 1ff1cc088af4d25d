"""HTTP/2 frames (RFC 9113, sections 4 and 6): their numbers, and the bytes of those we send."""

from __future__ import annotations

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0
HEADERS = 1
PRIORITY = 2
RST_STREAM = 3
SETTINGS = 4
PUSH_PROMISE = 5
PING = 6
GOAWAY = 7
WINDOW_UPDATE = 8
CONTINUATION = 9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_SIZE = 9
DEFAULT_WINDOW = 65535
DEFAULT_FRAME = 16384
LARGEST_WINDOW = (1 << 31) - 1
LARGEST_FRAME = (1 << 24) - 1
LARGEST_STREAM = (1 << 31) - 1

# Length (24 bits) and type (8 bits) as one integer, flags, stream.
HEAD = struct.Struct(">IBI")
UINT32 = struct.Struct(">I")
SETTING = struct.Struct(">HI")
PAIR = struct.Struct(">II")


class Setting(IntEnum):
    """The parameters of a SETTINGS frame."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream was reset or a connection ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):  # noqa: N818 - HTTP/2 calls them connection errors; so is OSError
    """The client broke the protocol, or went beyond a limit, in a way that ends the connection."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFault(Exception):  # noqa: N818
    """The same for one stream; the others go on."""

    def __init__(self, stream: int, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.stream = stream
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """The SETTINGS frame that a connection starts with."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*item) for item in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """Lets the client send so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, UINT32.pack(increment))


def reset(stream: int, code: ErrorCode) -> bytes:
    """Ends one stream."""
    return frame(RST_STREAM, 0, stream, UINT32.pack(code))


def goaway(last_stream: int, code: ErrorCode, text: str = "") -> bytes:
    """Announces that no stream after `last_stream` will be served."""
    return frame(GOAWAY, 0, 0, PAIR.pack(last_stream, code) + text.encode()[:128])


def header_block(flags: int, payload: bytes) -> bytes:
    """The header block of a HEADERS frame with padding or a priority.

    Raises:
        ConnectionFault: the frame is shorter than they are.
    """
    view = memoryview(payload)
    if flags & PADDED:
        view = unpadded(view)
    if flags & HAS_PRIORITY:
        if len(view) < 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS cut short")
        view = view[5:]
    return bytes(view)


def unpadded(view: memoryview) -> memoryview:
    """The payload of a padded frame, without padding.

    Raises:
        ConnectionFault: the padding is longer than the frame.
    """
    if not view or view[0] >= len(view):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return view[1 : len(view) - view[0]]


def body(stream: int, data: bytes, flags: int = 0) -> bytes:
    """DATA frames of the size that every server takes; the flags are those of the last one."""
    pieces = [data[start : start + DEFAULT_FRAME] for start in range(0, len(data), DEFAULT_FRAME)]
    whole = b"".join(frame(DATA, 0, stream, piece) for piece in pieces[:-1])
    return whole + frame(DATA, flags, stream, pieces[-1] if pieces else b"")
