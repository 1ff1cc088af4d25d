"""What the server says of itself: `grpc.health.v1`, for the whole, a service and a model.

Names: the empty one and `latens.v1.LatentService` for the server, `models/<name>` for a model.
"""

from __future__ import annotations

import asyncio
from typing import Final

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from latens_serving.models.repository import Entry, Repository, State
from latens_serving.monitoring.metrics import Metrics

SERVICE_NAME: Final = "latens.v1.LatentService"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The server's state, and its health service."""

    def __init__(self, metrics: Metrics, models: Repository) -> None:
        self.servicer = aio.HealthServicer()
        self.serving = False
        self.draining = False
        self._metrics = metrics
        self._models = models
        self._tasks: set[asyncio.Task[None]] = set()
        models.on_change(self._model_changed)

    async def set_serving(self, serving: bool) -> None:
        """Says of the server as a whole whether it answers."""
        self.serving = serving and not self.draining
        self._metrics.ready.set(self.serving)
        for name in ("", SERVICE_NAME):
            await self.servicer.set(name, _SERVING if self.serving else _NOT_SERVING)

    async def drain(self) -> None:
        """Says NOT_SERVING of everything, for good."""
        self.draining, self.serving = True, False
        self._metrics.ready.set(0)
        await self.servicer.enter_graceful_shutdown()

    def _model_changed(self, entry: Entry) -> None:
        ready = any(
            other.name == entry.name and other.state is State.READY
            for other in self._models.entries()
        )
        setting = self.servicer.set(f"models/{entry.name}", _SERVING if ready else _NOT_SERVING)
        task = asyncio.get_running_loop().create_task(setting)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
