"""The HTTP server, whose packages are imported once it is needed: they are a fifth of the start."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latens_serving.transports.http.listener import WebServer

_PACKAGES = ("latens_serving.transports.http.app", "latens_serving.transports.http.listener")


class LateWebServer:
    """Listens at once, so that a port that is taken is known; answers as soon as it can."""

    def __init__(
        self, listening: socket.socket, make: Callable[[socket.socket], WebServer]
    ) -> None:
        """Takes the socket, and what makes the server of it once the packages are there."""
        self.port: int = listening.getsockname()[1]
        self._listening = listening
        self._make = make
        self._server: WebServer | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to import and to answer; meanwhile connections wait."""
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        for package in _PACKAGES:
            await asyncio.to_thread(importlib.import_module, package)
        self._server = self._make(self._listening)
        self._server.start()

    async def started(self) -> None:
        """Waits until it answers; raises what kept it from that."""
        if self._starting is not None:
            await self._starting

    async def stop(self) -> None:
        """Ends it, however far its start has come."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._server is None:
            self._listening.close()
        else:
            await self._server.stop()
