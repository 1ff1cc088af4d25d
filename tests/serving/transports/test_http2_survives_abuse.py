"""The HTTP/2 front end serves other clients during any abuse, and reports why it ends one."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator

import pytest

import http2_frames as frames
from http2_frames import ErrorCode, Setting
from latens_serving.transports.http2.limits import Limits
from raw_http2 import SECONDS, Peer, Running, prefixed, say, start
from toy_engine import until

FEW = Limits(
    message_bytes=1 << 20,
    held_bytes=4 << 20,
    streams=8,
    calls=24,
    connections=12,
    misuse_burst=50,
    misuse_rate=1.0,
    handshake_seconds=2.0,
    stall_seconds=1.5,
)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = await start(FEW)
    yield running
    await running.stop()


async def is_served(running: Running) -> bool:
    return await say(running.address, b"still there?") == b"still there?"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.frame(frames.PING, 0, 0, b"short"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 3, b"8 bytes!"), ErrorCode.PROTOCOL_ERROR),
        (frames.body(1, b"of nothing"), ErrorCode.PROTOCOL_ERROR),
        (frames.body(0, b"of nothing"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 5, b"\0\0\0\0"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.CONTINUATION, 4, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 4, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (
            frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"),
            ErrorCode.COMPRESSION_ERROR,
        ),
        (frames.frame(frames.HEADERS, 12, 1, b"\xff"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"odd"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({Setting.MAX_FRAME_SIZE: 1}), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (2 * frames.window_update(0, frames.LARGEST_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
        (struct.pack(">IBI", (1 << 24) - 1 << 8 | 1, 4, 1), ErrorCode.FRAME_SIZE_ERROR),
        (struct.pack(">IBI", (1 << 24) - 1 << 8 | 0, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
async def test_a_breach_of_the_protocol_ends_the_connection_with_its_code(
    running: Running, sent: bytes, code: ErrorCode
) -> None:
    peer = await running.connect()
    peer.send(sent)
    assert await peer.goaway() is code
    assert await is_served(running)


@pytest.mark.parametrize(
    ("flood", "code"),
    [
        (frames.frame(frames.PING, 0, 0, b"8 bytes!"), ErrorCode.ENHANCE_YOUR_CALM),
        (frames.settings({}), ErrorCode.ENHANCE_YOUR_CALM),
        (frames.frame(frames.PRIORITY, 0, 1, b"\0\0\0\0\0"), ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
async def test_a_flood_of_idle_frames_ends_the_connection(
    running: Running, flood: bytes, code: ErrorCode
) -> None:
    peer = await running.connect()
    peer.send(flood * (FEW.misuse_burst + 10))
    assert await peer.goaway() is code


async def test_a_flood_of_resets_ends_the_connection_and_leaves_no_call(running: Running) -> None:
    peer = await running.connect()
    for number in range(1, 4 * FEW.misuse_burst, 2):
        peer.call(number, b"x", "/test.Echo/Wait")
        peer.send(frames.reset(number, ErrorCode.CANCEL))
    assert await peer.goaway() is ErrorCode.ENHANCE_YOUR_CALM
    assert await is_served(running)
    assert running.echo.waiting == 0


async def test_endless_header_blocks_end_the_connection(running: Running) -> None:
    peer = await running.connect()
    peer.send(frames.frame(frames.HEADERS, 0, 1, b"\0" * 1000))
    peer.send(frames.frame(frames.CONTINUATION, 0, 1, b"\0" * 16000) * 10)
    assert await peer.goaway() is ErrorCode.ENHANCE_YOUR_CALM


async def test_a_header_list_that_unpacks_to_megabytes_ends_the_connection(
    running: Running,
) -> None:
    peer = await running.connect()
    peer.call(1, b"before")
    entry = peer.encoder.encode([("x-large", "v" * 3900)])
    peer.send(frames.frame(frames.HEADERS, 4, 3, entry + b"\xbe" * 10000))
    while (frame := await peer.frame()).kind != frames.GOAWAY:
        pass
    last_stream, code = frames.PAIR.unpack_from(frame.payload)
    assert code == ErrorCode.ENHANCE_YOUR_CALM
    assert last_stream == 3  # a client would send what is beyond once more, on a new connection


async def test_other_protocols_are_disconnected(running: Running) -> None:
    peer = await running.socket()
    peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert frames.PREFACE not in await peer.closed()
    assert await is_served(running)


async def test_a_silent_connection_is_closed(running: Running) -> None:
    await (await running.socket()).closed()


async def known(running: Running, count: int) -> list[Peer]:
    """Connections on which a call was answered, so that the server knows each of them."""
    peers = [await running.connect() for _ in range(count)]
    for peer in peers:
        peer.call(1, b"hello")
        assert (await peer.answer(1)).data == prefixed(b"hello")
    return peers


async def test_a_new_connection_is_served_and_the_longest_idle_one_closed(
    running: Running,
) -> None:
    peers = await known(running, FEW.connections)
    peers[0].call(3, b"not idle that long any more")
    assert (await peers[0].answer(3)).headers["grpc-status"] == "0"
    assert await is_served(running)
    assert await peers[1].goaway() is ErrorCode.NO_ERROR
    for peer in (peers[0], peers[2]):
        peer.call(5, b"still served")
        assert (await peer.answer(5)).data == prefixed(b"still served")


async def test_connections_with_calls_are_not_closed_for_new_ones(running: Running) -> None:
    peers = [await running.connect() for _ in range(FEW.connections)]
    for peer in peers:
        peer.call(1, b"x", "/test.Echo/Wait")
    await until(lambda: running.echo.waiting == FEW.connections)
    assert await (await running.connect()).closed() == b""
    running.echo.open.set()
    for peer in peers:
        assert (await peer.answer(1)).data == prefixed(b"x")


async def test_half_sent_calls_do_not_keep_others_out(running: Running) -> None:
    """Calls count when their request is complete; of the incomplete ones the stillest go."""
    half = prefixed(b"x" * 1000)[:300]
    oldest = await running.connect()
    oldest.begin(1)
    oldest.send(frames.body(1, half))
    await until(lambda: running.server.server.admission.held > 0)
    for peer in [await running.connect() for _ in range(3)]:
        for number in range(1, 2 * FEW.streams, 2):
            peer.begin(number)
            peer.send(frames.body(number, half))
    answer = await oldest.answer(1)
    assert answer.headers["grpc-status"] == "8"
    assert "waited longest" in answer.headers["grpc-message"]
    assert await is_served(running)


async def test_streams_beyond_the_limit_are_refused_and_may_be_retried(running: Running) -> None:
    peer = await running.connect()
    for number in range(1, 2 * FEW.streams + 1, 2):
        peer.call(number, b"x", "/test.Echo/Wait")
    extra = 2 * FEW.streams + 1
    peer.call(extra, b"one too many")
    assert (await peer.answer(extra)).reset == ErrorCode.REFUSED_STREAM
    running.echo.open.set()
    assert (await peer.answer(1)).data == prefixed(b"x")


async def test_a_client_of_far_too_many_streams_is_cut_off(running: Running) -> None:
    peer = await running.connect()
    for number in range(1, 8 * FEW.streams, 2):
        peer.begin(number, "/test.Echo/Wait")
    assert await peer.goaway() is ErrorCode.PROTOCOL_ERROR
    assert await is_served(running)


async def test_calls_beyond_the_limit_of_all_connections_are_refused(running: Running) -> None:
    peers = [await running.connect() for _ in range(4)]
    for peer in peers[:3]:
        for number in range(1, 2 * FEW.streams, 2):
            peer.call(number, b"x", "/test.Echo/Wait")
    while running.echo.waiting < FEW.calls:
        await asyncio.sleep(0)
    peers[3].call(1, b"one too many")
    assert (await peers[3].answer(1)).headers["grpc-status"] == "8"
    peers[0].writer.transport.abort()
    async with asyncio.timeout(SECONDS):
        while running.echo.waiting > FEW.calls - FEW.streams:
            await asyncio.sleep(0)
    peers[3].call(3, b"room again")
    assert (await peers[3].answer(3)).data == prefixed(b"room again")


async def test_a_client_that_hangs_up_cancels_its_calls(running: Running) -> None:
    peer = await running.connect()
    peer.call(1, b"x", "/test.Echo/Wait")
    while not running.echo.waiting:
        await asyncio.sleep(0)
    peer.writer.transport.abort()
    async with asyncio.timeout(SECONDS):
        while not running.echo.cancelled:
            await asyncio.sleep(0)
    assert running.echo.waiting == 0


async def test_an_answer_that_is_not_taken_is_dropped_in_time_and_its_memory_with_it(
    running: Running,
) -> None:
    peer = await running.connect({Setting.INITIAL_WINDOW_SIZE: 10})
    message = b"x" * 60000
    peer.call(1, message)
    assert await is_served(running)
    answer = await peer.answer(1)
    assert answer.data == prefixed(message)[:10]
    assert answer.reset == ErrorCode.CANCEL
    assert running.server.server.admission.held == 0


async def test_a_request_that_stops_half_way_is_dropped_in_time(running: Running) -> None:
    peer = await running.connect()
    peer.begin(1)
    peer.send(frames.body(1, prefixed(b"x" * 1000)[:300]))
    assert (await peer.answer(1)).reset == ErrorCode.CANCEL
    assert running.server.server.admission.held == 0


async def test_memory_for_half_sent_requests_is_bounded(running: Running) -> None:
    limits, size = running.server.server.limits, 900_000
    peers = [await running.connect() for _ in range(8)]
    answers = []
    for peer in peers:
        peer.begin(1)
        peer.send(frames.body(1, prefixed(b"x" * (size + 1))[: size + 5]))
        answers.append(asyncio.create_task(peer.answer(1)))
    enough = len(peers) - limits.held_bytes // size
    pending, refused = set(answers), 0
    while refused < enough:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        refused += sum(task.result().headers.get("grpc-status") == "8" for task in done)
    assert running.server.server.admission.held <= limits.held_bytes
    for task in pending:
        task.cancel()
    assert await is_served(running)


async def test_random_bytes_never_stop_the_server(running: Running) -> None:
    dice = random.Random(4)
    kinds = [*range(10), 77]
    for _ in range(60):
        peer = await running.connect()
        for _ in range(dice.randrange(1, 12)):
            payload = dice.randbytes(dice.randrange(40))
            flags, number = dice.randrange(256), dice.choice([0, 1, 1, 3, 2, 1 << 30])
            peer.send(frames.frame(dice.choice(kinds), flags, number, payload))
        peer.send(dice.randbytes(dice.randrange(30)))
        peer.writer.close()
    assert await is_served(running)
    assert running.server.server.admission.held == 0
