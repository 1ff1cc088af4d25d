"""One batch: the rows of several calls, their run, and the share of each call in the outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens_serving.engine.errors import DeviceLostError, DeviceMemoryError
from latens_serving.errors import (
    DeadlineError,
    EngineFailedError,
    LatensError,
    OutOfDeviceMemoryError,
)

Rows: TypeAlias = NDArray[Any]
Outputs: TypeAlias = tuple[Rows, ...]
Shape: TypeAlias = tuple[int, ...]
Run: TypeAlias = Callable[[Rows], Outputs]


_NO_ROWS: Rows = np.empty((0, 0))


# Not frozen, as each run makes one: each field of a frozen one is set by a call.
@dataclass(slots=True)
class BatchReport:
    """One run of the engine: its size, its time, and the waits of its calls."""

    rows: int
    elements: int
    """Of the input, all rows together."""
    run_seconds: float
    wait_seconds: tuple[float, ...]
    """The wait of each call of the batch."""
    failed: bool


class PendingRows:
    """Rows of one call that wait for the engine, and the future of their outputs."""

    __slots__ = (
        "_timer",
        "arrived",
        "count",
        "deadline",
        "elements",
        "future",
        "is_part",
        "rows",
        "shape",
        "taken",
    )

    def __init__(
        self,
        rows: Rows,
        deadline: float | None,
        future: asyncio.Future[Outputs],
        *,
        is_part: bool = False,
    ) -> None:
        self.rows = rows
        self.count: int = rows.shape[0]
        self.elements: int = rows.size
        self.shape: Shape = rows.shape[1:]
        self.taken = False  # from the queue, into a batch or dropped
        self.deadline = deadline
        self.future = future
        self.is_part = is_part  # of a call that is larger than a batch
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
        """Fails a call that is not answered yet at its deadline, queued or running."""
        if self.deadline is not None:
            self._timer = loop.call_at(loop.time() + self.deadline - time.monotonic(), self.expire)

    def drop(self) -> None:
        """Frees the rows and the timer. An entry whose caller left stays queued until the cut."""
        self.rows = _NO_ROWS
        if self._timer is not None:
            self._timer.cancel()

    def abandon(self) -> None:
        """As `drop`; nobody waits for the outcome any more."""
        self.drop()
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()  # marks it as seen


@dataclass(slots=True)
class Outcome:
    """The result of a batch, for the calls that still waited when it ran."""

    calls: list[PendingRows]
    result: Outputs | Exception
    report: BatchReport

    def settle(self) -> None:
        """Gives each call its rows, or the failure. Only open futures are touched."""
        if isinstance(self.result, Exception):
            _fail_each(self.calls, self.result, self.report.rows)
        else:
            _answer_each(self.calls, self.result)

    @property
    def lost(self) -> DeviceLostError | None:
        """The failure, if it means that the engine's device is lost."""
        return self.result if isinstance(self.result, DeviceLostError) else None


def execute(run: Run, batch: Iterable[PendingRows]) -> Outcome:
    """Runs a batch in the calling thread. Calls that left or expired are dropped before the run."""
    begun = time.monotonic()
    held = [(call, call.rows) for call in batch]  # before the check: `drop` frees the rows
    present = [pair for pair in held if pair[0].is_awaited(begun)]
    calls = [call for call, _ in present]
    result: Outputs | Exception = ()
    if calls:
        arrays = [rows for _, rows in present]
        try:
            result = run(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
        except Exception as error:  # reported to the calls of this batch alone
            result = error
    report = BatchReport(
        rows=sum([call.count for call in calls]),
        elements=sum([call.elements for call in calls]),
        run_seconds=time.monotonic() - begun,
        wait_seconds=tuple([begun - call.arrived for call in calls]),
        failed=isinstance(result, Exception),
    )
    return Outcome(calls, result, report)


def _answer_each(calls: Iterable[PendingRows], outputs: Outputs) -> None:
    start = 0
    for call in calls:
        end = start + call.count
        if not call.future.done():
            call.future.set_result(tuple([output[start:end] for output in outputs]))
        start = end


def _fail_each(calls: Iterable[PendingRows], cause: Exception, rows: int) -> None:
    for call in calls:
        error = _service_error(cause, rows)
        if error is not cause:
            error.__cause__ = cause
        call.fail(error)


def _service_error(cause: Exception, rows: int) -> LatensError:
    """An engine's failure as callers are told of it."""
    if isinstance(cause, LatensError):
        return cause
    if isinstance(cause, DeviceMemoryError):
        return OutOfDeviceMemoryError(
            f"the device has not enough memory for {rows} rows; send fewer"
        )
    if isinstance(cause, DeviceLostError):
        return EngineFailedError("the device is lost")
    return EngineFailedError()
