"""What a client of the fast front end may do, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one listener. Times are in seconds, sizes in bytes."""

    message_bytes: int = 64 << 20
    """The largest request message."""
    held_bytes: int = 512 << 20
    """Request messages not yet complete and answers not yet taken, all connections together."""
    header_bytes: int = 16 << 10
    """The largest header list of a call, as HTTP/2 counts it."""
    connections: int = 1000
    streams: int = 256
    """Calls at a time on one connection."""
    calls: int = 16384
    """Calls at a time in all."""
    handshake_seconds: float = 10.0
    """How long a client may take to begin HTTP/2."""
    stall_seconds: float = 30.0
    """How long a half-sent request or an answer that is not taken may stand still."""
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
    """And how many a second for as long as it likes."""


STREAM_WINDOW = 4 << 20
"""What a client may send of one message before it hears from us."""
CONNECTION_WINDOW = 32 << 20
FRAME_BYTES = 1 << 20
"""The largest DATA frame that we take. Its bytes are not gathered first, so it costs nothing."""
CONTROL_FRAME_BYTES = 64 << 10
"""The largest of any other kind: these are gathered."""
ANSWERS_BYTES = 1 << 20
"""Unsent bytes of a call above which a handler that answers with several messages waits."""
PAUSE_BYTES = 4 << 20
"""Unsent bytes of a connection above which we read no more from it."""


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


class Account:
    """What all connections of a listener hold for their clients: bytes, and open calls."""

    __slots__ = ("calls", "held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.calls = 0
        self.limit = limit
