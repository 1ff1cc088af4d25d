"""What is done for every ready model every so often."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository, State

log = logging.getLogger(__name__)


class Rounds:
    """Visits each ready model at an interval. A visit that fails is logged; the rounds go on."""

    def __init__(
        self,
        models: Repository,
        interval: float,
        visit: Callable[[LoadedModel], Awaitable[None]],
    ) -> None:
        """Makes them at rest; with an interval (seconds) of 0 they stay there."""
        self._models = models
        self._interval = interval
        self._visit = visit
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._interval:
            self._task = asyncio.create_task(self._go())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _go(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            for entry in self._models.entries():
                if entry.state is State.READY and entry.model is not None:
                    await self._visit_safely(entry.model)

    async def _visit_safely(self, model: LoadedModel) -> None:
        try:
            await self._visit(model)
        except Exception:
            facts = {"model": model.name, "version": model.version}
            log.exception("a round failed", extra={"facts": facts})
