"""ASGI middleware that reads bodies and sends answers within the budget of `transfers`."""

from __future__ import annotations

import math

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latens_serving.errors import DeadlineError, LatensError, QueueFullError
from latens_serving.transports.http.connections import connection_of
from latens_serving.transports.http.transfers import (
    CURRENT,
    FREE_BYTES,
    STALL_SECONDS,
    Transfer,
    TransferBudget,
)


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

        token = CURRENT.set((self._budget, transfer))
        try:
            if _content_length(scope) > FREE_BYTES or await body.read_ahead():
                await self._app(scope, body.receive, send_bounded)
        finally:
            CURRENT.reset(token)
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
