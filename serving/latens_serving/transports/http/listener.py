"""The server that runs the HTTP application in this process's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from latens_serving.transports.http.connections import (
    HEAD_SECONDS,
    Connection,
    Connections,
    RequestLimit,
)

_IDLE_SECONDS: Final = 30
_LAST_ANSWERS_SECONDS: Final = 1


class WebServer:
    """Runs an ASGI application in this event loop."""

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        tls: ssl.SSLContext | None = None,
        *,
        connections: Connections | None = None,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        """Accepts nothing yet.

        Args:
            app: the application.
            listening: the socket to accept connections from; closed with the server.
            tls: for encrypted connections.
            connections: the set that open connections are kept in, with its limit.
            head_seconds: how long a client may take to send the head of a request.
        """
        self._socket = listening
        self.port: int = self._socket.getsockname()[1]
        connections = Connections() if connections is None else connections
        protocol: Any = functools.partial(Connection, connections, head_seconds)
        config = uvicorn.Config(
            RequestLimit(app, connections),
            http=cast(type[asyncio.Protocol], protocol),
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        config.load()
        config.ssl = tls
        self._server = _QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is None:
            self._socket.close()
        else:
            await self._task


class _QuietServer(uvicorn.Server):
    """Leaves the process's signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
