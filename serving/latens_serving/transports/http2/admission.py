"""Who may come in and how much all clients may hold together; who must go when it is too much."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.http2.stream import Stream
from latens_serving.transports.http2.trailers import RESOURCE_EXHAUSTED, Status

CROWDED = Status(RESOURCE_EXHAUSTED, "too many calls or bytes are under way")
SLOW = Status(RESOURCE_EXHAUSTED, "too many requests are incomplete, and this one waited longest")


class Member(Protocol):
    """A connection, as the admission sees it."""

    held: int
    """Bytes in memory for this client."""

    def end(self) -> None:
        """Closes it."""

    def shed(self) -> bool:
        """Gives up the call that holds the most; False if nothing can be given up."""
        ...


class Admission:
    """Counts the connections, calls and bytes of one server."""

    def __init__(self, limits: Limits) -> None:
        self.members: set[Member] = set()
        self.held = 0
        self.calls = 0
        """Calls whose handler runs or whose answer is not yet sent."""
        self._limits = limits
        # Both in the order of the last activity, the longest idle first.
        self._idle: OrderedDict[Member, None] = OrderedDict()
        self._incomplete: OrderedDict[Stream, None] = OrderedDict()
        self._became_idle = asyncio.Event()
        self._is_relieving = False

    def enter(self, member: Member) -> bool:
        """Takes in a connection; when there are too many, the one that is idle longest goes."""
        if len(self.members) >= self._limits.connections:
            if not self._idle:
                return False
            longest, _ = self._idle.popitem(last=False)
            longest.end()
        self.members.add(member)
        self._idle[member] = None
        return True

    def leave(self, member: Member) -> None:
        self.members.discard(member)
        self._idle.pop(member, None)
        self._became_idle.set()
        self.charge(member, 0)

    def busy(self, member: Member) -> None:
        """A connection has calls."""
        self._idle.pop(member, None)

    def idle(self, member: Member) -> None:
        """A connection has no more calls."""
        if member in self.members:
            self._idle[member] = None
        self._became_idle.set()

    async def wait_idle(self) -> None:
        """Waits until no connection has a call."""
        while len(self._idle) < len(self.members):
            self._became_idle.clear()
            await self._became_idle.wait()

    def await_request(self, stream: Stream) -> None:
        """Bytes of a request came, and more must come; the request that waited longest may go."""
        stream.is_awaited = True
        self._incomplete[stream] = None
        self._incomplete.move_to_end(stream)
        if len(self._incomplete) > self._limits.calls:
            longest = next(iter(self._incomplete))
            self.forget_request(longest)
            longest.refuse(SLOW)

    def forget_request(self, stream: Stream) -> None:
        """A request is complete, or will never be."""
        if stream.is_awaited:
            stream.is_awaited = False
            self._incomplete.pop(stream, None)

    @property
    def is_full(self) -> bool:
        """Whether calls must be refused."""
        limits = self._limits
        return self.calls >= limits.calls or self.held > limits.held_bytes

    def charge(self, member: Member, held: int) -> None:
        """Notes what a connection holds now."""
        self.held += held - member.held
        member.held = held
        if self.held > self._limits.held_bytes and not self._is_relieving:
            self._is_relieving = True
            self._relieve()
            self._is_relieving = False

    def _relieve(self) -> None:
        """Makes room: while too much is held, the connection that holds most gives up calls."""
        while self.held > self._limits.held_bytes:
            heaviest = max(self.members, key=lambda member: member.held)
            if not heaviest.shed():
                return
