"""Who holds the most pays when memory is short; neighbours are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import http2_frames as frames
from http2_frames import Setting
from latens_serving.transports.http2.limits import Limits
from raw_http2 import Running, prefixed, say, start
from toy_engine import until

LIMITS = Limits(message_bytes=4 << 20, held_bytes=12 << 20, stall_seconds=600.0)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = await start(LIMITS)
    yield running
    await running.stop()
    assert running.server.server.admission.held == 0


async def test_a_connection_that_takes_no_answers_pays_and_not_its_neighbours(
    running: Running,
) -> None:
    neighbour = await running.connect({Setting.INITIAL_WINDOW_SIZE: 0})
    neighbour.call(1, bytes(1 << 20))
    greedy = await running.connect({Setting.INITIAL_WINDOW_SIZE: 0})
    for number in range(1, 31, 2):
        greedy.call(number, bytes(1 << 20))
    while (frame := await greedy.frame()).kind != frames.RST_STREAM:
        pass
    assert frame.payload[3] == frames.ErrorCode.ENHANCE_YOUR_CALM
    assert await say(running.address, bytes(1 << 20)) == bytes(1 << 20)
    neighbour.send(frames.window_update(1, 2 << 20) + frames.window_update(0, 2 << 20))
    assert (await neighbour.answer(1)).data == prefixed(bytes(1 << 20))


async def test_a_connection_of_many_half_sent_requests_pays_and_not_its_neighbours(
    running: Running,
) -> None:
    neighbour = await running.connect({Setting.INITIAL_WINDOW_SIZE: 4 << 20})
    neighbour.send(frames.window_update(0, 4 << 20))
    greedy = await running.connect()
    whole = prefixed(bytes(3 << 20))
    neighbour.begin(1)
    neighbour.send(frames.body(1, whole[: 2 << 20]))
    await until(lambda: running.server.server.admission.held > 1 << 20)
    for number in (1, 3, 5, 7, 9):
        greedy.begin(number)
        greedy.send(frames.body(number, whole[:-1]))
    while (frame := await greedy.frame()).kind != frames.HEADERS:
        pass
    fields: Any = greedy.decoder.decode(frame.payload)
    assert ("grpc-status", "8") in fields
    neighbour.send(frames.body(1, whole[2 << 20 :], frames.END_STREAM))
    answer = await neighbour.answer(1)
    assert (answer.headers["grpc-status"], answer.data == whole) == ("0", True)
