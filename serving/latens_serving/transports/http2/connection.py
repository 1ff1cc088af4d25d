"""One client's socket: bytes in and out, and the connection's share of each turn of the loop."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from typing import Protocol, cast

import ngh2

from latens_serving.transports.http2.calls import Calls, Directory
from latens_serving.transports.http2.limits import (
    ANSWERS_BYTES,
    INPUT_BYTES,
    LARGEST_SLICE,
    OUTPUT_BYTES,
    SMALLEST_SLICE,
    TURN_EVENTS,
)
from latens_serving.transports.http2.session import Session
from latens_serving.transports.http2.stream import Stream

log = logging.getLogger(__name__)


class Registry(Directory, Protocol):
    """What a connection asks of its server."""

    def disconnected(self, connection: Connection) -> None:
        """A connection was lost."""


class Connection(asyncio.Protocol):
    """The byte stream of one client."""

    def __init__(self, server: Registry) -> None:
        self.peer = ""
        self.held = 0
        self.session = Session(server.limits)
        self.calls = Calls(self, server)
        self.transport: asyncio.Transport | None = None
        self.received = 0
        """Bytes, since it was opened."""
        self.is_ended = False
        self.is_paused = False
        """Whether the socket takes no more for now."""
        self._server = server
        self._admission = server.admission
        self._input: deque[memoryview] = deque()
        self._slice = SMALLEST_SLICE  # grows while frames are large
        self._is_parsing = False
        self._is_behind = False  # whether the next turn goes on with the input
        self._flush_due = False
        self._writers: list[asyncio.Future[None]] = []
        self._call_soon = asyncio.get_running_loop().call_soon

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        secure: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        is_http2 = secure is None or secure.selected_alpn_protocol() == "h2"
        if not is_http2 or not self._admission.enter(self):
            self.abort()
            return
        self.peer = str(transport.get_extra_info("peername"))
        self.transport.set_write_buffer_limits(high=OUTPUT_BYTES)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_ended = True
        self._release()
        self._server.disconnected(self)
        del self.calls  # they refer to this: without the cycle, both are free at once

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._is_behind or len(data) > self._slice:
            self._input.append(memoryview(data))
            if not self._is_behind:
                self._take_turn()
            return
        self._is_parsing = True
        self._parse(data)
        self._end_turn()

    def pause_writing(self) -> None:
        self.is_paused = True
        self._set_reading()

    def resume_writing(self) -> None:
        self.is_paused = False
        self._set_reading()
        self.flush()

    def queued(self, stream: Stream) -> None:
        """A stream has queued something for the client."""
        if not stream.is_open:
            if stream.is_uploading:
                self.calls.answered_early(stream)
            if stream.counted > ANSWERS_BYTES:
                self.calls.forget_body(stream)
        if self._is_parsing or self._flush_due:
            return  # the turn ends with a flush
        if len(self.calls.streams) == 1:  # no other answer is to come that could share the write
            self.flush()
        else:
            self.flush_soon()

    async def room(self, stream: Stream) -> None:
        """Waits while the client is behind with reading."""
        while stream.is_open and (self.is_paused or self.session.queued(stream.id) > ANSWERS_BYTES):
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer

    def flush_soon(self) -> None:
        """Writes what is ready, at the end of this turn."""
        if not self._flush_due:
            self._flush_due = True
            self._call_soon(self.flush)

    def flush(self) -> None:
        """Writes what is ready, up to this turn's share."""
        self._flush_due = False
        transport = self.transport
        if self.is_ended or self.is_paused or transport is None or transport.is_closing():
            return
        output, events = self.session.output(OUTPUT_BYTES)
        if output:
            transport.write(output)
        if events:
            self.calls.handle(events)
        if self.calls.early:
            self.calls.stop_uploads()
        if len(output) == OUTPUT_BYTES:
            self.flush_soon()
        if self._writers:
            self._wake_writers()
        self.recount()
        if self.session.is_over:
            self._finish()

    def recount(self) -> None:
        """Notes what the connection holds now."""
        if not self.is_ended and self.transport is not None:
            unsent = self.session.queued() + self.transport.get_write_buffer_size()
            held = self.calls.bodies + unsent
            if held != self.held:
                self._admission.charge(self, held)

    def shed(self) -> bool:
        """Gives up the call that holds the most; False if nothing can be given up."""
        if self.is_paused:
            self.abort()
            return True
        if not self.calls.shed():
            return False
        self.flush()
        return True

    def end(self) -> None:
        """Closes, once what was written is sent; cancels what runs."""
        if not self.is_ended:
            self.session.terminate(ngh2.ErrorCode.NO_ERROR)
            self._finish()

    def abort(self) -> None:
        """Closes at once."""
        self.is_ended = True
        self._release()
        if self.transport is not None:
            self.transport.abort()

    def _take_turn(self) -> None:
        """Parses what came, up to this turn's share; the rest waits for the next turn."""
        if self.is_ended:
            return
        self._is_behind, self._is_parsing = False, True
        room, events = INPUT_BYTES, 0
        while self._input and room > 0 and events < TURN_EVENTS and not self.session.is_over:
            data = self._input.popleft()
            if len(data) > self._slice:
                self._input.appendleft(data[self._slice :])
                data = data[: self._slice]
            room -= len(data)
            events += self._parse(data)
        if self._input and not self.session.is_over:
            self._is_behind = True
            self._call_soon(self._take_turn)
        self._set_reading()
        self._end_turn()

    def _end_turn(self) -> None:
        self._is_parsing = False
        if self.calls.begun:
            self.calls.end_turn()
        if self.session.has_output or self.calls.early:
            self.flush()
        else:  # most requests are answered in a later turn
            self.recount()

    def _parse(self, data: bytes | memoryview) -> int:
        """Parses bytes; returns how many events they made."""
        events = self.session.receive(data)
        self.calls.handle(events)
        count = len(events)
        # Many small frames cost more than their bytes say: they get fewer bytes per turn.
        if count > TURN_EVENTS:
            self._slice = max(self._slice // 4, SMALLEST_SLICE)
        elif count < TURN_EVENTS // 4 and self._slice < LARGEST_SLICE:
            self._slice *= 2
        return count

    def _set_reading(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self.is_paused or self._is_behind:
            transport.pause_reading()
        elif not transport.is_reading():
            transport.resume_reading()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    def _finish(self) -> None:
        """Sends the last words of the session, and closes."""
        self.is_ended = True
        if self.session.failure:
            facts = {"peer": self.peer, "reason": self.session.failure}
            log.info("connection ended", extra={"facts": facts})
        output, _ = self.session.output(OUTPUT_BYTES)
        self._release()
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(output)
            transport.close()

    def _release(self) -> None:
        self._input.clear()
        self.session.terminate(ngh2.ErrorCode.NO_ERROR)  # frees what is queued
        self.calls.close()
        self._wake_writers()
        self._admission.leave(self)
