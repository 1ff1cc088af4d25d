"""Batches across callers: all rows that wait when the engine is free are its next run.

Three small mechanisms. A count of rows and bytes, those of the answers too, admits or refuses a
call. A queue, which only the event loop touches, is cut into batches of equal rows in the order of
arrival; a call is not split, unless it exceeds the limit of a batch by itself. Its parts take turns
with the other calls, so that no one waits for all of a large call. A batch then runs in
the event loop if the run is shorter than a hand-over to a thread would be, else in the engine's own
thread, with at most one more batch prepared behind the one that runs.

No batch waits for a timer: it is cut when there is work and the engine is free.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from latens_serving.engine.admission import Admitted, BatchLimits
from latens_serving.engine.batch import (
    BatchReport,
    Outcome,
    Outputs,
    PendingRows,
    Rows,
    Run,
    Shape,
    execute,
)
from latens_serving.engine.queue import FairQueue
from latens_serving.engine.run_seconds import RunSeconds
from latens_serving.engine.thread import EngineThread
from latens_serving.errors import EngineFailedError, LatensError

Failure: TypeAlias = Callable[[], LatensError]

__all__ = ["BatchLimits", "BatchReport", "Batcher"]

_STUCK_FACTOR = 20.0
# Of one large call: one that runs and one behind it.
_PARTS_QUEUED = 2
# So long after a small call the next one is expected.
_COMPANY_SECONDS = 0.05


class Batcher:
    """Joins the calls of many callers into runs of one engine.

    Belongs to the event loop of the first call. The outputs of all rows given to `submit` are
    returned in order, or an exception is raised. A caller that stops waiting delays no other.
    """

    def __init__(
        self,
        run: Run,
        limits: BatchLimits,
        *,
        runs_inline: Callable[[int], bool] = lambda elements: False,
        answer_bytes: Callable[[Shape], int] = lambda shape: 0,
        report: Callable[[BatchReport], None] = lambda report: None,
        died: Callable[[BaseException], None] = lambda error: None,
        name: str = "engine",
        run_seconds: RunSeconds | None = None,
    ) -> None:
        """Starts nothing: the engine's thread is started by the first run that needs it.

        Args:
            run: the engine: `[n, ...]` to arrays of n rows each. Never called concurrently.
            limits: rows, bytes and seconds.
            runs_inline: whether a run of that many input elements is short enough for the event
                loop.
            answer_bytes: the bytes of the outputs of a row of that shape.
            report: called after each run, in the event loop.
            died: called in the event loop when the device is lost, or the engine's thread ended
                or does not return.
            name: the name of the engine's thread.
            run_seconds: how long runs take, as far as it is known; later runs correct it.
        """
        self.limits = limits
        self.admitted = Admitted(limits, run_seconds or RunSeconds())
        self._run = run
        self._runs_inline = runs_inline
        self._answer_bytes = answer_bytes
        self._report = report
        self._tell_death = died
        self._name = name
        self._queue = FairQueue()
        self._untimed: list[PendingRows] = []  # have a deadline, and no timer yet
        self._in_engine: deque[list[PendingRows]] = deque()
        self._wakeup_due = False
        self._closed: Failure | None = None
        self._thread: EngineThread | None = None
        self._guarded: list[PendingRows] | None = None
        self._settled = 0.0  # when the last run was, and whether calls waited then
        self._was_waiting = False
        self._last_call = -math.inf  # when a call came that is not run in parts

    async def submit(self, rows: Rows, deadline: float | None = None) -> Outputs:
        """Runs rows through the engine, in one batch with those of other calls.

        Args:
            rows: `[n, ...]`, n > 0, of a shape and the type that the engine takes. Not changed.
            deadline: on the clock of `time.monotonic`; after it the answer is not wanted.

        Raises:
            QueueFullError: too many rows wait, or so many that the deadline would pass. Nothing was
                queued.
            DeadlineError: the deadline passed before the engine had run all rows.
            LatensError: the run failed, or the batcher is closed.
        """
        size: int = rows.nbytes + rows.shape[0] * self._answer_bytes(rows.shape[1:])
        self.admitted.add(rows, size, deadline)
        try:
            if self.limits.is_large(rows):
                return await self._run_in_parts(rows, deadline)
            return await self._enqueue(rows, deadline)
        finally:
            self.admitted.remove(rows, size)

    async def _run_in_parts(self, rows: Rows, deadline: float | None) -> Outputs:
        """Runs the parts in order; a few are queued at a time, so that large calls take turns."""
        answers: list[Outputs] = []
        queued: deque[PendingRows] = deque()
        start = 0
        try:
            while start < len(rows):
                if len(queued) == _PARTS_QUEUED:
                    answers.append(await queued[0].future)
                    queued.popleft().drop()
                end = start + self.limits.rows_of(self._part_elements(), rows)
                queued.append(self._append(rows[start:end], deadline, is_part=True))
                start = end
            answers += [await pending.future for pending in queued]
        finally:
            for pending in queued:
                pending.abandon()
        if len(answers) == 1:
            return answers[0]
        return tuple(np.concatenate(arrays) for arrays in zip(*answers, strict=True))

    def _part_elements(self) -> int:
        """The elements of a part: few while small calls come, so that none waits long for one."""
        limits = self.limits
        is_alone = time.monotonic() - self._last_call > _COMPANY_SECONDS
        return (
            limits.batch_elements if is_alone else min(limits.part_elements, limits.batch_elements)
        )

    def expected_seconds(self, rows: Rows) -> float:
        """How long a run of these rows takes, by what others took."""
        return self.admitted.run_seconds.expected(rows.size)

    def close(self, failure: Failure) -> None:
        """Fails the calls that wait and later ones; a run under way is not awaited."""
        self._closed = failure
        for pending in self._queue.drain():
            pending.fail(failure())
        if self._thread is not None:
            self._thread.stop()

    async def _enqueue(self, rows: Rows, deadline: float | None) -> Outputs:
        pending = self._append(rows, deadline)
        try:
            return await pending.future
        finally:
            pending.drop()

    def _append(self, rows: Rows, deadline: float | None, *, is_part: bool = False) -> PendingRows:
        if self._closed is not None:
            raise self._closed()
        loop = asyncio.get_running_loop()
        pending = PendingRows(rows, deadline, loop.create_future(), is_part=is_part)
        self._queue.append(pending)
        if not is_part:
            self._last_call = pending.arrived
        if deadline is not None:
            self._untimed.append(pending)
        if not self._wakeup_due:
            self._wake(loop)
        return pending

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the loop's next turn, so that all calls that arrived in this one join the batch.
        if not self._wakeup_due and self._queue:
            self._wakeup_due = True
            loop.call_soon(self._dispatch, loop)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wakeup_due = False
        self._take_batch(loop)
        # Only now: most calls have been answered, and a timer costs more than their queueing did.
        for pending in self._untimed:
            if not pending.future.done():
                pending.expire_in_time(loop)
        self._untimed.clear()

    def _take_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._in_engine and not self._may_prefetch():
            return  # the end of the run wakes us
        limits = self.limits
        batch = self._queue.cut(limits.batch_rows, limits.batch_elements, self._part_elements())
        if not batch:
            return
        self._in_engine.append(batch)
        if len(self._in_engine) == 1 and self._runs_inline(sum([call.elements for call in batch])):
            self._settle(loop, execute(self._run, batch))
        else:
            self._post(loop, batch)
            self._wake(loop)

    def _may_prefetch(self) -> bool:
        # A batch that is not full stays open until the engine is free.
        limits, queue = self.limits, self._queue
        is_full = queue.rows >= limits.batch_rows or queue.elements >= limits.batch_elements
        return len(self._in_engine) == 1 and is_full

    def _post(self, loop: asyncio.AbstractEventLoop, batch: list[PendingRows]) -> None:
        def in_loop(function: Callable[..., None], *args: Any) -> None:
            if not loop.is_closed():  # at the end of the process nobody waits any more
                loop.call_soon_threadsafe(function, *args)

        if self._thread is None:
            self._thread = EngineThread(
                self._name, died=lambda error: in_loop(self._on_death, error)
            )
        self._thread.post(lambda: in_loop(self._settle, loop, execute(self._run, batch)))
        self._guard(loop)

    def _guard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Checks after some time whether the present batch still runs."""
        if self._guarded is None:
            self._guarded = self._in_engine[0]
            elements = sum(call.elements for call in self._guarded)
            expected = self.admitted.run_seconds.expected(elements)
            longest = max(self.limits.stuck_seconds, _STUCK_FACTOR * expected)
            loop.call_later(longest, self._look, loop)

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
        if not outcome.calls:
            return
        outcome.settle()
        report = outcome.report
        if not report.failed:
            self.admitted.run_seconds.learn(report.elements, self._seconds_of(report))
        self._report(report)
        if outcome.lost is not None:
            self._tell_death(outcome.lost)

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
        for batch in self._in_engine:
            for pending in batch:
                pending.fail(failure())
        self._tell_death(error)
