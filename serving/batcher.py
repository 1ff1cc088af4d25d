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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from serving.engine_thread import EngineThread
from serving.errors import DeadlineError, EngineFailedError, LatensError, QueueFullError

Rows: TypeAlias = NDArray[Any]
Outputs: TypeAlias = tuple[Rows, ...]
Run: TypeAlias = Callable[[Rows], Outputs]
Failure: TypeAlias = Callable[[], LatensError]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much a batcher takes."""

    batch_rows: int = 1024
    """Rows of one run of the engine."""
    queue_rows: int = 65536
    """Rows of all calls that were admitted and not yet answered."""
    queue_bytes: int = 256 << 20
    """Bytes of the same."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What happened in one run of the engine."""

    rows: int
    run_seconds: float
    wait_seconds: tuple[float, ...]
    """How long each call of the batch had waited."""
    failed: bool


class _Call:
    """Rows that wait for the engine, and who waits for them."""

    __slots__ = ("arrived", "count", "deadline", "future", "rows")

    def __init__(self, rows: Rows, deadline: float | None, future: asyncio.Future[Outputs]):
        self.rows = rows
        self.count = len(rows)
        self.deadline = deadline
        self.future = future
        self.arrived = time.monotonic()

    def is_awaited(self, now: float) -> bool:
        return not self.future.done() and (self.deadline is None or now < self.deadline)

    def expire(self) -> None:
        self.fail(DeadlineError("the deadline passed while the call waited for the engine"))

    def fail(self, error: LatensError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


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
    ) -> None:
        """Makes an idle batcher.

        Args:
            run: the engine: `[n, ...]` to arrays of n rows each. Never called twice at a time.
            limits: how much it takes.
            runs_inline: whether a run of so many rows is short enough for the event loop.
            report: told of each run, in the event loop.
            died: told, in the event loop, when the engine's thread has ended by an exception.
            name: of the engine's thread.
        """
        self.limits = limits
        self.rows_admitted = 0
        self.bytes_admitted = 0
        self._run = run
        self._runs_inline = runs_inline
        self._report = report
        self._tell_death = died
        self._name = name
        self._queue: deque[_Call] = deque()
        self._in_engine = 0
        self._wakeup_due = False
        self._rows_queued = 0
        self._closed: Failure | None = None
        self._thread: EngineThread | None = None
        self._seconds_a_row = 0.0

    async def submit(self, rows: Rows, deadline: float | None = None) -> Outputs:
        """Runs rows through the engine, in company with other calls.

        Args:
            rows: `[n, ...]`, n > 0, of the engine's shape and type. Not changed.
            deadline: on the clock of `time.monotonic`, after which no one wants the answer.

        Raises:
            QueueFullError: too much waits already. Nothing was queued.
            DeadlineError: the engine never ran (all of) the rows.
            LatensError: what the engine raised, or why the batcher is closed.
        """
        if self._closed is not None:
            raise self._closed()
        self._admit(rows)
        try:
            if len(rows) <= self.limits.batch_rows:
                return await self._ride(rows, deadline)
            size = self.limits.batch_rows
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

    def _admit(self, rows: Rows) -> None:
        limits = self.limits
        too_many = self.rows_admitted + len(rows) > limits.queue_rows
        too_heavy = self.bytes_admitted + rows.nbytes > limits.queue_bytes
        # A call that is larger than the whole queue is let in alone rather than never.
        if self.rows_admitted and (too_many or too_heavy):
            hint = min(max(self.rows_admitted * self._seconds_a_row, 0.01), 5.0)
            raise QueueFullError(
                f"{self.rows_admitted} rows wait already, and {limits.queue_rows} may",
                retry_after=hint,
            )
        self.rows_admitted += len(rows)
        self.bytes_admitted += rows.nbytes

    async def _ride(self, rows: Rows, deadline: float | None) -> Outputs:
        if self._closed is not None:  # it may have closed between the parts of a call
            raise self._closed()
        loop = asyncio.get_running_loop()
        call = _Call(rows, deadline, loop.create_future())
        self._queue.append(call)
        self._rows_queued += call.count
        self._wake(loop)
        timer = None
        if deadline is not None:
            timer = loop.call_later(max(deadline - call.arrived, 0), call.expire)
        try:
            return await call.future
        finally:
            call.rows = call.rows[:0]  # who leaves early must not hold memory in the queue
            if timer is not None:
                timer.cancel()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the loop's next turn, so that all that arrived in this one is in the batch.
        if not self._wakeup_due and self._queue:
            self._wakeup_due = True
            loop.call_soon(self._dispatch, loop)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wakeup_due = False
        if self._in_engine and not self._may_prefetch():
            return  # the end of the run wakes us
        calls = self._cut()
        if not calls:
            return
        self._in_engine += 1
        if self._in_engine == 1 and self._runs_inline(sum(call.count for call in calls)):
            self._settle(loop, *_execute(self._run, calls))
        else:
            self._post(loop, calls)
            self._wake(loop)

    def _may_prefetch(self) -> bool:
        # A batch that is not full had better stay open until the engine is free.
        return self._in_engine == 1 and self._rows_queued >= self.limits.batch_rows

    def _cut(self) -> list[_Call]:
        calls: list[_Call] = []
        room = self.limits.batch_rows
        while self._queue:
            call = self._queue[0]
            left = call.future.done()
            if not left and call.count > room:
                break
            self._queue.popleft()
            self._rows_queued -= call.count
            if not left:
                calls.append(call)
                room -= call.count
        return calls

    def _post(self, loop: asyncio.AbstractEventLoop, calls: list[_Call]) -> None:
        if self._thread is None:
            self._thread = EngineThread(
                self._name, lambda error: _call_in(loop, self._on_death, error)
            )
        self._thread.post(lambda: _call_in(loop, self._settle, loop, *_execute(self._run, calls)))

    def _settle(
        self,
        loop: asyncio.AbstractEventLoop,
        calls: list[_Call],
        result: Outputs | Exception,
        report: BatchReport,
    ) -> None:
        self._in_engine -= 1
        self._wake(loop)
        if not calls:
            return
        if isinstance(result, Exception):
            _fail_each(calls, result)
        else:
            self._seconds_a_row += 0.1 * (report.run_seconds / report.rows - self._seconds_a_row)
            _answer_each(calls, result)
        self._report(report)

    def _on_death(self, error: BaseException) -> None:
        self.close(lambda: EngineFailedError("the engine's thread died"))
        self._tell_death(error)


