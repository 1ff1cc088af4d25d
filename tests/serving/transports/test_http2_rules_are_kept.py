"""The rules of HTTP/2 (RFC 9113) and HPACK (RFC 7541), one by one, as the h2spec suite lists them.

A stream error may be answered by the end of the connection instead (RFC 9113, section 5.4), and
what arrives on a closed stream may be ignored for a while (section 5.1). Each case names the
outcomes that the rules allow; after each, the server still answers others.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

import pytest
from hpack import Encoder

import http2_frames as frames
from http2_frames import ErrorCode, Setting
from raw_http2 import SAY, Peer, Running, prefixed, say, start

IGNORED, ANSWERED, CLOSED = "ignored", "answered", "closed"
END, HEADERS_END, BOTH = frames.END_STREAM, frames.END_HEADERS, 5
PRIORITY_OF = struct.Struct(">IB")
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", SAY),
    (":authority", "x"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def goaway(*codes: ErrorCode) -> set[str]:
    return {f"goaway {code.name}" for code in codes}


def stream_error(*codes: ErrorCode) -> set[str]:
    """A stream error, or the same as a connection error."""
    return {f"reset {code.name}" for code in codes} | goaway(*codes)


PROTOCOL = goaway(ErrorCode.PROTOCOL_ERROR)
SIZE = goaway(ErrorCode.FRAME_SIZE_ERROR)
COMPRESSION = goaway(ErrorCode.COMPRESSION_ERROR)
FLOW = goaway(ErrorCode.FLOW_CONTROL_ERROR)
MALFORMED = stream_error(ErrorCode.PROTOCOL_ERROR)
AFTER_END = stream_error(ErrorCode.STREAM_CLOSED)


def block(
    *changes: tuple[str, str], without: str = "", fields: list[tuple[str, str]] | None = None
) -> bytes:
    given = [field for field in (fields or REQUEST) if field[0] != without]
    encoded: bytes = Encoder().encode([*given, *changes])
    return encoded


def headers(number: int, payload: bytes | None = None, flags: int = HEADERS_END) -> bytes:
    return frames.frame(frames.HEADERS, flags, number, block() if payload is None else payload)


def call(number: int) -> bytes:
    return headers(number) + frames.body(number, prefixed(b"x"), END)


def settings(*pairs: tuple[int, int], flags: int = 0, number: int = 0) -> bytes:
    payload = b"".join(struct.pack(">HI", *pair) for pair in pairs)
    return frames.frame(frames.SETTINGS, flags, number, payload)


def priority(number: int, depends_on: int = 0) -> bytes:
    return frames.frame(frames.PRIORITY, 0, number, PRIORITY_OF.pack(depends_on, 15))


def continuation(number: int, payload: bytes = b"", flags: int = HEADERS_END) -> bytes:
    return frames.frame(frames.CONTINUATION, flags, number, payload)


def request_with(*changes: tuple[str, str], without: str = "") -> bytes:
    return headers(1, block(*changes, without=without)) + frames.body(1, prefixed(b"x"), END)


def literal(number: int, *pieces: bytes) -> bytes:
    return headers(number, block() + b"".join(pieces))


PING = frames.frame(frames.PING, 0, 0, b"12345678")
RESET = frames.reset(1, ErrorCode.CANCEL)
UNKNOWN = frames.frame(0x16, 0, 0, bytes(8))

CASES: dict[str, tuple[bytes, set[str]]] = {
    # 4.1, 5.5: extensions
    "a frame of unknown type": (UNKNOWN, {IGNORED}),
    "an undefined flag": (frames.frame(frames.PING, 0x16, 0, bytes(8)), {IGNORED}),
    "the reserved bit": (struct.pack(">IBI", 8 << 8 | 6, 0, 1 << 31) + bytes(8), {IGNORED}),
    "an unknown frame within a header block": (headers(1, flags=0) + UNKNOWN, PROTOCOL),
    # 4.2: sizes
    "a DATA frame of 2^14 bytes": (
        headers(1) + frames.frame(frames.DATA, END, 1, prefixed(bytes(16379))),
        {ANSWERED},
    ),
    "a DATA frame that is too large": (headers(1) + frames.frame(0, END, 1, bytes(70000)), SIZE),
    "a HEADERS frame that is too large": (headers(1, bytes(70000)), SIZE),
    # 4.3: header blocks
    "an invalid header block": (headers(1, b"\x40"), COMPRESSION),
    "PRIORITY within a header block": (headers(1, flags=0) + priority(1), PROTOCOL),
    "HEADERS within a header block": (headers(1, flags=0) + headers(3), PROTOCOL),
    # 5.1: states of streams
    "DATA of an idle stream": (frames.body(1, b"test", END), PROTOCOL),
    "RST_STREAM of an idle stream": (RESET, PROTOCOL),
    "WINDOW_UPDATE of an idle stream": (frames.window_update(1, 100), PROTOCOL),
    "CONTINUATION of an idle stream": (continuation(1, block()), PROTOCOL),
    "DATA after the end": (
        headers(1, flags=BOTH) + frames.body(1, b"test"),
        AFTER_END | {ANSWERED},
    ),
    "HEADERS after the end": (call(1) + headers(1, flags=BOTH), AFTER_END | {ANSWERED}),
    "CONTINUATION after the end": (headers(1, flags=BOTH) + continuation(1), PROTOCOL),
    "DATA after RST_STREAM": (headers(1) + RESET + frames.body(1, b"t"), AFTER_END | {IGNORED}),
    "HEADERS after RST_STREAM": (headers(1) + RESET + headers(1), AFTER_END | {IGNORED}),
    "CONTINUATION after RST_STREAM": (headers(1) + RESET + continuation(1), PROTOCOL),
    # 5.1.1: numbers of streams
    "an even stream": (headers(2), PROTOCOL),
    # libnghttp2 takes it for the late trailers of a stream that was reset, and ignores it.
    "a stream smaller than the last": (
        headers(5) + headers(3),
        PROTOCOL | goaway(ErrorCode.STREAM_CLOSED) | {IGNORED},
    ),
    # 5.3.1: priorities, which RFC 9113 took out
    "HEADERS that depend on themselves": (
        headers(1, PRIORITY_OF.pack(1, 15) + block(), HEADERS_END | frames.HAS_PRIORITY)
        + frames.body(1, prefixed(b"x"), END),
        MALFORMED | {ANSWERED},
    ),
    "PRIORITY that depends on itself": (priority(1, 1), MALFORMED | {IGNORED}),
    "PRIORITY of an idle stream": (priority(1) + call(1), {ANSWERED}),
    # 6.1, 6.2
    "DATA of stream 0": (frames.body(0, b"test"), PROTOCOL),
    "DATA with too much padding": (
        headers(1) + frames.frame(frames.DATA, frames.PADDED | END, 1, b"\x06Test"),
        PROTOCOL,
    ),
    "HEADERS of stream 0": (headers(0), PROTOCOL),
    "HEADERS with too much padding": (
        headers(1, bytes([200]) + block(), HEADERS_END | frames.PADDED),
        PROTOCOL,
    ),
    # 6.3, 6.4
    "PRIORITY of stream 0": (priority(0), PROTOCOL | {IGNORED}),
    "PRIORITY of a wrong size": (
        headers(1) + frames.frame(frames.PRIORITY, 0, 1, bytes(4)),
        stream_error(ErrorCode.FRAME_SIZE_ERROR),
    ),
    "RST_STREAM of stream 0": (frames.reset(0, ErrorCode.CANCEL), PROTOCOL),
    "RST_STREAM of a wrong size": (headers(1) + frames.frame(3, 0, 1, bytes(3)), SIZE),
    # 6.5
    "SETTINGS ACK with a payload": (frames.frame(frames.SETTINGS, 1, 0, b"\0"), SIZE),
    "SETTINGS of a stream": (settings((3, 100), number=1), PROTOCOL),
    "SETTINGS of a wrong size": (frames.frame(frames.SETTINGS, 0, 0, bytes(3)), SIZE),
    "ENABLE_PUSH of 2": (settings((Setting.ENABLE_PUSH, 2)), PROTOCOL),
    "INITIAL_WINDOW_SIZE of 2^31": (settings((Setting.INITIAL_WINDOW_SIZE, 1 << 31)), FLOW),
    "MAX_FRAME_SIZE below 2^14": (settings((Setting.MAX_FRAME_SIZE, 16383)), PROTOCOL),
    "MAX_FRAME_SIZE of 2^24": (settings((Setting.MAX_FRAME_SIZE, 1 << 24)), PROTOCOL),
    "an unknown setting": (settings((0xFF, 1)), {IGNORED}),
    # 6.6
    "PUSH_PROMISE": (headers(1) + frames.frame(5, 4, 1, struct.pack(">I", 2) + block()), PROTOCOL),
    # 6.7, 6.8
    "a PING ACK that was not asked for": (frames.frame(frames.PING, 1, 0, b"invalid!"), {IGNORED}),
    "PING of a stream": (frames.frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "PING of a wrong size": (frames.frame(frames.PING, 0, 0, bytes(6)), SIZE),
    "GOAWAY of a stream": (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY with an unknown code": (
        frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", 0, 0xFF)),
        {IGNORED, CLOSED} | goaway(ErrorCode.NO_ERROR),
    ),
    "RST_STREAM with an unknown code": (
        headers(1) + frames.frame(frames.RST_STREAM, 0, 1, struct.pack(">I", 0xFF)),
        {IGNORED},
    ),
    # 6.9
    "WINDOW_UPDATE by 0": (frames.window_update(0, 0), PROTOCOL),
    "WINDOW_UPDATE of a stream by 0": (headers(1) + frames.window_update(1, 0), MALFORMED),
    "WINDOW_UPDATE of a wrong size": (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "a window beyond 2^31-1": (2 * frames.window_update(0, frames.LARGEST_WINDOW), FLOW),
    "a stream's window beyond 2^31-1": (
        headers(1) + 2 * frames.window_update(1, frames.LARGEST_WINDOW),
        stream_error(ErrorCode.FLOW_CONTROL_ERROR),
    ),
    # 6.10
    "CONTINUATION frames": (
        headers(1, block()[:9], 0)
        + continuation(1, block()[9:20], 0)
        + continuation(1, block()[20:])
        + frames.body(1, prefixed(b"x"), END),
        {ANSWERED},
    ),
    "DATA within a header block": (
        headers(1, flags=0) + continuation(1, flags=0) + frames.body(1, b"test"),
        PROTOCOL,
    ),
    "CONTINUATION of stream 0": (headers(1, flags=0) + continuation(0), PROTOCOL),
    "CONTINUATION after END_HEADERS": (headers(1) + continuation(1), PROTOCOL),
    "CONTINUATION after CONTINUATION with END_HEADERS": (
        headers(1, flags=0) + continuation(1) + continuation(1),
        PROTOCOL,
    ),
    "CONTINUATION after DATA": (headers(1) + frames.body(1, b"t") + continuation(1), PROTOCOL),
    # 8: requests
    "a second HEADERS frame without END_STREAM": (
        headers(1) + frames.body(1, b"\0") + headers(1, block(fields=[("x", "y")])),
        MALFORMED,
    ),
    "a name in upper case": (request_with(("X-TEST", "ok")), MALFORMED),
    "an unknown pseudo-header": (
        headers(1, block(fields=[(":test", "ok"), *REQUEST])),
        MALFORMED,
    ),
    "a pseudo-header of answers": (
        headers(1, block(fields=[(":status", "200"), *REQUEST])),
        MALFORMED,
    ),
    "a pseudo-header in trailers": (
        headers(1)
        + frames.body(1, prefixed(b"x"))
        + headers(1, block(fields=[(":method", "POST")]), BOTH),
        MALFORMED,
    ),
    "a pseudo-header after a field": (request_with((":late", "x")), MALFORMED),
    "a connection field": (request_with(("connection", "keep-alive")), MALFORMED),
    "te other than trailers": (request_with(("te", "gzip"), without="te"), MALFORMED),
    "an empty path": (
        headers(1, block(fields=[(":path", ""), *(f for f in REQUEST if f[0] != ":path")])),
        MALFORMED,
    ),
    "no method": (request_with(without=":method"), MALFORMED),
    "no scheme": (request_with(without=":scheme"), MALFORMED),
    "no path": (request_with(without=":path"), MALFORMED),
    "two methods": (headers(1, block(fields=[(":method", "POST"), *REQUEST])), MALFORMED),
    "two schemes": (headers(1, block(fields=[(":scheme", "http"), *REQUEST])), MALFORMED),
    "two paths": (headers(1, block(fields=[(":path", SAY), *REQUEST])), MALFORMED),
    "a content-length that is too small": (request_with(("content-length", "1")), MALFORMED),
    "a content-length that several frames exceed": (
        headers(1, block(("content-length", "1")))
        + frames.body(1, b"\0\0")
        + frames.body(1, b"\0\0\0", END),
        MALFORMED,
    ),
    # HPACK
    "an index beyond the tables": (literal(1, b"\xff\x80\x01"), COMPRESSION),
    "a literal with an index beyond the tables": (literal(1, b"\x7f\x80\x01\x01x"), COMPRESSION),
    "a table size update after fields": (literal(1, b"\x20"), COMPRESSION),
    "Huffman code with long padding": (
        literal(1, b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        COMPRESSION,
    ),
    "Huffman code padded by zeros": (
        literal(1, b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        COMPRESSION,
    ),
    "Huffman code with the end symbol": (
        literal(1, b"\0\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
        COMPRESSION,
    ),
    "index 0": (literal(1, b"\x80"), COMPRESSION),
    "a table size above the one allowed": (headers(1, b"\x3f\xe1\xff\x03" + block()), COMPRESSION),
    "table size updates within the limit": (
        headers(1, b"\x20\x3f\xe1\x1f" + block()) + frames.body(1, prefixed(b"x"), END),
        {ANSWERED},
    ),
}


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = await start()
    yield running
    await running.stop()
    assert running.server.server.admission.held == 0


async def outcome(peer: Peer) -> str:
    """What the server made of the last case. A ping may overtake it, but not in the next turn."""
    peer.send(frames.frame(frames.PING, 0, 0, b"sentinel"))
    try:
        while True:
            frame = await peer.frame()
            if frame.kind == frames.GOAWAY:
                return f"goaway {ErrorCode(frames.PAIR.unpack_from(frame.payload)[1]).name}"
            if frame.kind == frames.RST_STREAM:
                return f"reset {ErrorCode(frames.UINT32.unpack(frame.payload)[0]).name}"
            if frame.kind == frames.HEADERS and frame.flags & END:
                return ANSWERED
            if frame.kind == frames.PING and frame.payload == b"sentinel":
                peer.send(frames.frame(frames.PING, 0, 0, b"the last"))
            if frame.kind == frames.PING and frame.payload == b"the last":
                return IGNORED
    except (EOFError, ConnectionError):
        return CLOSED


@pytest.mark.parametrize("case", CASES)
async def test_each_rule_is_kept(running: Running, case: str) -> None:
    sent, allowed = CASES[case]
    peer = await running.connect()
    peer.send(sent)
    assert await outcome(peer) in allowed
    peer.writer.close()
    assert await say(running.address, b"still there?") == b"still there?"


async def test_an_invalid_preface_closes_the_connection(running: Running) -> None:
    peer = await running.socket()
    peer.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    assert frames.PREFACE not in await peer.closed()


async def test_the_first_frame_of_the_server_is_settings(running: Running) -> None:
    peer = await running.connect()
    assert (await peer.frame()).kind == frames.SETTINGS


async def test_of_a_setting_given_twice_the_last_value_counts(running: Running) -> None:
    peer = await running.connect()
    window = Setting.INITIAL_WINDOW_SIZE
    peer.send(settings((window, 100), (window, 1)))
    peer.call(1, b"x")
    pieces = []
    while len(pieces) < 1:
        frame = await peer.frame()
        if frame.kind == frames.DATA:
            pieces.append(frame.payload)
    assert len(pieces[0]) == 1


async def test_the_window_of_open_streams_follows_the_settings(running: Running) -> None:
    window = Setting.INITIAL_WINDOW_SIZE
    peer = await running.connect({window: 0})
    peer.call(1, b"x")
    peer.send(settings((window, 1)))
    while (frame := await peer.frame()).kind != frames.DATA:
        pass
    assert len(frame.payload) == 1
    peer.send(settings((window, 0)))  # the window is -1 now
    peer.send(frames.window_update(1, 3))
    while (frame := await peer.frame()).kind != frames.DATA:
        pass
    assert len(frame.payload) == 2


async def test_more_than_the_window_allows_is_a_flow_control_error(running: Running) -> None:
    """A client that sends on while the server gives no room is cut off at the window."""
    peer = await running.connect()
    peer.begin(1, "/test.Echo/Heed")
    mebibyte = frames.body(1, bytes(1 << 20))
    for _ in range(9):
        peer.send(mebibyte)
    assert await outcome(peer) in stream_error(ErrorCode.FLOW_CONTROL_ERROR)
