"""The calls that wait for an engine: by order of arrival, by the shape of their rows, by size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from latens_serving.engine.batch import PendingRows, Shape


class ShapedQueue:
    """A queue from which batches of equal rows are cut.

    A batch begins with the call that waits longest, so that no shape waits for another for ever,
    and takes the calls of its shape in their order.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.elements = 0
        self._by_arrival: deque[PendingRows] = deque()
        self._by_shape: dict[Shape, deque[PendingRows]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_shape)

    def append(self, pending: PendingRows) -> None:
        self._by_arrival.append(pending)
        if pending.shape not in self._by_shape:
            self._by_shape[pending.shape] = deque()
        self._by_shape[pending.shape].append(pending)
        self.rows += pending.count
        self.elements += pending.elements

    def cut(self, most_rows: int, most_elements: int) -> list[PendingRows]:
        """Takes the calls of one batch: at least one, then as many as the limits allow.

        Calls that are not awaited any more are dropped. Empty if no others wait.
        """
        batch: list[PendingRows] = []
        oldest = self._oldest()
        if oldest is None:
            return batch
        rows = elements = 0
        same = self._by_shape[oldest.shape]
        while same:
            pending = same[0]
            if not pending.future.done():
                if batch and (
                    rows + pending.count > most_rows or elements + pending.elements > most_elements
                ):
                    break
                rows, elements = rows + pending.count, elements + pending.elements
                batch.append(pending)
            # As `_take`, without a call for each.
            same.popleft()
            pending.taken = True
            self.rows -= pending.count
            self.elements -= pending.elements
        if not same:
            del self._by_shape[oldest.shape]
        return batch

    def drain(self) -> Iterator[PendingRows]:
        """Takes every call."""
        while (oldest := self._oldest()) is not None:
            self._take(self._by_shape[oldest.shape])
            yield oldest

    def _oldest(self) -> PendingRows | None:
        while self._by_arrival:
            pending = self._by_arrival[0]
            if not pending.taken and not pending.future.done():
                return pending
            if not pending.taken:  # then it is the first of its shape too
                self._take(self._by_shape[pending.shape])
            self._by_arrival.popleft()
        return None

    def _take(self, same: deque[PendingRows]) -> None:
        pending = same.popleft()
        pending.taken = True
        self.rows -= pending.count
        self.elements -= pending.elements
        if not same:
            del self._by_shape[pending.shape]


class FairQueue:
    """Whole calls and parts of large calls, in turns.

    A call that is larger than a batch comes in parts. While both kinds wait, one batch is of whole
    calls and the next of parts. So a small call waits for one part and not for all parts of a
    large call, and a large call has at least every other batch.
    """

    def __init__(self) -> None:
        self._calls = ShapedQueue()
        self._parts = ShapedQueue()
        self._is_turn_of_parts = False

    def __bool__(self) -> bool:
        return bool(self._calls) or bool(self._parts)

    @property
    def rows(self) -> int:
        return self._calls.rows + self._parts.rows

    @property
    def elements(self) -> int:
        return self._calls.elements + self._parts.elements

    def append(self, pending: PendingRows) -> None:
        (self._parts if pending.is_part else self._calls).append(pending)

    def cut(self, most_rows: int, most_elements: int, part_elements: int) -> list[PendingRows]:
        """Takes one batch, as `ShapedQueue.cut` does; of parts, `part_elements` at most."""
        if self._is_turn_of_parts:
            self._is_turn_of_parts = False
            batch = self._parts.cut(most_rows, part_elements)
            if batch:
                return batch
        batch = self._calls.cut(most_rows, most_elements)
        if batch:
            self._is_turn_of_parts = bool(self._parts)
            return batch
        return self._parts.cut(most_rows, part_elements)

    def drain(self) -> Iterator[PendingRows]:
        """Takes every call."""
        yield from self._calls.drain()
        yield from self._parts.drain()
