"""How long a client may stay: silence, standstill, idleness and age."""

from __future__ import annotations

import time

import ngh2

from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.http2.stream import Stream
from latens_serving.transports.http2.trailers import DEADLINE_EXCEEDED, Status

_LATE = Status(DEADLINE_EXCEEDED, "the deadline passed")


class Lifetime:
    """Watches one connection. Times are those of the event loop's clock."""

    def __init__(self, connection: Connection, limits: Limits, now: float) -> None:
        self._connection = connection
        self._limits = limits
        self._born = now
        self._heard = now
        self._received = 0
        self._busy = now  # when it last had a call
        self._leaving = 0.0  # when it was asked to go
        self._unsent = 0  # at the last look, while the socket took no more
        self._stuck_since = now

    def look(self, now: float) -> None:
        """Called every second: ends a client that has been silent, stuck or here for too long."""
        connection = self._connection
        if self._is_stuck(now):
            connection.abort()
        elif connection.is_ended:
            return  # closed, but the client does not take the rest
        elif not connection.calls.is_settled:
            if now - self._born > self._limits.handshake_seconds:
                connection.abort()
        else:
            for stream in list(connection.calls.streams.values()):
                self._look_at_stream(stream)
            self._look_at_age(now)
            self._look_at_silence(now)
            connection.flush()

    def leave(self, now: float) -> None:
        """Asks the client to go; its calls are finished, and so are those on their way."""
        if not self._leaving:
            self._leaving = now
            self._connection.session.announce_end()

    def _is_stuck(self, now: float) -> bool:
        connection = self._connection
        transport = connection.transport
        unsent = 0 if transport is None else transport.get_write_buffer_size()
        is_full = connection.is_paused or connection.is_ended
        if not unsent or unsent != self._unsent or not is_full:
            self._unsent, self._stuck_since = unsent, now
        return now - self._stuck_since > self._limits.stall_seconds

    def _look_at_stream(self, stream: Stream) -> None:
        """Gives up on a stream in which nothing moves any more."""
        connection = self._connection
        queued = connection.session.queued(stream.id)
        is_late = stream.deadline is not None and stream.deadline < time.monotonic()
        if not stream.is_started and is_late:
            stream.refuse(_LATE)
            return
        seen = (stream.received, queued)
        if seen != stream.seen:
            stream.seen, stream.still = seen, 0
        elif queued or (stream.is_uploading and stream.body.is_awaited):
            stream.still += 1
            if stream.still > self._limits.stall_seconds:
                connection.session.reset(stream.id, ngh2.ErrorCode.CANCEL)

    def _look_at_age(self, now: float) -> None:
        connection, limits = self._connection, self._limits
        if connection.calls.streams:
            self._busy = now
        elif self._leaving:
            connection.end()
            return
        is_idle = now - self._busy > limits.idle_seconds
        if not self._leaving and (is_idle or now - self._born > limits.age_seconds):
            self.leave(now)
        elif self._leaving and now - self._leaving > limits.age_grace_seconds:
            connection.end()
        elif self._leaving and now > self._leaving:
            # A moment later, so that calls on their way were still taken.
            connection.session.refuse_more()

    def _look_at_silence(self, now: float) -> None:
        connection, limits = self._connection, self._limits
        if connection.received != self._received:
            self._received, self._heard = connection.received, now
        silent = now - self._heard
        if silent > 2 * limits.ping_seconds and connection.calls.is_pinged:
            connection.abort()
        elif silent > limits.ping_seconds and not connection.calls.is_pinged:
            connection.calls.is_pinged = True
            connection.session.ping()
