"""Splitting a batch into calls that a server takes, and joining the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latens import wire
from latens.errors import ResponseError, TooLargeError
from latens.exchange import Call, Exchange, Plan
from latens.models import Limits


class Address(NamedTuple):
    """Which model a request means."""

    model: str = ""
    """Empty for the server's default."""
    version: str = ""
    """Empty for the newest that is ready."""


Progress = Callable[[int, int], None]
"""Called with the items done and those in all, after each call."""

ENVELOPE_BYTES = 4096
"""Room left in a message for all but the tensors' elements."""


class Work(NamedTuple):
    """A batch of items to be sent through one method."""

    items: int
    """The length of axis 0."""
    item_bytes: int
    """The larger of what an item takes in the request and in the response."""
    call: Callable[[Address, int, int], Call]
    """The call to a model for the items from one number up to another."""
    rows: int = 1
    """The rows that an item counts for."""
    passes: int = 0
    """How often an item goes through the graphs; 0 where that is not counted."""


class Pace(NamedTuple):
    """How the calls of a batch follow each other."""

    limits: Limits
    max_message_bytes: int
    """The client's own bound, beside the server's."""
    rows_per_call: int | None = None
    """The caller's own bound, below the server's."""
    progress: Progress | None = None

    def items_per_call(self, work: Work) -> int:
        """How many items a call can carry, at least 1.

        Raises:
            TooLargeError: a single item exceeds the bytes of a message.
        """
        if work.items and work.item_bytes > self._room:
            largest = self._room + ENVELOPE_BYTES
            raise TooLargeError(
                f"one item takes {work.item_bytes} bytes, and a message may have {largest}"
            )
        bounds = [self._rows // max(1, work.rows), self._room // max(1, work.item_bytes)]
        if work.passes and self.limits.max_row_passes:
            bounds.append(self.limits.max_row_passes // work.passes)
        return max(1, min(bounds))

    def can_carry_an_item(self, work: Work) -> bool:
        """Whether a call has room for the rows and the bytes of one item."""
        return work.rows <= self._rows and work.item_bytes <= self._room

    @property
    def _rows(self) -> int:
        return min(self.limits.max_rows, self.rows_per_call or self.limits.max_rows)

    @property
    def _room(self) -> int:
        return min(self.limits.max_message_bytes, self.max_message_bytes) - ENVELOPE_BYTES


class Gathered:
    """The answers of a batch's calls, joined as they come.

    One answer for the whole batch is kept as it is, its arrays views over the bytes received.
    Several are copied into arrays of the whole size, so that no more than the calls in flight is
    held twice.
    """

    def __init__(self, items: int, progress: Progress | None) -> None:
        self.message: Any = None
        """The first response without its tensors."""
        self._arrays: wire.Arrays = {}
        self._items = items
        self._done = 0
        self._progress = progress

    def take(self, parsed: wire.Parsed) -> None:
        """Takes the next answer.

        Raises:
            ResponseError: it has not the arrays or the shapes of the first.
        """
        counts = {len(array) for array in parsed.arrays.values() if array.ndim}
        if len(counts) != 1 or self._done + min(counts) > self._items:
            raise ResponseError(f"an answer has {sorted(counts)} rows, {self._items} are awaited")
        count = counts.pop()
        if self.message is None:
            self._begin(parsed, count)
        if self._arrays is not parsed.arrays:
            self._copy(parsed.arrays, count)
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._items)

    def _begin(self, parsed: wire.Parsed, count: int) -> None:
        self.message = parsed.message
        if count == self._items:
            self._arrays = parsed.arrays
            return
        with in_memory():
            self._arrays = {
                name: np.empty((self._items, *array.shape[1:]), array.dtype)
                for name, array in parsed.arrays.items()
            }

    def _copy(self, arrays: wire.Arrays, count: int) -> None:
        if arrays.keys() != self._arrays.keys():
            raise ResponseError("the answers to the parts of a batch do not hold the same tensors")
        for name, array in arrays.items():
            whole = self._arrays[name]
            if array.shape[1:] != whole.shape[1:]:
                raise ResponseError(f"{name}: the parts of a batch differ in shape")
            whole[self._done : self._done + count] = array

    def array(self, name: str) -> NDArray[Any]:
        """A tensor of the whole batch, read-only.

        Raises:
            ResponseError: the answers do not hold it.
        """
        array = self.find(name)
        if array is None:
            raise ResponseError(f"the answer lacks {name}")
        return array

    def find(self, name: str) -> NDArray[Any] | None:
        """A tensor of the whole batch, read-only, or None where the answers do not hold it."""
        if self._done != self._items:
            raise ResponseError(f"the answers have {self._done} rows of {self._items}")
        array = self._arrays.get(name)
        if array is not None:
            array.flags.writeable = False
        return array


@contextmanager
def in_memory() -> Iterator[None]:
    """For the making of arrays of a whole batch: one that cannot be held is a batch too large."""
    try:
        yield
    except (MemoryError, ValueError) as error:  # numpy's ValueError: beyond any address
        raise TooLargeError(f"the result does not fit into memory: {error}") from error


def send(work: Work, address: Address, pace: Pace) -> Plan[Gathered]:
    """The plan of a batch: the first call alone, then the others of the version that answered it.

    A server that gets a new version meanwhile, or a second server that has another, so cannot mix
    two models into one answer.
    """
    step = pace.items_per_call(work)
    gathered = Gathered(work.items, pace.progress)
    yield Exchange((work.call(address, 0, min(step, work.items)),), gathered.take)
    starts = range(step, work.items, step)
    if starts:
        stops = itertools.chain(starts[1:], (work.items,))
        pinned = address._replace(version=gathered.message.version)
        yield Exchange(
            (work.call(pinned, start, stop) for start, stop in zip(starts, stops, strict=True)),
            gathered.take,
        )
    return gathered
