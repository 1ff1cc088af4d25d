"""The HTTP/2 front end keeps the rules of HTTP/2 and gRPC that well-behaved clients rely on."""

from __future__ import annotations

import asyncio
import gzip
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

import http2_frames as frames
from http2_frames import Setting
from latens_serving.transports.http2.limits import Limits
from raw_http2 import SAY, SECONDS, Running, prefixed, start
from toy_engine import until

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", SAY),
    (":authority", "x"),
    ("content-type", "application/grpc+proto"),
    ("te", "trailers"),
]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = await start(Limits(message_bytes=8 << 20))
    yield running
    await running.stop()


async def test_a_strict_client_with_small_windows_gets_a_large_answer_whole(
    running: Running,
) -> None:
    socket = await running.socket()
    reader, writer = socket.reader, socket.writer
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    client.update_settings({4: 1000})
    message = bytes(range(256)) * 1200
    got, ended, sent = b"", False, 0
    body = prefixed(message)
    client.send_headers(1, HEADERS)
    while not ended:
        while sent < len(body) and (room := min(client.local_flow_control_window(1), 16384)) > 0:
            client.send_data(1, body[sent : sent + room], end_stream=sent + room >= len(body))
            sent += room
        writer.write(client.data_to_send())
        async with asyncio.timeout(SECONDS):
            events = client.receive_data(await reader.read(1 << 16))
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                got += event.data
                client.acknowledge_received_data(event.flow_controlled_length, 1)
            ended = ended or isinstance(event, h2.events.StreamEnded)
    assert got == body


async def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    peer = await running.connect()
    head = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, peer.block())
    data = frames.body(1, prefixed(b"slowly"), frames.END_STREAM)
    for octet in head + data:
        peer.send(bytes((octet,)))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.answer(1)).data == prefixed(b"slowly")


async def test_padding_priority_continuation_and_unknown_frames_are_taken(
    running: Running,
) -> None:
    peer = await running.connect()
    block = peer.block()
    padded = b"\x04" + struct.pack(">IB", 0, 16) + block[:7] + bytes(4)
    flags = frames.PADDED | frames.HAS_PRIORITY
    peer.send(frames.frame(frames.HEADERS, flags, 1, padded))
    peer.send(frames.frame(frames.CONTINUATION, 0, 1, block[7:9]))
    peer.send(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:]))
    peer.send(frames.frame(0x77, 3, 9, b"an extension"))
    body = prefixed(b"padded")
    peer.send(frames.frame(frames.DATA, frames.PADDED, 1, b"\x03" + body[:6] + bytes(3)))
    peer.send(frames.frame(frames.DATA, frames.PADDED | 1, 1, b"\x02" + body[6:] + bytes(2)))
    answer = await peer.answer(1)
    assert answer.data == body
    assert answer.headers["grpc-status"] == "0"


async def test_a_client_may_end_its_request_with_trailers(running: Running) -> None:
    peer = await running.connect()
    peer.begin(1)
    peer.send(frames.body(1, prefixed(b"with trailers")))
    trailers = peer.encoder.encode([("x-checksum", "1")])
    peer.send(frames.frame(frames.HEADERS, 5, 1, trailers))
    assert (await peer.answer(1)).data == prefixed(b"with trailers")


async def test_a_ping_is_echoed_and_settings_are_acknowledged(running: Running) -> None:
    peer = await running.connect({Setting.MAX_FRAME_SIZE: 1 << 20})
    peer.send(frames.frame(frames.PING, 0, 0, b"8 bytes!"))
    seen = [await peer.frame() for _ in range(4)]
    assert (frames.PING, frames.ACK, b"8 bytes!") in [(f.kind, f.flags, f.payload) for f in seen]
    assert (frames.SETTINGS, frames.ACK) in [(f.kind, f.flags) for f in seen]


async def test_header_blocks_that_were_seen_before_mean_what_the_table_says_now(
    running: Running,
) -> None:
    peer = await running.connect()
    for number in range(1, 60, 2):  # some blocks repeat, some change the table behind the others
        peer.call(number, b"%d" % number, x_changing=str(number % 7), x_same="always")
        assert (await peer.answer(number)).data == prefixed(b"%d" % number)


@pytest.mark.parametrize(
    ("headers", "body", "status", "text"),
    [
        ({}, b"", 13, "one message"),
        ({}, b"\0\0\0", 13, "one message"),
        ({}, struct.pack(">BI", 0, 9) + b"short", 13, "one message"),
        ({}, prefixed(b"one") + prefixed(b"two"), 13, "one message"),
        ({}, struct.pack(">BI", 0, 9 << 20), 8, "larger than max"),
        ({}, struct.pack(">BI", 1, 3) + b"abc", 13, "no grpc-encoding"),
        ({"grpc_encoding": "snappy"}, struct.pack(">BI", 1, 3) + b"abc", 12, "gzip"),
        ({"grpc_encoding": "gzip"}, struct.pack(">BI", 1, 3) + b"abc", 13, "gzip"),
        ({"grpc_timeout": "soon"}, prefixed(b"x"), 13, "grpc-timeout"),
        ({"x_large": "v" * 20000}, prefixed(b"x"), 8, "metadata"),
        ({"x_odd-bin": "***"}, prefixed(b"x"), 13, "x-odd-bin"),
    ],
)
async def test_a_bad_request_gets_its_status(
    running: Running, headers: dict[str, str], body: bytes, status: int, text: str
) -> None:
    peer = await running.connect()
    block = peer.block(**headers)
    for start_, flag in ((0, 0), (16000, frames.END_HEADERS)):
        kind = frames.CONTINUATION if start_ else frames.HEADERS
        piece = block[start_ : start_ + 16000] if not start_ else block[start_:]
        peer.send(frames.frame(kind, flag, 1, piece))
    peer.send(frames.body(1, body, frames.END_STREAM))
    answer = await peer.answer(1)
    assert answer.headers["grpc-status"] == str(status)
    assert text in answer.headers["grpc-message"]
    peer.call(3, b"the connection lives on")
    assert (await peer.answer(3)).data == prefixed(b"the connection lives on")


