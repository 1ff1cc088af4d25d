"""One batch: the calls that ride in it, its run, and each rider's share of the outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens_serving.errors import DeadlineError, EngineFailedError, LatensError

Rows: TypeAlias = NDArray[Any]
Outputs: TypeAlias = tuple[Rows, ...]
Run: TypeAlias = Callable[[Rows], Outputs]


_NO_ROWS: Rows = np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What happened in one run of the engine."""

    rows: int
    run_seconds: float
    wait_seconds: tuple[float, ...]
    """How long each call of the batch had waited."""
    failed: bool


class Rider:
    """Rows that wait for the engine, and who waits for them."""

    __slots__ = ("_timer", "arrived", "count", "deadline", "future", "rows")

    def __init__(self, rows: Rows, deadline: float | None, future: asyncio.Future[Outputs]) -> None:
        self.rows = rows
        self.count = len(rows)
        self.deadline = deadline
        self.future = future
        self.arrived = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def is_awaited(self, now: float) -> bool:
        return not self.future.done() and (self.deadline is None or now < self.deadline)

    def expire(self) -> None:
        self.fail(DeadlineError("the deadline passed while the call waited for the engine"))

    def fail(self, error: LatensError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def expire_in_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fails the call at its deadline, wherever it then is."""
        if self.deadline is not None and not self.future.done():
            self._timer = loop.call_at(loop.time() + self.deadline - time.monotonic(), self.expire)

    def leave(self) -> None:
        """Lets go of the memory: who leaves early stays in the queue until it is cut."""
        self.rows = _NO_ROWS
        if self._timer is not None:
            self._timer.cancel()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a batch, for the riders that were still there when it ran."""

    riders: list[Rider]
    result: Outputs | Exception
    report: BatchReport

    def settle(self) -> None:
        """Gives each rider its rows, or the failure. Only open futures are touched."""
        if isinstance(self.result, Exception):
            _fail_each(self.riders, self.result)
        else:
            _answer_each(self.riders, self.result)


def execute(run: Run, riders: Iterable[Rider]) -> Outcome:
    """Runs a batch in the thread that calls. Who has left or expired is dropped here, unrun."""
    begun = time.monotonic()
    held = [(rider, rider.rows) for rider in riders]  # before the look: leaving lets rows go
    present = [(rider, rows) for rider, rows in held if rider.is_awaited(begun)]
    result: Outputs | Exception = ()
    if present:
        arrays = [rows for _, rows in present]
        try:
            result = run(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
        except Exception as error:  # it belongs to the riders, and to nobody else
            result = error
    report = BatchReport(
        rows=sum(rider.count for rider, _ in present),
        run_seconds=time.monotonic() - begun,
        wait_seconds=tuple(begun - rider.arrived for rider, _ in present),
        failed=isinstance(result, Exception),
    )
    return Outcome([rider for rider, _ in present], result, report)


def _answer_each(riders: Iterable[Rider], outputs: Outputs) -> None:
    start = 0
    for rider in riders:
        end = start + rider.count
        if not rider.future.done():
            rider.future.set_result(tuple([output[start:end] for output in outputs]))
        start = end


def _fail_each(riders: Iterable[Rider], cause: Exception) -> None:
    for rider in riders:
        error = cause if isinstance(cause, LatensError) else EngineFailedError()
        if error is not cause:
            error.__cause__ = cause
        rider.fail(error)
