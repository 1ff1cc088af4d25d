"""Keeps the models in step with their folder: by looking now and then, and when told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from latens_serving.models.repository import Repository

log = logging.getLogger(__name__)


class Watcher:
    """Refreshes a repository every so often, and at once on `look_now`."""

    def __init__(self, models: Repository, interval: float) -> None:
        """Makes one at rest.

        Args:
            models: what to keep in step.
            interval: seconds between looks; 0 to look only when told.
        """
        self._models = models
        self._interval = interval or None
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    def look_now(self) -> None:
        self._told.set()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), self._interval)
            self._told.clear()
            try:
                await self._models.refresh()
            except Exception:
                # The folder may be a network's that is away for a while: what serves goes on.
                log.exception("the repository could not be read")
