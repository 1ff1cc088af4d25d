"""The server: sockets, connections, and the end of it all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

from latens_serving.transports.http2.admission import Admission
from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.http2.contract import Handler
from latens_serving.transports.http2.lifetime import Lifetime
from latens_serving.transports.http2.limits import Limits

_BACKLOG = 1024
_LOOK_SECONDS = 1.0


class Server:
    """Serves gRPC calls by handlers that are found by their path."""

    def __init__(
        self,
        handler_of: Callable[[str], Handler | None],
        limits: Limits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Creates a server, not yet bound.

        Args:
            handler_of: what serves a path; None if nothing does.
            limits: what clients may do.
            tls: for encrypted connections; must offer `h2` by ALPN.
            reuse_port: let other processes listen on the same port (SO_REUSEPORT).
        """
        self.limits = limits or Limits()
        self.admission = Admission(self.limits)
        self.handler_of = handler_of
        self._tls = tls
        self._reuse_port = reuse_port
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Connection, Lifetime] = {}
        self._look_timer: asyncio.TimerHandle | None = None

    def bind(self, host: str, port: int) -> int:
        """Takes an address; returns the port, which the system chooses when it is 0.

        Raises:
            OSError: the address cannot be had.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            listening = _listen(family, (address[0], port, *address[2:]), self._reuse_port)
            self._sockets.append(listening)
            port = listening.getsockname()[1]  # the next address gets the same one
        return port

    async def start(self) -> None:
        """Listens."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            server = await loop.create_server(
                self.accept,
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
            connection.session.refuse_more()
            connection.flush()
        if grace:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.admission.wait_idle(), grace)
        for connection in list(self._connections):
            connection.end()
        await asyncio.sleep(0)  # what was just ended is closed by the loop
        for listening in self._sockets:
            listening.close()
        if self._look_timer is not None:
            self._look_timer.cancel()

    def accept(self) -> Connection:
        """The protocol of a new connection, as an event loop asks for it."""
        connection = Connection(self)
        now = asyncio.get_running_loop().time()
        self._connections[connection] = Lifetime(connection, self.limits, now)
        return connection

    def disconnected(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for lifetime in list(self._connections.values()):
            lifetime.look(now)
        self._look_timer = loop.call_later(_LOOK_SECONDS, self._look)


def _listen(family: int, address: tuple[str | int, ...], reuse_port: bool) -> socket.socket:
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
