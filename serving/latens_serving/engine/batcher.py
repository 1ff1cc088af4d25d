"""Batches across callers: whatever waits when the engine is free is its next run.

Three small mechanisms. A count of rows and bytes admits a call or refuses it at the door. A queue,
which the event loop alone touches, is cut into batches in the order of arrival; a call goes into a
batch whole, and only one that exceeds the limit by itself is split. And a batch goes to the engine:
in the loop where the run is shorter than a thread's hand-over would be, else in the engine's own
thread, with at most one more batch made ready behind the one that runs.

Nothing here waits for a clock: a batch is cut when there is work and the engine is free.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from latens_serving.engine.batch import BatchReport, Outcome, Outputs, Rider, Rows, Run, execute
from latens_serving.engine.thread import EngineThread
from latens_serving.errors import EngineFailedError, LatensError, QueueFullError

Failure: TypeAlias = Callable[[], LatensError]

__all__ = ["BatchLimits", "BatchReport", "Batcher"]

_SHORTEST_HINT, _LONGEST_HINT = 0.01, 5.0
# The queue's part of what a caller will wait; the rest is for reading, writing and the network.
_SHARE_OF_DEADLINE = 0.5


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much a batcher takes."""

    batch_rows: int = 1024
    """Rows of one run of the engine."""
    queue_rows: int = 65536
    """Rows of all calls that were admitted and not yet answered."""
    queue_bytes: int = 256 << 20
    """Bytes of the same."""
    stuck_seconds: float = 120.0
    """A run in the engine's thread that takes longer will not end."""


