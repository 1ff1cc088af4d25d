"""Runs something at an interval."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Periodic:
    """Awaits an action at an interval, or immediately on request. Failures are logged."""

    def __init__(self, name: str, interval: float, action: Callable[[], Awaitable[None]]) -> None:
        """Starts nothing yet.

        Args:
            name: the name of the action in the log.
            interval: seconds between the end of one action and the next; 0 for only on request.
            action: what to run.
        """
        self._name = name
        self._interval = interval or None
        self._action = action
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def run_now(self) -> None:
        """Ends the current interval."""
        self._now.set()

    async def stop(self) -> None:
        """Cancels the action if it runs, and does not run it again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), self._interval)
            self._now.clear()
            try:
                await self._action()
            except Exception:
                log.exception("periodic action failed", extra={"facts": {"action": self._name}})
