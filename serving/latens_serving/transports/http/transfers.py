"""One budget for the bytes of requests and answers under way on the HTTP port.

The first bytes of each request are free, since the number of connections is limited: small calls
are answered while large ones wait. A client that falls behind a minimum rate is dropped when others
need the room, and after some seconds in any case.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Final

from starlette.types import Message, Receive

from latens_serving.errors import QueueFullError

FREE_BYTES: Final = 64 << 10
MIN_BYTES_PER_SECOND: Final = 64 << 10
STALL_SECONDS: Final = 10.0
"""How far a client may fall behind the minimum rate while there is room."""
_SLACK_SECONDS: Final = 1.0
"""How far it may always fall behind; also how much of a fast start counts."""


class TransferBudget:
    """The bytes that all requests of the port hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._transfers: set[Transfer] = set()

    def hold(self, transfer: Transfer, size: int) -> None:
        """Adds to what a transfer holds; drops slow ones if there is no room.

        Raises:
            QueueFullError: there is no room even without the slow ones.
        """
        charge = max(0, transfer.size + size - FREE_BYTES) - transfer.charged
        if charge > 0:
            missing = self.held + charge - self.limit
            # A transfer that is alone has room: one message may be larger than the budget.
            if missing > 0 and self.held > transfer.charged:
                self._drop_slow(transfer, missing)
            transfer.charged += charge
            self.held += charge
            self._transfers.add(transfer)
        transfer.size += size

    def release(self, transfer: Transfer) -> None:
        """Gives back what a transfer holds."""
        self.held -= transfer.charged
        transfer.charged = 0
        self._transfers.discard(transfer)

    def _drop_slow(self, asking: Transfer, missing: int) -> None:
        now = asyncio.get_running_loop().time()
        slow = [other for other in self._transfers if other is not asking and other.is_slow(now)]
        if sum(other.charged for other in slow) < missing:
            raise QueueFullError(
                f"expected at most {self.limit} bytes of requests and answers at a time on the "
                "HTTP port",
                retry_after=1.0,
            )
        for other in sorted(slow, key=lambda other: other.due):
            if missing > 0:
                missing -= other.charged
                other.drop()
                self.release(other)


class Transfer:
    """The bytes of one request and of its answer, and the pace of its client."""

    def __init__(self) -> None:
        self.size = 0
        self.charged = 0
        self.dropped = False
        self.due = 0.0
        """When more bytes should have moved, at the minimum rate."""
        self._wait: asyncio.Timeout | None = None
        self.start()

    def start(self) -> None:
        """The client's turn begins."""
        self.due = asyncio.get_running_loop().time() + _SLACK_SECONDS

    def moved(self, size: int) -> None:
        """Records that bytes were received or sent."""
        now = asyncio.get_running_loop().time()
        self.due = min(now + _SLACK_SECONDS, self.due + size / MIN_BYTES_PER_SECOND)

    def is_slow(self, now: float) -> bool:
        """Whether the server waits for its client, and the client is behind the minimum rate."""
        return self._wait is not None and self.due < now

    async def wait_for_client(self, step: Receive) -> Message:
        """Awaits a step of the client.

        Raises:
            TimeoutError: the client stalled, or was dropped.
        """
        try:
            async with asyncio.timeout_at(self.due + STALL_SECONDS) as self._wait:
                return await step()
        finally:
            self._wait = None

    def drop(self) -> None:
        """Ends the wait for the client now."""
        self.dropped = True
        if self._wait is not None:
            self._wait.reschedule(0)


CURRENT: ContextVar[tuple[TransferBudget, Transfer]] = ContextVar("current transfer")


def hold_answer(size: int) -> None:
    """Charges the answer of this task's request to the budget; does nothing without one.

    Raises:
        QueueFullError: there is no room.
    """
    current = CURRENT.get(None)
    if current is not None:
        budget, transfer = current
        budget.hold(transfer, size)