def _execute(run: Run, calls: list[_Call]) -> tuple[list[_Call], Outputs | Exception, BatchReport]:
    """Runs a batch where it stands. Who has left or expired is dropped here, and only here."""
    begun = time.monotonic()
    held = [(call, call.rows) for call in calls]
    riders = [(call, rows) for call, rows in held if call.is_awaited(begun)]
    waits = tuple(begun - call.arrived for call, _ in riders)
    count = sum(len(rows) for _, rows in riders)
    result: Outputs | Exception = ()
    if riders:
        try:
            arrays = [rows for _, rows in riders]
            result = run(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
        except Exception as error:
            result = error
    seconds = time.monotonic() - begun
    report = BatchReport(count, seconds, waits, isinstance(result, Exception))
    return [call for call, _ in riders], result, report


def _answer_each(calls: Iterable[_Call], outputs: Outputs) -> None:
    start = 0
    for call in calls:
        end = start + call.count
        if not call.future.done():
            call.future.set_result(tuple(output[start:end] for output in outputs))
        start = end


def _fail_each(calls: Iterable[_Call], cause: Exception) -> None:
    for call in calls:
        error = cause if isinstance(cause, LatensError) else EngineFailedError()
        if error is not cause:
            error.__cause__ = cause
        call.fail(error)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    if not loop.is_closed():  # at the end of the process no one waits any more
        loop.call_soon_threadsafe(function, *args)
