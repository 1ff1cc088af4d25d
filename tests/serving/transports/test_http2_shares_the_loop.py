"""A connection that floods the server gets its share of each turn of the event loop and no more."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import FrameType

import pytest
from hpack import Encoder

import http2_frames as frames
from floods import FLOODS
from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.http2.contract import Responder
from latens_serving.transports.http2.limits import TURN_EVENTS
from latens_serving.transports.http2.server import Server
from memory_transport import MemoryTransport, connect

READ_BYTES = 256 << 10  # what an event loop reads at once
FLOOD_BYTES = 2 << 20
# Calls of functions in one turn, Python's and C's. They are the same on every machine, however
# loaded. A flood makes 10,000 at most, in some 3 ms; a whole read of it would make over 100,000.
MOST_CALLS = 20_000


class Holding:
    """A handler that never answers."""

    takes_stream = False

    def start(self, call: Responder) -> None:
        del call


class Turns:
    """Counts the calls of functions that the connection makes in each turn."""

    def __init__(self, connection: Connection) -> None:
        self.most_calls = 0
        self._calls = 0
        self._connection = connection
        self._call_soon = asyncio.get_running_loop().call_soon
        connection._call_soon = self._later  # type: ignore[assignment]

    def run(self, work: Callable[..., object], *arguments: object) -> None:
        self._calls = 0
        sys.setprofile(self._count)
        try:
            work(*arguments)
        finally:
            sys.setprofile(None)
        self.most_calls = max(self.most_calls, self._calls)

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        if event.endswith("call"):
            self._calls += 1

    def _later(self, work: Callable[..., object], *arguments: object) -> object:
        return self._call_soon(self.run, work, *arguments)


def reads(pieces: Iterator[bytes]) -> list[bytes]:
    """A flood as the event loop hands it on."""
    sent = bytearray()
    for piece in islice(pieces, 20_000):
        sent += piece
        if len(sent) > FLOOD_BYTES:
            break
    return [bytes(sent[at : at + READ_BYTES]) for at in range(0, len(sent), READ_BYTES)]


async def passed_on(transport: MemoryTransport) -> None:
    """Waits until the connection reads again, as an event loop would."""
    await asyncio.sleep(0)
    while not (transport.is_read or transport.is_closed):
        await asyncio.sleep(0)


@pytest.mark.parametrize("case", FLOODS)
async def test_no_turn_of_a_flood_is_long(case: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)  # as a server logs; a line of it costs some hundred calls
    server = Server(lambda path: Holding())
    connection, transport = connect(server)
    turns, encoder = Turns(connection), Encoder()
    greeting = frames.PREFACE + frames.settings({}) + frames.frame(frames.SETTINGS, frames.ACK, 0)
    turns.run(connection.data_received, greeting)
    flood = FLOODS[case]
    for data in [flood.start(encoder), *reads(flood.more(encoder))]:
        if data and not transport.is_closed:
            turns.run(connection.data_received, data)
            await passed_on(transport)
    connection.connection_lost(None)
    assert turns.most_calls < MOST_CALLS
    assert len(caplog.records) < 3  # of one connection
    assert (server.admission.held, server.admission.calls) == (0, 0)


async def test_what_is_left_of_a_read_waits_for_the_next_turn() -> None:
    server = Server(lambda path: Holding())
    connection, transport = connect(server)
    connection.data_received(frames.PREFACE + frames.settings({}))
    transport.writes.clear()
    pings = 4 * TURN_EVENTS
    connection.data_received(frames.frame(frames.PING, 0, 0, bytes(8)) * pings)
    answered = len(b"".join(transport.writes)) // 17
    assert 0 < answered < pings
    assert not transport.is_read
    await passed_on(transport)
    assert len(b"".join(transport.writes)) // 17 > answered


async def test_a_connection_that_is_lost_in_mid_flood_is_left_alone() -> None:
    server = Server(lambda path: Holding())
    connection, _ = connect(server)
    connection.data_received(frames.PREFACE + frames.settings({}))
    connection.data_received(frames.window_update(0, 1) * 20_000)
    connection.connection_lost(None)
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    for _ in range(5):
        await asyncio.sleep(0)
    assert raised == []
