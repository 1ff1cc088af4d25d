"""How late the event loop comes to what is due: what every call of the process waits besides."""

from __future__ import annotations

import asyncio
import contextlib

from prometheus_client import Histogram


class LoopLag:
    """Measures it every so often, by a timer of its own: no call pays for it."""

    def __init__(self, seconds: Histogram, interval: float = 1.0) -> None:
        """Makes one at rest, to measure every `interval` seconds."""
        self._seconds = seconds
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._measure())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _measure(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due = now() + self._interval
            await asyncio.sleep(self._interval)
            # The loop's clock is coarser than its timers: they may come a little early.
            self._seconds.observe(max(0.0, now() - due))
