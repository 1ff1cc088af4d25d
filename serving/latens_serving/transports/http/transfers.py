"""One budget for the bytes of requests and answers under way on the HTTP port.

The first bytes of each request are free, since the number of connections is limited: small calls
are answered while large ones wait. A client that falls behind a minimum rate is dropped when others
need the room, and after some seconds in any case.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latens_serving.errors import DeadlineError, LatensError, QueueFullError
from latens_serving.transports.http.connections import connection_of

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


_CURRENT: ContextVar[tuple[TransferBudget, Transfer]] = ContextVar("current transfer")


def hold_answer(size: int) -> None:
    """Charges the answer of this task's request to the budget; does nothing without one.

    Raises:
        QueueFullError: there is no room.
    """
    current = _CURRENT.get(None)
    if current is not None:
        budget, transfer = current
        budget.hold(transfer, size)


class BoundedTransfers:
    """ASGI middleware that charges bodies to a budget and limits the time that they take.

    A call with a small body begins when its body is complete, so that calls that are never finished
    cost little.
    """

    def __init__(self, app: ASGIApp, budget: TransferBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transfer = Transfer()
        body = _Body(transfer, self._budget, receive)

        async def send_bounded(message: Message) -> None:
            if len(message.get("body", b"")) <= FREE_BYTES:
                await send(message)
                return
            taken = await _send_in_pieces(transfer, send, message)
            connection = connection_of(scope)
            if not taken and connection is not None:
                connection.abort()

        token = _CURRENT.set((self._budget, transfer))
        try:
            if _content_length(scope) > FREE_BYTES or await body.read_ahead():
                await self._app(scope, body.receive, send_bounded)
        finally:
            _CURRENT.reset(token)
            self._budget.release(transfer)


class _Body:
    """The body of one request, as its bytes come."""

    def __init__(self, transfer: Transfer, budget: TransferBudget, receive: Receive) -> None:
        self._transfer = transfer
        self._budget = budget
        self._receive = receive
        self._ended = False
        self._ahead: Message | LatensError | None = None

    async def receive(self) -> Message:
        """The next message of ASGI.

        Raises:
            QueueFullError: there is no room for the body.
            DeadlineError: its bytes come too slowly.
        """
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            if isinstance(ahead, LatensError):
                raise ahead
            return ahead
        if self._ended:  # only a disconnect is left to come
            return await self._receive()
        message = await _received(self._transfer, self._receive)
        self._ended = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self._transfer.moved(size)
        self._budget.hold(self._transfer, size)
        return message

    async def read_ahead(self) -> bool:
        """Reads the whole body, for `receive` to return; False if the client left before."""
        content = b""
        while not self._ended:
            try:
                message = await self.receive()
            except LatensError as error:
                self._ahead = error  # raised in the application, which knows the form of its errors
                return True
            if message["type"] == "http.disconnect":
                return False
            content += message.get("body", b"")
        self._ahead = {"type": "http.request", "body": content, "more_body": False}
        return True


def _content_length(scope: Scope) -> float:
    """The size that the head says; infinite if it does not say one."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return math.inf
        if name == b"content-length":
            return int(value)  # the parser of the head has checked it
    return 0


async def _received(transfer: Transfer, receive: Receive) -> Message:
    try:
        return await transfer.wait_for_client(receive)
    except TimeoutError:
        if transfer.dropped:
            raise QueueFullError(
                "the request came too slowly while others needed the room", retry_after=1.0
            ) from None
        raise DeadlineError(
            f"expected the request's bytes within {STALL_SECONDS:.0f} s of the last ones"
        ) from None


async def _send_in_pieces(transfer: Transfer, send: Send, message: Message) -> bool:
    """Sends a large body so that little of it waits in the transport; False if a client stalls."""
    body, more = message["body"], message.get("more_body", False)
    transfer.start()
    for begin in range(0, len(body), FREE_BYTES):
        end = begin + FREE_BYTES
        piece = {**message, "body": body[begin:end], "more_body": more or end < len(body)}

        async def step(piece: Message = piece) -> Message:
            await send(piece)
            return piece

        try:
            await transfer.wait_for_client(step)
        except TimeoutError:
            return False
        transfer.moved(len(piece["body"]))
    return True
