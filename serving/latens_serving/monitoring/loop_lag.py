"""Measures how late the event loop runs due callbacks. Every call of the process waits as long."""

from __future__ import annotations

import asyncio

from prometheus_client import Histogram


class LoopLag:
    """Observes the lateness of a timer of its own, at no cost to calls."""

    def __init__(self, seconds: Histogram, interval: float = 1.0) -> None:
        """Observes nothing yet.

        Args:
            seconds: the histogram to fill.
            interval: seconds between the calls of `measure`.
        """
        self.interval = interval
        self._seconds = seconds
        self._due: float | None = None

    async def measure(self) -> None:
        """Observes how much later than `interval` after the last call this one comes."""
        now = asyncio.get_running_loop().time()
        if self._due is not None:
            # The loop's clock is coarser than its timers, which may come a little early.
            self._seconds.observe(max(0.0, now - self._due))
        self._due = now + self.interval
