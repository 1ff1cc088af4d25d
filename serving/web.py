"""The HTTP port: an ASGI application with metrics and probes, and the server that runs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.health import Health
from serving.metrics import Metrics


def application(metrics: Metrics, health: Health) -> Starlette:
    """`/metrics` for Prometheus, `/healthz` (alive), `/readyz` (answers calls)."""

    async def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if health.serving:
            return PlainTextResponse("ready\n")
        word = "draining" if health.draining else "not ready"
        return PlainTextResponse(f"{word}\n", status_code=503)

    return Starlette(
        routes=[
            Route("/metrics", exposition),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ]
    )


class WebServer:
    """Runs an ASGI application in this event loop."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        """Binds at once, so that a port that is taken is known before anything else is done.

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=30,
            limit_concurrency=256,
        )
        self._server = _QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _QuietServer(uvicorn.Server):
    """Leaves the process's signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
