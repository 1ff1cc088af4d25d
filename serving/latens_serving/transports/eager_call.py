"""A coroutine that starts at once, for calls whose whole life is a few microseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from latens_serving.transports.http2.contract import Responder


class EagerCall:
    """Drives a coroutine that awaits futures and nothing else.

    A task would start in the event loop's next turn and register itself with asyncio; both cost
    more than reading the request does. What asks for the current task, `asyncio.timeout` for
    example, does not work inside.
    """

    __slots__ = ("_coroutine", "_future", "_is_cancelled")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._future: asyncio.Future[Any] | None = None
        self._is_cancelled = False

    def start(self, call: Responder) -> None:
        """Runs up to the first wait; from then on the call can be cancelled."""
        self._go_on()
        if self._future is not None:
            call.on_cancel(self.cancel)

    def cancel(self) -> None:
        """Ends the wait, with CancelledError in the coroutine."""
        future, self._is_cancelled = self._future, True
        if future is not None:
            future.cancel()

    def _go_on(self, _: object = None) -> None:
        self._future = None
        try:
            future = self._coroutine.send(None)
        except StopIteration:
            return
        future._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol for whoever drives
        self._future = future
        future.add_done_callback(self._go_on)
        if self._is_cancelled:
            future.cancel()
