"""One call on a connection: its request body, and the answer that its handler gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from latens_serving.transports.http2.bodies import PREFIX, Body
from latens_serving.transports.http2.contract import Handler, Payload
from latens_serving.transports.http2.heads import Head
from latens_serving.transports.http2.session import Session
from latens_serving.transports.http2.trailers import RESPONSE, Status, trailers, trailers_only


class Owner(Protocol):
    """What a stream asks of its connection."""

    session: Session
    peer: str

    def queued(self, stream: Stream) -> None:
        """Something was queued for the client."""

    async def room(self, stream: Stream) -> None:
        """Waits while the client is behind with reading."""


class Stream:
    """A responder, and what its connection keeps of the call."""

    # Defaults of the class: to set each of them would cost a call a microsecond.
    is_open = True
    is_begun = False
    is_started = False
    """Whether a handler was given the call."""
    is_uploading = True
    """Whether the client may send more of the request."""
    is_awaited = False
    """Whether the admission knows that the request is incomplete."""
    counted = 0
    """Bytes of the body that the connection has counted as held."""
    received = 0
    unacknowledged = 0
    """Bytes received for which the client was given no new room."""
    seen = (0, 0)
    """What had moved when the connection last looked."""
    still = 0
    """How many looks ago that changed."""
    _cancel: Callable[[], object] | None = None

    def __init__(
        self,
        number: int,
        head: Head,
        handler: Handler | None,
        deadline: float | None,
        owner: Owner,
        body: Body,
    ) -> None:
        self.id = number
        self.head = head
        self.handler = handler
        self.deadline = deadline
        self.body = body
        self._owner = owner

    @property
    def peer(self) -> str:
        return self._owner.peer

    def on_cancel(self, cancel: Callable[[], object]) -> None:
        if self.is_open:
            self._cancel = cancel
        else:
            cancel()

    def read(self) -> Awaitable[Payload | None]:
        return self.body.next()

    def answer(self, parts: Sequence[Payload], size: int) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._cancel = None
        owner = self._owner
        owner.session.answer(self.id, [PREFIX.pack(0, size), *parts], size)
        owner.queued(self)

    async def write(self, message: bytes) -> None:
        await self._owner.room(self)
        if not self.is_open:
            return
        session = self._owner.session
        if not self.is_begun:
            self.is_begun = True
            session.respond(self.id, RESPONSE)
        session.write(self.id, PREFIX.pack(0, len(message)) + message)
        self._owner.queued(self)

    def end(self, status: Status) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._cancel = None
        session = self._owner.session
        if self.is_begun:
            session.end(self.id, trailers(status))
        else:
            session.respond(self.id, trailers_only(status), end=True)
        self._owner.queued(self)

    def refuse(self, status: Status) -> None:
        """Ends a call that cannot begin or not go on, and its handler with it."""
        cancel = self._cancel
        self.end(status)
        self.body.drop()
        if cancel is not None:
            cancel()

    def close(self) -> None:
        """The stream is gone: frees what it holds, and cancels the handler if it still runs."""
        self.is_open = False
        self.body.drop()
        if self._cancel is not None:
            cancel, self._cancel = self._cancel, None
            cancel()