class Batcher:
    """Joins the calls of many callers into runs of one engine.

    Belongs to the event loop of the first call. Every row given to `submit` comes back to its owner
    in order, or the owner gets an exception; whoever stops waiting costs the others nothing.
    """

    def __init__(
        self,
        run: Run,
        limits: BatchLimits,
        *,
        runs_inline: Callable[[int], bool] = lambda rows: False,
        report: Callable[[BatchReport], None] = lambda report: None,
        died: Callable[[BaseException], None] = lambda error: None,
        name: str = "engine",
        seconds_a_row: float = 0.0,
    ) -> None:
        """Makes an idle batcher.

        Args:
            run: the engine: `[n, ...]` to arrays of n rows each. Never called twice at a time.
            limits: how much it takes.
            runs_inline: whether a run of so many rows is short enough for the event loop.
            report: told of each run, in the event loop.
            died: told, in the event loop, when the engine's thread ended or does not come back.
            name: of the engine's thread.
            seconds_a_row: what a row takes, as far as is known; runs correct it.
        """
        self.limits = limits
        self.rows_admitted = 0
        self.bytes_admitted = 0
        self._run = run
        self._runs_inline = runs_inline
        self._report = report
        self._tell_death = died
        self._name = name
        self._queue: deque[Rider] = deque()
        self._rows_queued = 0
        self._untimed: list[Rider] = []  # with a deadline, and no timer for it yet
        self._in_engine: deque[list[Rider]] = deque()
        self._wakeup_due = False
        self._closed: Failure | None = None
        self._thread: EngineThread | None = None
        self._guarded: list[Rider] | None = None
        self._seconds_a_row = seconds_a_row
        self._settled = 0.0  # when the last run was, and whether calls waited then
        self._was_waiting = False

    async def submit(self, rows: Rows, deadline: float | None = None) -> Outputs:
        """Runs rows through the engine, in company with other calls.

        Args:
            rows: `[n, ...]`, n > 0, of the engine's shape and type. Not changed.
            deadline: on the clock of `time.monotonic`, after which no one wants the answer.

        Raises:
            QueueFullError: too much waits already, or so much that the deadline would pass. Nothing
                was queued.
            DeadlineError: the engine never ran (all of) the rows.
            LatensError: what the engine raised, or why the batcher is closed.
        """
        self._admit(rows, deadline)
        try:
            size = self.limits.batch_rows
            if len(rows) <= size:
                return await self._ride(rows, deadline)
            parts = [
                await self._ride(rows[start : start + size], deadline)
                for start in range(0, len(rows), size)
            ]
            return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        finally:
            self.rows_admitted -= len(rows)
            self.bytes_admitted -= rows.nbytes

    def close(self, failure: Failure) -> None:
        """Fails whoever waits, and whoever comes; a run under way is not awaited."""
        self._closed = failure
        while self._queue:
            self._queue.popleft().fail(failure())
        self._rows_queued = 0
        if self._thread is not None:
            self._thread.stop()

    def _admit(self, rows: Rows, deadline: float | None) -> None:
        limits = self.limits
        too_many = self.rows_admitted + len(rows) > limits.queue_rows
        too_heavy = self.bytes_admitted + rows.nbytes > limits.queue_bytes
        # A call that is larger than the whole queue is let in alone rather than never.
        if self.rows_admitted and (too_many or too_heavy):
            hint = self.rows_admitted * self._seconds_a_row
            raise QueueFullError(
                f"{self.rows_admitted} rows ({self.bytes_admitted} bytes) wait already; "
                f"the queue holds {limits.queue_rows} ({limits.queue_bytes})",
                retry_after=min(max(hint, _SHORTEST_HINT), _LONGEST_HINT),
            )
        wait = (self.rows_admitted + len(rows)) * self._seconds_a_row
        if wait > _SHORTEST_HINT and self.rows_admitted and deadline is not None:
            self._refuse_if_late(wait, deadline)
        self.rows_admitted += len(rows)
        self.bytes_admitted += rows.nbytes

    def _refuse_if_late(self, wait: float, deadline: float) -> None:
        """Refuses at once what would come to its turn too late: work on it would be wasted."""
        left = deadline - time.monotonic()
        if wait > _SHARE_OF_DEADLINE * left:
            raise QueueFullError(
                f"{self.rows_admitted} rows wait already, for about {wait:.3g} s; "
                f"the deadline is in {left:.3g} s",
                retry_after=min(max(wait, _SHORTEST_HINT), _LONGEST_HINT),
            )

    async def _ride(self, rows: Rows, deadline: float | None) -> Outputs:
        if self._closed is not None:
            raise self._closed()
        loop = asyncio.get_running_loop()
        rider = Rider(rows, deadline, loop.create_future())
        self._queue.append(rider)
        if deadline is not None:
            self._untimed.append(rider)
        self._rows_queued += rider.count
        self._wake(loop)
        try:
            return await rider.future
        finally:
            rider.leave()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the loop's next turn, so that all that arrived in this one is in the batch.
        if not self._wakeup_due and self._queue:
            self._wakeup_due = True
            loop.call_soon(self._dispatch, loop)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wakeup_due = False
        self._take_batch(loop)
        # Only now: most calls have been answered, and a timer costs more than their queueing did.
        for rider in self._untimed:
            rider.expire_in_time(loop)
        self._untimed.clear()

    def _take_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._in_engine and not self._may_prefetch():
            return  # the end of the run wakes us
        riders = self._cut()
        if not riders:
            return
        self._in_engine.append(riders)
        if len(self._in_engine) == 1 and self._runs_inline(sum(rider.count for rider in riders)):
            self._settle(loop, execute(self._run, riders))
        else:
            self._post(loop, riders)
            self._wake(loop)

    def _may_prefetch(self) -> bool:
        # A batch that is not full had better stay open until the engine is free.
        return len(self._in_engine) == 1 and self._rows_queued >= self.limits.batch_rows

    def _cut(self) -> list[Rider]:
        """The calls at the head of the queue that fit into one batch, whole."""
        riders: list[Rider] = []
        room = self.limits.batch_rows
        while self._queue and (self._queue[0].count <= room or self._queue[0].future.done()):
            rider = self._queue.popleft()
            self._rows_queued -= rider.count
            if not rider.future.done():
                riders.append(rider)
                room -= rider.count
        return riders

    def _post(self, loop: asyncio.AbstractEventLoop, riders: list[Rider]) -> None:
        def in_loop(function: Callable[..., None], *args: Any) -> None:
            if not loop.is_closed():  # at the end of the process no one waits any more
                loop.call_soon_threadsafe(function, *args)

        if self._thread is None:
            self._thread = EngineThread(
                self._name, died=lambda error: in_loop(self._on_death, error)
            )
        self._thread.post(lambda: in_loop(self._settle, loop, execute(self._run, riders)))
        self._guard(loop)

    def _guard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks, once it is due, whether the batch that runs now is still the one that runs."""
        if self._guarded is None:
            self._guarded = self._in_engine[0]
            loop.call_later(self.limits.stuck_seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        guarded, self._guarded = self._guarded, None
        if not self._in_engine:
            return
        if self._in_engine[0] is guarded:
            self._on_death(TimeoutError("a run of the engine does not end"))
        else:
            self._guard(loop)

    def _settle(self, loop: asyncio.AbstractEventLoop, outcome: Outcome) -> None:
        self._in_engine.popleft()
        self._wake(loop)
        if not outcome.riders:
            return
        outcome.settle()
        report = outcome.report
        if not report.failed:
            seconds = self._seconds_of(report)
            self._seconds_a_row += 0.1 * (seconds / report.rows - self._seconds_a_row)
        self._report(report)

    def _seconds_of(self, report: BatchReport) -> float:
        """What a run took of the queue's time: with calls waiting, also what lies between runs."""
        now = time.monotonic()
        since, self._settled = now - self._settled, now
        was_waiting, self._was_waiting = self._was_waiting, bool(self._queue)
        return max(report.run_seconds, since) if was_waiting else report.run_seconds

    def _on_death(self, error: BaseException) -> None:
        def failure() -> LatensError:
            return EngineFailedError("the engine's thread is lost")

        self.close(failure)
        for riders in self._in_engine:
            for rider in riders:
                rider.fail(failure())
        self._tell_death(error)
