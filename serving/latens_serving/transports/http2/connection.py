"""One client's socket: bytes in, cut into frames; and how long the client may stay."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import cast

from latens_serving.transports.http2 import frames
from latens_serving.transports.http2.application import Application
from latens_serving.transports.http2.frames import (
    DATA,
    HEAD,
    HEADER_SIZE,
    PADDED,
    PREFACE,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from latens_serving.transports.http2.limits import (
    CONNECTION_WINDOW,
    CONTROL_FRAME_BYTES,
    FRAME_BYTES,
    PAUSE_BYTES,
    STREAM_WINDOW,
    Limits,
)
from latens_serving.transports.http2.session import Session

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """The byte stream of one client, and its session."""

    def __init__(self, application: Application, connections: set[Connection], now: float) -> None:
        """Makes one; `connections` is where it stands while it lives."""
        self.session = Session(application)
        self.transport: asyncio.Transport | None = None
        self._limits = application.limits
        self._all = connections
        self._tail = b""
        self._left = 0  # bytes to come of a DATA frame whose beginning was handed on
        self._left_of = (0, 0)  # its flags and stream
        self._greeted = False
        self._ended = False
        self._born = now
        self._heard = now
        self._busy = now  # when it last had a call
        self._leaving = 0.0  # when it was asked to go
        self._stuck_at = 0  # unsent bytes at the last look, while the socket takes no more
        self._stuck_since = 0.0
        self._paused = False
        self._got_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._all.add(self)
        if len(self._all) > self._limits.connections:
            self.transport.abort()
            return
        secure: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secure is not None and secure.selected_alpn_protocol() != "h2":
            self.transport.abort()
            return
        self.session.peer = str(transport.get_extra_info("peername"))
        self.transport.set_write_buffer_limits(high=PAUSE_BYTES)
        out = self.session.out
        out.attach(self.transport)
        out.send(_greeting(self._limits))

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._got_data = True
        if self._tail:
            data = self._tail + data
            self._tail = b""
        try:
            position = self._feed(data, 0 if self._greeted else self._greet(data))
        except ConnectionFault as fault:
            self._fail(fault)
        else:
            if position < len(data):
                self._tail = data[position:]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._ended = True
        self._all.discard(self)
        self.session.close()

    def pause_writing(self) -> None:
        """The client does not take its answers: nothing more is read from it until it does."""
        self._paused = True
        self.session.out.pause()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self.session.out.resume()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def leave(self, now: float) -> None:
        """Asks the client to go; its calls are finished, and so are those on their way."""
        if not self._leaving and not self._ended:
            self._leaving = now
            self.session.out.send(frames.goaway(frames.LARGEST_STREAM, ErrorCode.NO_ERROR))

    def refuse_more(self) -> None:
        """Serves what came so far and nothing else; the client may safely retry the rest."""
        session = self.session
        if not session.refusing and not self._ended:
            session.refusing = True
            session.out.send(frames.goaway(session.last_stream, ErrorCode.NO_ERROR))

    def end(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Closes, once what was written has left; cancels what runs."""
        if self._ended or self.transport is None:
            return
        self._ended = True
        self.session.close()
        self.session.out.send(frames.goaway(self.session.last_stream, code, text))
        self.session.out.flush()
        self.transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self._ended = True
        if self.transport is not None:
            self.transport.abort()

    def look(self, now: float) -> None:
        """Called every second: ends a client that has been silent, stuck or here for too long."""
        if self._ended:  # closed, but the client does not take the rest
            self._abort_if_stuck(now)
            return
        if self._got_data:
            self._heard, self._got_data = now, False
        limits = self._limits
        if not self.session.control.settled:
            if now - self._born > limits.handshake_seconds:
                self.abort()
            return
        self._abort_if_stuck(now)
        self.session.look(limits.stall_seconds)
        self._look_at_age(now, limits)
        silent = now - self._heard
        if silent > 2 * limits.ping_seconds and self.session.control.pinged:
            self.abort()
        elif silent > limits.ping_seconds and not self.session.control.pinged:
            self.session.control.ping()

    def _look_at_age(self, now: float, limits: Limits) -> None:
        if self.session.streams:
            self._busy = now
        elif self._leaving or self.session.control.client_leaves:
            self.end()
            return
        idle = now - self._busy > limits.idle_seconds
        if not self._leaving and (idle or now - self._born > limits.age_seconds):
            self.leave(now)
        elif self._leaving and now - self._leaving > limits.age_grace_seconds:
            self.end()
        elif self._leaving and now > self._leaving:
            self.refuse_more()  # a moment later, so that calls on their way were still taken

    def _abort_if_stuck(self, now: float) -> None:
        transport = self.transport
        unsent = 0 if transport is None else transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._stuck_at or not (self._paused or self._ended):
            self._stuck_at, self._stuck_since = unsent, now
        elif now - self._stuck_since > self._limits.stall_seconds:
            self.abort()

    def _greet(self, data: bytes) -> int:
        """Takes the preface; returns where frames begin."""
        if not data.startswith(PREFACE[: len(data)]):
            self.abort()  # not HTTP/2: nothing we could say would be understood
            return len(data)
        if len(data) < len(PREFACE):
            return 0
        self._greeted = True
        return len(PREFACE)

    def _feed(self, data: bytes, position: int) -> int:
        """Hands on every frame in `data`; returns where the first incomplete one begins."""
        if not self._greeted:
            return position
        end = len(data)
        session = self.session
        if self._left:
            position = self._go_on(data, end)
        while end - position >= HEADER_SIZE:
            sized, flags, number = HEAD.unpack_from(data, position)
            start = position + HEADER_SIZE
            stop = start + (sized >> 8)
            kind = sized & 0xFF
            try:
                if kind != DATA:
                    if stop > end:
                        _check_length(stop - start, CONTROL_FRAME_BYTES)
                        break
                    session.frame(kind, flags, number & frames.LARGEST_STREAM, data[start:stop])
                elif stop <= end:
                    session.data(flags, number, data, start, stop)
                else:
                    _check_length(stop - start, FRAME_BYTES)
                    if start == end or flags & PADDED:
                        break  # padding ends a frame, so such a one is awaited whole
                    self._left, self._left_of = stop - end, (flags, number)
                    session.data(0, number, data, start, end)
                    return end
            except StreamFault as fault:
                session.reset(fault.stream, fault.code)
            position = stop
        return position

    def _go_on(self, data: bytes, end: int) -> int:
        stop = min(self._left, end)
        self._left -= stop
        flags, number = self._left_of
        try:
            self.session.data(0 if self._left else flags, number, data, 0, stop)
        except StreamFault as fault:
            self.session.reset(fault.stream, fault.code)
        return stop

    def _fail(self, fault: ConnectionFault) -> None:
        facts = {"peer": self.session.peer, "code": fault.code.name, "reason": str(fault)}
        log.info("connection ended", extra={"facts": facts})
        self.end(fault.code, str(fault))


def _greeting(limits: Limits) -> bytes:
    """What a connection starts with."""
    settings = frames.settings(
        {
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
    )
    return settings + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too long")
