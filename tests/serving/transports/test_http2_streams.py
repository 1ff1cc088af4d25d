"""Calls of several messages on the HTTP/2 front end: order, limits, backpressure, every end."""

from __future__ import annotations

import asyncio
import gzip
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

import http2_frames as frames
from http2_frames import ErrorCode, Setting
from latens_serving.transports.http2.limits import STREAM_WINDOW, Limits
from raw_http2 import SECONDS, Answer, Peer, Running, prefixed, start
from toy_engine import until

CHAT, HEED, JOIN = "/test.Echo/Chat", "/test.Echo/Heed", "/test.Echo/Join"
LIMITS = Limits(message_bytes=6 << 20, held_bytes=16 << 20, stall_seconds=1.5)
OPTIONS = [("grpc.max_receive_message_length", -1)]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = await start(LIMITS)
    yield running
    assert running.server.server.admission.held == 0
    assert running.server.server.admission.calls == 0
    await running.stop()


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(running.address, OPTIONS) as channel:
        yield channel


async def has_ended(running: Running) -> None:
    """The server may be a turn behind its client."""
    await until(lambda: not running.server.server.admission.calls)


async def chat(channel: grpc.aio.Channel, messages: list[bytes], path: str = CHAT) -> list[bytes]:
    method: Any = channel.stream_stream(path)
    return [answer async for answer in method(iter(messages), timeout=SECONDS)]


MESSAGES = [b"", b"a", b"", b"b" * 70_000, b"c" * (5 << 20), b"d"]


async def test_messages_of_all_sizes_are_answered_in_their_order(
    running: Running, channel: grpc.aio.Channel
) -> None:
    assert await chat(channel, MESSAGES) == MESSAGES
    assert await chat(channel, []) == []
    joined: Any = channel.stream_unary(JOIN)
    assert await joined(iter(MESSAGES), timeout=SECONDS) == b"".join(MESSAGES)
    await has_ended(running)


async def test_an_answer_may_decide_the_next_request(
    running: Running, channel: grpc.aio.Channel
) -> None:
    call: Any = channel.stream_stream(CHAT)(timeout=SECONDS)
    said = b"x"
    for _ in range(20):
        await call.write(said)
        heard = await call.read()
        assert heard == said
        said = heard + b"y"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    await has_ended(running)


async def test_messages_may_be_cut_anywhere_and_compressed(running: Running) -> None:
    peer = await running.connect()
    peer.begin(1, CHAT, grpc_encoding="gzip")
    packed = gzip.compress(b"small" * 100)
    body = prefixed(b"first") + struct.pack(">BI", 1, len(packed)) + packed + prefixed(b"")
    for place, byte in enumerate(body):
        last = frames.END_STREAM if place == len(body) - 1 else 0
        peer.send(frames.body(1, bytes([byte]), last))
    answer = await peer.answer(1)
    assert answer.data == prefixed(b"first") + prefixed(b"small" * 100) + prefixed(b"")
    assert answer.headers["grpc-status"] == "0"


async def end_of(peer: Peer, body: bytes, flags: int = 0, **head: str) -> Answer:
    peer.begin(1, CHAT, **head)
    peer.send(frames.body(1, body, flags))
    return await peer.answer(1)


