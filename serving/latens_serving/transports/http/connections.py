"""The open connections of the HTTP port: how many there may be, and which is closed first.

Only complete requests count. A connection whose client has not sent a whole request may be closed
to make room for a new one, the longest unfinished first; a connection with a complete request is
never closed for another one. Requests above the limit are refused, except for probes.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

PROBES: Final = frozenset({"/healthz", "/readyz"})
MAX_REQUESTS: Final = 512
"""Complete requests at a time; further ones are refused, except for probes."""
SPARE_CONNECTIONS: Final = 64
"""Open connections beside those of complete requests: for probes and for refusals."""
HEAD_SECONDS: Final = 10.0
"""How long a client may take to send the head of a request."""
_FLUSH_SECONDS: Final = 5.0
_STATE_KEY: Final = "connection"


class Connections:
    """The set of open connections."""

    def __init__(self, max_requests: int = MAX_REQUESTS, spare: int = SPARE_CONNECTIONS) -> None:
        self.max_requests = max_requests
        self._maximum = max_requests + spare
        # Dictionaries keep the order of insertion: the longest unfinished one comes first.
        self._unfinished: dict[Connection, None] = {}
        self._complete: dict[Connection, None] = {}

    @property
    def complete_requests(self) -> int:
        """How many connections have a complete request that is not answered yet."""
        return len(self._complete)

    def __len__(self) -> int:
        return len(self._unfinished) + len(self._complete)

    def add(self, connection: Connection) -> None:
        """Adds a new connection; if there are too many, closes the longest unfinished one.

        If every connection has a complete request, the new one is closed.
        """
        if len(self) >= self._maximum:
            if not self._unfinished:
                connection.close()
                return
            longest = next(iter(self._unfinished))
            del self._unfinished[longest]
            longest.close()
        self._unfinished[connection] = None

    def move(self, connection: Connection, *, complete: bool) -> None:
        """Records that a client got further; a connection that was removed stays removed.

        Each whole head, whole body and answer counts as progress, single bytes do not.
        """
        if self.remove(connection):
            (self._complete if complete else self._unfinished)[connection] = None

    def remove(self, connection: Connection) -> bool:
        """Removes a connection; returns whether it was in the set."""
        for members in (self._unfinished, self._complete):
            if connection in members:
                del members[connection]
                return True
        return False


class Connection(H11Protocol):
    """An HTTP/1.1 connection with a time limit for the head of each request, which uvicorn lacks.

    Only the methods of `asyncio.Protocol` are overridden, and only the constructor's arguments are
    used; the application finds the connection in the state of the ASGI scope.
    """

    def __init__(
        self,
        connections: Connections,
        head_seconds: float,
        *,
        app_state: dict[str, Any],
        **of_uvicorn: Any,
    ) -> None:
        super().__init__(app_state={**app_state, _STATE_KEY: self}, **of_uvicorn)
        self._connections = connections
        self._head_seconds = head_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self._requests = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._wire = transport
        super().connection_made(transport)
        self._start_timer()
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if not self._requests:
            self._start_timer()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._connections.remove(self)
        super().connection_lost(exc)

    def close(self) -> None:
        """Closes the connection when its output is sent, and after some seconds in any case."""
        if self._wire is not None:
            self._wire.close()
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._wire.abort)

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._wire is not None:
            self._wire.abort()

    def request_began(self, *, complete: bool) -> None:
        """Records that the head of a request has come; `complete` if it has no body."""
        self._requests += 1
        self._stop_timer()
        self._connections.move(self, complete=complete)

    def body_came(self) -> None:
        """Records that the whole body has come."""
        self._connections.move(self, complete=True)

    def request_ended(self, *, complete: bool) -> None:
        """Records that a request was answered; `complete` if its whole body had come by then."""
        self._requests -= 1
        if self._requests:  # the next request began before the application returned
            return
        self._connections.move(self, complete=False)
        if not complete:  # the rest of the body is ignored, for as long as a head may take
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._head_seconds, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class RequestLimit:
    """ASGI middleware that records requests at their connections and refuses those over a limit."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = connection_of(scope)
        if connection is None:
            await self._app(scope, receive, send)
            return
        complete = not _has_body(scope)

        async def receive_and_record() -> Message:
            nonlocal complete
            message = await receive()
            if not complete and not message.get("more_body", False):
                complete = True
                connection.body_came()
            return message

        connection.request_began(complete=complete)
        try:
            await self._chosen(scope)(scope, receive_and_record, send)
        finally:
            connection.request_ended(complete=complete)

    def _chosen(self, scope: Scope) -> ASGIApp:
        most = self._connections.max_requests
        if self._connections.complete_requests <= most or scope["path"] in PROBES:
            return self._app
        return PlainTextResponse(
            f"expected at most {most} requests at a time; try again in a second\n",
            503,
            {"Retry-After": "1", "Connection": "close"},
        )


def connection_of(scope: Scope) -> Connection | None:
    """The connection that a request came by; None in a server without `Connections`."""
    found: Connection | None = scope.get("state", {}).get(_STATE_KEY)
    return found


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
