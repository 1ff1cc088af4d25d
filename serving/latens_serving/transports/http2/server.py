"""The listener: sockets, connections, which handler serves which path, and the end of it all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import grpc

from latens_serving.transports.http2 import answers
from latens_serving.transports.http2.calls import Handler, Route
from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.http2.headers import RESOURCE_EXHAUSTED, UNIMPLEMENTED, Head, Refusal
from latens_serving.transports.http2.inbox import Inbox
from latens_serving.transports.http2.inflow import Message, Stream
from latens_serving.transports.http2.limits import Account, Limits
from latens_serving.transports.http2.session import Session

_BACKLOG = 1024
_LOOK_SECONDS = 1.0


class Serves(Protocol):
    """What a path leads to."""

    @property
    def takes_several(self) -> bool:
        """Whether requests are of several messages."""
        ...

    def start(self, session: Session, stream: Stream, message: Message | Inbox) -> None:
        """Begins a call; sets `stream.call` if it can be cancelled."""


class FastServer:
    """A gRPC server, used as `grpc.aio.Server` is.

    The `add_…Servicer_to_server` functions of generated code take it.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Makes a server, not yet bound.

        Args:
            limits: what clients may do.
            interceptors: around every handler, the first one outermost.
            tls: for encrypted connections; must offer `h2` by ALPN.
            reuse_port: let other processes listen on the same port (SO_REUSEPORT).
        """
        self.limits = limits or Limits()
        self.account = Account(self.limits.held_bytes)
        self._interceptors = tuple(interceptors)
        self._tls = tls
        self._reuse_port = reuse_port
        self._handlers: dict[str, Handler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._routes: dict[str, Serves] = {}
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._look_timer: asyncio.TimerHandle | None = None

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """As of `grpc.aio.Server`."""
        for name, handler in method_handlers.items():
            self._handlers[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """As of `grpc.aio.Server`."""
        self._generic += generic_rpc_handlers

    def add_route(self, path: str, route: Serves) -> None:
        """Has `route` serve a path in place of what a servicer registers for it."""
        self._routes[path] = route

    def bind(self, host: str, port: int) -> int:
        """Takes an address; returns the port, which the system chooses when it is 0.

        Raises:
            OSError: it cannot be had.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            at = (address[0], port, *address[2:])
            listening = _listen(family, at, self._reuse_port)
            self._sockets.append(listening)
            port = listening.getsockname()[1]  # the next address gets the same one
        return port

    async def start(self) -> None:
        """Listens."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            server = await loop.create_server(
                lambda: Connection(self, self._connections, loop.time()),
                sock=listening,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.handshake_seconds if self._tls else None,
                backlog=_BACKLOG,
            )
            self._servers.append(server)
        self._look()

    async def stop(self, grace: float | None) -> None:
        """Takes no more connections or calls; lets those under way end within `grace` seconds."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.refuse_more()
        if grace:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._quiet()
        for connection in list(self._connections):
            connection.end()
        await asyncio.sleep(0)  # what was just ended is closed by the loop
        for listening in self._sockets:
            listening.close()
        if self._look_timer is not None:
            self._look_timer.cancel()

    def route(self, head: Head) -> None:
        """Fills in what serves a head's path, or why nothing does."""
        path = head.path
        head.route = self._routes.get(path)
        if head.route is not None:
            return
        handler = self._handler_of(path)
        if handler is None:
            head.refusal = Refusal(UNIMPLEMENTED, f"method {path[:128]} is not known")
        else:
            route = Route(handler, partial(self._intercepted, path), self.limits.message_bytes)
            head.route = self._routes[path] = route

    def start_call(self, session: Session, stream: Stream, message: Message | Inbox) -> None:
        """Begins a call whose request is whole, or is of several messages."""
        if self.account.held + session.out.unsent > self.account.limit:
            self.refuse(session, stream, self.crowded())
        else:
            stream.head.route.start(session, stream, message)

    def refuse(self, session: Session, stream: Stream, refusal: Refusal) -> None:
        """Answers a call that cannot begin, or not go on."""
        session.out.end(stream, answers.refusal(refusal))
        self.cancel(stream)

    def crowded(self) -> Refusal:
        """Why a call is refused when too much memory is held already."""
        return Refusal(RESOURCE_EXHAUSTED, "too many calls or bytes are under way")

    def cancel(self, stream: Stream) -> None:
        """Ends a call that no one waits for."""
        if stream.call is not None:
            stream.call.cancel()

    async def _quiet(self) -> None:
        """Waits until no call is open. Calls end at no one's signal, so it looks every 10 ms."""
        while any(connection.session.streams for connection in self._connections):
            await asyncio.sleep(0.01)

    async def _intercepted(self, path: str, handler: Handler) -> Handler:
        details = _Details(path)

        async def found(_: grpc.HandlerCallDetails) -> Handler:
            return handler

        continuation = found
        for interceptor in reversed(self._interceptors):
            continuation = _around(interceptor, continuation)
        return await continuation(details)

    def _handler_of(self, path: str) -> Handler | None:
        handler = self._handlers.get(path)
        if handler is not None:
            return handler
        found = (generic.service(_Details(path)) for generic in self._generic)
        return next((handler for handler in found if handler is not None), None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            connection.look(now)
        self._look_timer = loop.call_later(_LOOK_SECONDS, self._look)


class _Details(grpc.HandlerCallDetails):
    """What an interceptor is told before there is a call."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


def _around(interceptor: grpc.aio.ServerInterceptor, continuation: Any) -> Any:
    async def intercepted(details: grpc.HandlerCallDetails) -> Any:
        return await interceptor.intercept_service(continuation, details)

    return intercepted


def _listen(family: int, address: Any, reuse_port: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and address[0] != "::":
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        taken = "is another server there?" if error.errno == errno.EADDRINUSE else error.strerror
        raise OSError(f"cannot listen on {address[0]} port {address[1]}: {taken}") from error
    return listening