BROKEN = {
    "a message above the limit": (struct.pack(">BI", 0, 7 << 20), 0, "8"),
    "an end within a message": (prefixed(b"abc")[:-1], frames.END_STREAM, "13"),
    "an end within a prefix": (b"\0\0", frames.END_STREAM, "13"),
    "compression that was not announced": (struct.pack(">BI", 1, 1) + b"x", 0, "13"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_what_is_no_message_ends_the_call_with_its_status(
    running: Running, fault: str
) -> None:
    body, flags, code = BROKEN[fault]
    good = prefixed(b"good")
    answer = await end_of(await running.connect(), good + body, flags)
    assert answer.headers["grpc-status"] == code
    assert answer.data == good
    await has_ended(running)


async def test_a_handler_that_does_not_read_stops_its_client(running: Running) -> None:
    peer = await running.connect()
    peer.begin(1, HEED)
    message = prefixed(b"m" * (1 << 20))
    sent = 0
    while sent + len(message) <= STREAM_WINDOW:
        peer.send(frames.body(1, message[: 1 << 20]))
        peer.send(frames.body(1, message[1 << 20 :]))
        sent += len(message)
    peer.send(frames.frame(frames.PING, 0, 0, b"in order"))
    room = 0
    while (frame := await peer.frame()).kind != frames.PING:
        if frame.kind == frames.WINDOW_UPDATE and frame.stream == 1:
            room += struct.unpack(">I", frame.payload)[0]
    assert room <= STREAM_WINDOW // 2  # what came before half a window was full
    running.echo.open.set()
    while room < sent - STREAM_WINDOW // 2:
        frame = await peer.frame()
        if frame.kind == frames.WINDOW_UPDATE and frame.stream == 1:
            room += struct.unpack(">I", frame.payload)[0]
    peer.send(frames.reset(1, ErrorCode.CANCEL))
    await has_ended(running)


async def test_a_client_that_takes_no_answers_stops_the_handler(running: Running) -> None:
    peer = await running.connect({Setting.INITIAL_WINDOW_SIZE: 0})
    peer.begin(1, CHAT)
    for _ in range(4):
        peer.send(frames.body(1, prefixed(b"m" * 1_000_000)))
    answer = await peer.answer(1)  # nothing moved for a while
    assert answer.reset == ErrorCode.CANCEL
    assert answer.data == b""
    await has_ended(running)


async def test_a_message_that_stops_half_way_ends_the_call_but_a_pause_between_two_does_not(
    running: Running,
) -> None:
    patient, halting = await running.connect(), await running.connect()
    patient.begin(1, CHAT)
    patient.send(frames.body(1, prefixed(b"one")))
    halting.begin(1, CHAT)
    halting.send(frames.body(1, prefixed(b"one")[:-1]))
    assert (await halting.answer(1)).reset == ErrorCode.CANCEL
    patient.send(frames.body(1, prefixed(b"two"), frames.END_STREAM))
    answer = await patient.answer(1)
    assert answer.data == prefixed(b"one") + prefixed(b"two")
    assert answer.headers["grpc-status"] == "0"


async def test_headers_after_the_end_of_a_request_end_the_connection(running: Running) -> None:
    peer = await running.connect()
    peer.begin(1, HEED)
    peer.send(frames.body(1, prefixed(b"all"), frames.END_STREAM))
    await until(lambda: running.echo.waiting == 1)
    peer.send(frames.frame(frames.HEADERS, 5, 1, peer.block(HEED)))
    assert await peer.goaway() is ErrorCode.STREAM_CLOSED
    await has_ended(running)


async def test_a_deadline_a_cancel_and_a_hang_up_each_cancel_the_handler(
    running: Running, channel: grpc.aio.Channel
) -> None:
    late: Any = channel.stream_stream(HEED)(timeout=0.05)
    assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: running.echo.cancelled == 1)
    left: Any = channel.stream_stream(HEED)(timeout=SECONDS)
    await until(lambda: running.echo.waiting == 1)
    left.cancel()
    await until(lambda: running.echo.cancelled == 2)
    peer = await running.connect()
    peer.begin(1, HEED)
    await until(lambda: running.echo.waiting == 1)
    peer.writer.close()
    await until(lambda: running.echo.cancelled == 3)
    await has_ended(running)


async def test_stopping_lets_a_conversation_end(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        call: Any = channel.stream_stream(CHAT)(timeout=SECONDS)
        await call.write(b"before")
        assert await call.read() == b"before"
        stopping = asyncio.create_task(running.server.stop(SECONDS))
        await call.write(b"after")
        assert await call.read() == b"after"
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await stopping


async def test_memory_for_what_no_handler_reads_is_bounded(running: Running) -> None:
    peers = [await running.connect() for _ in range(8)]
    answers = []
    for peer in peers:
        peer.begin(1, HEED)
        for _ in range(4):
            peer.send(frames.body(1, bytes(1_000_000)))
        answers.append(asyncio.create_task(peer.answer(1)))
    done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    assert all(task.result().headers["grpc-status"] == "8" for task in done)
    assert running.server.server.admission.held <= LIMITS.held_bytes
    for peer, task in zip(peers, answers, strict=True):
        task.cancel()
        peer.writer.close()
    await has_ended(running)


async def test_a_begun_answer_that_is_given_up_for_memory_has_one_status_line(
    running: Running,
) -> None:
    """It is reset: trailers after headers cannot carry a second `:status`."""
    peers = [await running.connect({Setting.INITIAL_WINDOW_SIZE: 100}) for _ in range(8)]
    for peer in peers:
        peer.begin(1, CHAT)
        peer.send(frames.body(1, prefixed(b"small")))
        while (await peer.frame()).kind != frames.DATA:
            pass
    answers = []
    for peer in peers:
        peer.send(frames.body(1, b"".join(prefixed(bytes(1_000_000)) for _ in range(4))))
        answers.append(asyncio.create_task(peer.answer(1)))
    done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        assert task.result().headers == {}
        assert task.result().reset == ErrorCode.ENHANCE_YOUR_CALM
    assert running.server.server.admission.held <= LIMITS.held_bytes
    for peer, task in zip(peers, answers, strict=True):
        task.cancel()
        peer.writer.close()
    await has_ended(running)
