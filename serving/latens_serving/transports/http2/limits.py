"""What clients may do, and how much memory they may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server. Times are in seconds, sizes in bytes."""

    message_bytes: int = 64 << 20
    """The largest request or answer message."""
    held_bytes: int = 512 << 20
    """Requests and unsent answers in memory, all connections together."""
    header_bytes: int = 16 << 10
    """The largest header list of a call, as HTTP/2 counts it."""
    connections: int = 1000
    streams: int = 256
    """Calls at a time per connection."""
    calls: int = 16384
    """Calls at a time in all whose request is complete; and as many whose request is not."""
    handshake_seconds: float = 10.0
    """How long a client may take to begin HTTP/2."""
    stall_seconds: float = 30.0
    """How long a half-sent request or an unread answer may make no progress."""
    idle_seconds: float = 300.0
    """How long a connection may be without a call."""
    age_seconds: float = 1800.0
    """After which a connection is asked to go, so that load balancers see it again."""
    age_grace_seconds: float = 60.0
    """What its calls then have to finish."""
    ping_seconds: float = 60.0
    """Silence after which the client is pinged, and as long again until it counts as gone."""
    misuse_burst: int = 1000
    """Resets, pings, settings and empty frames that a client may send at once."""
    misuse_rate: float = 100.0
    """And how many per second for as long as it likes."""


STREAM_WINDOW = 4 << 20
"""What a client may send of one request before the server has taken any of it."""
CONNECTION_WINDOW = 64 << 20
"""The same for all requests of a connection together."""
FRAME_BYTES = 64 << 10
"""The largest frame taken. A connection holds at most one that is incomplete."""
ANSWERS_BYTES = 1 << 20
"""Unsent bytes of a call above which a handler that streams answers waits."""
OUTPUT_BYTES = 1 << 20
"""What a connection may write per turn of the event loop, and have unsent in its socket."""
INPUT_BYTES = 256 << 10
"""What a connection may have parsed per turn of the event loop."""
LARGEST_SLICE = 64 << 10
"""Bytes parsed at once. The smallest frames in them take some 15 milliseconds."""
SMALLEST_SLICE = 2 << 10
"""Bytes parsed at once of a connection whose frames are small."""
TURN_EVENTS = 256
"""Frames after which a connection yields to the others, to go on in the next turn."""


class Bucket:
    """Tokens that come back with time (a token bucket); a client that runs out is misbehaving."""

    __slots__ = ("_burst", "_rate", "_since", "_tokens")

    def __init__(self, burst: int, rate: float, now: float) -> None:
        self._burst = float(burst)
        self._rate = rate
        self._tokens = float(burst)
        self._since = now

    def take(self, now: float) -> bool:
        """Takes a token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
