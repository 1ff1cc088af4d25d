"""Frames that are not about a request: settings, pings, windows, and the end of the connection."""

from __future__ import annotations

import time

from latens_serving.transports.http2 import frames
from latens_serving.transports.http2.frames import (
    ACK,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from latens_serving.transports.http2.inflow import Stream
from latens_serving.transports.http2.limits import Bucket, Limits
from latens_serving.transports.http2.outflow import Outflow


class Control:
    """Handlers of such frames. Each takes (flags, stream, payload)."""

    def __init__(self, out: Outflow, streams: dict[int, Stream], limits: Limits) -> None:
        self.settled = False
        """Whether the client's first SETTINGS came."""
        self.client_leaves = False
        self.pinged = False
        """Whether a ping of ours is unanswered."""
        self._out = out
        self._streams = streams
        self._bucket = Bucket(limits.misuse_burst, limits.misuse_rate, time.monotonic())
        self.handlers = {
            frames.PRIORITY: self._priority,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
        }

    def count_misuse(self) -> None:
        """Counts a frame that a client may send, but not all the time.

        Raises:
            ConnectionFault: it sent too many.
        """
        if not self._bucket.take(time.monotonic()):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many resets or idle frames")

    def ping(self) -> None:
        """Asks the client whether it is there."""
        self.pinged = True
        self._out.send(frames.frame(frames.PING, 0, 0, b"alive?  "))

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        del flags
        if number == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise StreamFault(number, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        self.count_misuse()

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        del flags, number, payload
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients do not push")

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        del flags, payload
        _check_connection_level(number)
        self.client_leaves = True

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        _check_connection_level(number)
        check_size(payload, 8)
        if flags & ACK:
            self.pinged = False
            return
        self.count_misuse()
        self._out.send(frames.frame(frames.PING, ACK, 0, payload))

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        _check_connection_level(number)
        if flags & ACK:
            check_size(payload, 0)
            return
        if len(payload) % frames.SETTING.size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if self.settled:
            self.count_misuse()
        self.settled = True
        for name, value in frames.SETTING.iter_unpack(payload):
            self._set(name, value)
        self._out.send(frames.frame(frames.SETTINGS, ACK, 0))

    def _set(self, name: int, value: int) -> None:
        if name == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window beyond 2^31-1")
            change = value - self._out.initial_window
            self._out.initial_window = value
            for stream in list(self._streams.values()):
                self._out.open_window(stream, change)
        elif name == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME <= value <= frames.LARGEST_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no such frame size")
            self._out.max_frame = value
        elif name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")


def check_size(payload: bytes, size: int) -> None:
    """Raises ConnectionFault for a frame of another size than its kind has."""
    if len(payload) != size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame of a wrong size")


def _check_connection_level(number: int) -> None:
    if number:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame that belongs to no stream")
