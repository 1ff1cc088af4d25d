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
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        reuse_port: bool = False,
        connections: Connections | None = None,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        """Binds at once, so that a port that is taken is known before anything else is done.

        Args:
            app: the application.
            host: the address to listen on.
            port: 0 for any free one.
            tls: for encrypted connections.
            reuse_port: let other processes listen on the same port (SO_REUSEPORT).
            connections: the set that open connections are kept in, with its limit.
            head_seconds: how long a client may take to send the head of a request.

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, reuse_port=reuse_port)
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