@pytest.mark.parametrize(
    ("change", "http"),
    [({":method": "GET"}, "405"), ({"content-type": "text/html"}, "415")],
)
async def test_what_is_not_grpc_gets_an_http_status(
    running: Running, change: dict[str, str], http: str
) -> None:
    peer = await running.connect()
    block = peer.encoder.encode(list((dict(HEADERS) | change).items()))
    peer.send(frames.frame(frames.HEADERS, 5, 1, block))
    assert (await peer.answer(1)).headers[":status"] == http


@pytest.mark.parametrize(
    "fields",
    [
        [(":path", SAY), (":scheme", "http")],
        [*HEADERS, ("Upper", "case")],
        [*HEADERS, ("connection", "close")],
        [*(field for field in HEADERS if field[0] != "te"), ("te", "gzip")],
        [*HEADERS, (":late", "pseudo")],
        [*HEADERS, ("content-length", "minus one")],
        [*HEADERS, ("x-break", "a\r\nb")],
    ],
)
async def test_a_malformed_request_resets_its_stream_alone(
    running: Running, fields: list[tuple[str, str]]
) -> None:
    peer = await running.connect()
    block = peer.encoder.encode(fields)
    peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    assert (await peer.answer(1)).reset == frames.ErrorCode.PROTOCOL_ERROR
    peer.call(3, b"next")
    assert (await peer.answer(3)).data == prefixed(b"next")


async def test_data_of_an_answered_call_is_ignored(running: Running) -> None:
    peer = await running.connect()
    peer.call(1, b"whole")
    assert (await peer.answer(1)).data == prefixed(b"whole")
    peer.send(frames.body(1, b"more"))
    peer.call(3, b"next")
    assert (await peer.answer(3)).data == prefixed(b"next")


async def test_data_of_a_refused_call_is_ignored(running: Running) -> None:
    peer = await running.connect()
    peer.begin(1, "/test.Echo/Nothing")
    assert (await peer.answer(1)).headers["grpc-status"] == "12"
    peer.finish(1, b"sent before the client could know")
    peer.call(3, b"next")
    assert (await peer.answer(3)).data == prefixed(b"next")


async def test_compressed_requests_are_inflated_within_the_limit(running: Running) -> None:
    peer = await running.connect()
    for number, size, status in ((1, 5000, "0"), (3, 9 << 20, "8")):
        packed = gzip.compress(bytes(size))
        peer.begin(number, grpc_encoding="gzip")
        body = struct.pack(">BI", 1, len(packed)) + packed
        peer.send(frames.body(number, body, frames.END_STREAM))
        answer = await peer.answer(number)
        assert answer.headers["grpc-status"] == status
        assert len(answer.data) == (size + 5 if status == "0" else 0)


async def test_a_passed_deadline_is_told_and_the_handler_is_cancelled(running: Running) -> None:
    peer = await running.connect()
    peer.call(1, b"x", "/test.Echo/Wait", grpc_timeout="20m")
    answer = await peer.answer(1)
    assert answer.headers["grpc-status"] == "4"
    async with asyncio.timeout(SECONDS):
        while not running.echo.cancelled:
            await asyncio.sleep(0)


async def test_a_cancelled_call_cancels_its_handler(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        wait: Any = channel.unary_unary("/test.Echo/Wait")
        call = wait(b"x")
        while not running.echo.waiting:
            await asyncio.sleep(0)
        call.cancel()
        async with asyncio.timeout(SECONDS):
            while not running.echo.cancelled:
                await asyncio.sleep(0)


async def test_stopping_finishes_what_was_accepted_and_refuses_the_rest(running: Running) -> None:
    peer = await running.connect()
    peer.call(1, b"accepted", "/test.Echo/Wait")
    while not running.echo.waiting:
        await asyncio.sleep(0)
    stopping = asyncio.create_task(running.server.stop(SECONDS))
    while (goaway := await peer.frame()).kind != frames.GOAWAY:
        pass
    assert frames.PAIR.unpack_from(goaway.payload) == (1, frames.ErrorCode.NO_ERROR)
    peer.call(3, b"too late")
    peer.send(frames.frame(frames.PING, 0, 0, b"in order"))
    while (frame := await peer.frame()).kind != frames.PING:
        assert frame.stream != 3
    running.echo.open.set()
    assert (await peer.answer(1)).data == prefixed(b"accepted")
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", running.port)


async def test_many_callers_at_a_time_each_get_their_own_answer(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        say: Any = channel.unary_unary(SAY)
        messages = [b"%d " % number * (number * 37 % 9000) for number in range(300)]
        answers = await asyncio.gather(*(say(message, timeout=SECONDS) for message in messages))
    assert answers == messages


async def test_a_call_with_too_much_metadata_is_refused_and_no_other(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        wait: Any = channel.unary_unary("/test.Echo/Wait")
        other = wait(b"still here", timeout=SECONDS)
        await until(lambda: running.echo.waiting == 1)
        say: Any = channel.unary_unary(SAY)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(b"x", metadata=(("x-long", "x" * (64 << 10)),), timeout=SECONDS)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "metadata exceeds 16384 bytes" in (caught.value.details() or "")
        running.echo.open.set()
        assert await other == b"still here"
