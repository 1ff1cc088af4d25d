"""Counts what a batcher has admitted, and refuses what would be too much or too late."""

from __future__ import annotations

import time
from dataclasses import dataclass

from latens_serving.engine.batch import Rows
from latens_serving.engine.run_seconds import RunSeconds
from latens_serving.errors import QueueFullError

_SHORTEST_HINT, _LONGEST_HINT = 0.01, 5.0
# The queue's part of what a caller will wait; the rest is for reading, writing and the network.
_SHARE_OF_DEADLINE = 0.5


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a batcher."""

    batch_rows: int = 1024
    """Rows of one run of the engine."""
    batch_elements: int = 1 << 40
    """Elements of the input of one run; a row that has more runs alone."""
    part_elements: int = 1 << 40
    """The same while small calls come, if that is less. A call that has more is run in parts."""
    queue_rows: int = 65536
    """Rows of all calls that were admitted and not yet answered."""
    queue_bytes: int = 256 << 20
    """Bytes of those rows and of their answers."""
    stuck_seconds: float = 120.0
    """The longest run in the engine's thread; after it the engine counts as lost. A run that is
    expected to take long, by what others took, may take several times that."""

    def is_large(self, rows: Rows) -> bool:
        """Whether a call of these rows is run in parts."""
        return (
            rows.size > self.part_elements
            or rows.size > self.batch_elements
            or rows.shape[0] > self.batch_rows
        )

    def rows_of(self, elements: int, rows: Rows) -> int:
        """How many rows of this shape a run of so many elements takes."""
        fitting = elements * len(rows) // max(rows.size, 1)
        return max(1, min(self.batch_rows, fitting))


class Admitted:
    """The rows that were admitted and not yet answered.

    Attributes:
        rows: how many.
        bytes: of those rows and of their answers.
        elements: of those rows.
        run_seconds: how long runs take.
    """

    __slots__ = ("_limits", "bytes", "elements", "rows", "run_seconds")

    def __init__(self, limits: BatchLimits, run_seconds: RunSeconds) -> None:
        self.rows = 0
        self.bytes = 0
        self.elements = 0
        self.run_seconds = run_seconds
        self._limits = limits

    def add(self, rows: Rows, size: int, deadline: float | None) -> None:
        """Admits a call of so many bytes.

        Raises:
            QueueFullError: too much is waiting. Nothing was admitted.
        """
        count: int = rows.shape[0]
        if self.rows:  # a call that is larger than the whole queue is admitted when it is empty
            limits = self._limits
            if self.rows + count > limits.queue_rows or self.bytes + size > limits.queue_bytes:
                raise self._full()
            if deadline is not None:
                wait = self._wait(count, rows.size)
                if wait > _SHORTEST_HINT:
                    self._refuse_if_late(wait, deadline)
        self.rows += count
        self.bytes += size
        self.elements += rows.size

    def remove(self, rows: Rows, size: int) -> None:
        """Counts a call that was answered, or left."""
        self.rows -= rows.shape[0]
        self.bytes -= size
        self.elements -= rows.size

    def _wait(self, rows: int, elements: int) -> float:
        """The seconds until what is admitted and these rows have run, in full batches."""
        rows, elements = self.rows + rows, self.elements + elements
        limits = self._limits
        runs = 1 + rows // limits.batch_rows + elements // limits.batch_elements
        return self.run_seconds.expected(elements, runs)

    def _full(self) -> QueueFullError:
        limits = self._limits
        return QueueFullError(
            f"{self.rows} rows ({self.bytes} bytes) are waiting; "
            f"the queue holds {limits.queue_rows} ({limits.queue_bytes})",
            retry_after=_hint(self._wait(0, 0)),
        )

    def _refuse_if_late(self, wait: float, deadline: float) -> None:
        """Refuses at once what would come to its turn too late: work on it would be wasted."""
        left = deadline - time.monotonic()
        if wait > _SHARE_OF_DEADLINE * left:
            raise QueueFullError(
                f"{self.rows} rows are waiting, for about {wait:.3g} s; "
                f"the deadline is in {left:.3g} s",
                retry_after=_hint(wait),
            )


def _hint(seconds: float) -> float:
    return min(max(seconds, _SHORTEST_HINT), _LONGEST_HINT)
