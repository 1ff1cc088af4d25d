"""Splitting a batch into calls that a server takes, and joining the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latens import arguments, wire
from latens.calls import Call, CallGroup, Plan
from latens.errors import ResponseError, TooLargeError
from latens.models import Limits


class ModelRef(NamedTuple):
    """The model that a request means."""

    model: str = ""
    """Empty for the server's default."""
    version: str = ""
    """Empty for the newest that is ready."""


def model_ref(model: str, version: str) -> ModelRef:
    """Checks the arguments that name a model.

    Raises:
        InvalidInputError: one of them is no text.
    """
    return ModelRef(arguments.text("model", model), arguments.text("version", version))


Progress = Callable[[int, int], None]
"""Called after each call with the items done and the items in all."""

ENVELOPE_BYTES = 4096
"""Room left in a message for everything but the tensors' elements."""


class BatchSpec(NamedTuple):
    """The size of a batch for a model, and its calls."""

    items: int
    """The length of axis 0."""
    item_bytes: int
    """The bytes of one item in the request or in the response, whichever is larger."""
    call: Callable[[ModelRef, int, int], Call]
    """Makes the call for the items from one number up to another."""
    rows: int = 1
    """The rows that an item counts for."""
    passes: int = 0
    """How often an item goes through the graphs; 0 where that is not limited."""
    row_bytes: int = 0
    """The bytes by which the server counts rows of these sizes; 0 where it counts rows alone."""


class CallBudget(NamedTuple):
    """What one call of a batch may carry."""

    limits: Limits
    max_message_bytes: int
    """The client's own bound, beside the server's."""
    rows_per_call: int | None = None
    """The caller's own bound, below the server's."""
    progress: Progress | None = None

    def items_per_call(self, spec: BatchSpec) -> int:
        """How many items a call can carry, at least 1.

        Raises:
            TooLargeError: a single item exceeds the bytes of a message.
        """
        if spec.items and spec.item_bytes > self._room:
            largest = self._room + ENVELOPE_BYTES
            raise TooLargeError(
                f"one item takes {spec.item_bytes} bytes, and a message may have {largest}"
            )
        bounds = [self._rows_of(spec) // max(1, spec.rows), self._room // max(1, spec.item_bytes)]
        if spec.passes and self.limits.max_row_passes:
            bounds.append(self.limits.max_row_passes // spec.passes)
        return max(1, min(bounds))

    def can_carry_an_item(self, spec: BatchSpec) -> bool:
        """Whether a call has room for the rows and the bytes of one item."""
        return spec.rows <= self._rows_of(spec) and spec.item_bytes <= self._room

    def _rows_of(self, spec: BatchSpec) -> int:
        rows = min(self.limits.max_rows, self.rows_per_call or self.limits.max_rows)
        if spec.row_bytes:
            fitting = (self.limits.max_message_bytes - ENVELOPE_BYTES) // spec.row_bytes
            rows = min(rows, max(1, fitting))
        return rows

    @property
    def _room(self) -> int:
        return min(self.limits.max_message_bytes, self.max_message_bytes) - ENVELOPE_BYTES


class BatchReply:
    """The answers of a batch's calls, joined as they arrive.

    One answer for the whole batch is kept as it is: its arrays are views over the bytes received.
    Several are copied into arrays of the whole size, so that only the calls in flight are held
    twice.
    """

    def __init__(self, items: int, progress: Progress | None) -> None:
        self.message: Any = None
        """The first response without its tensors."""
        self.labels: list[int] = []
        """The classes that the answers state, of all rows in order."""
        self._arrays: wire.Arrays = {}
        self._items = items
        self._done = 0
        self._progress = progress

    def take(self, parsed: wire.Parsed) -> None:
        """Adds the next answer.

        Raises:
            ResponseError: its arrays differ from those of the first in names or shapes.
        """
        counts = {len(array) for array in parsed.arrays.values() if array.ndim}
        if len(counts) != 1 or self._done + min(counts) > self._items:
            raise ResponseError(
                f"an answer has {sorted(counts)} rows, expected {self._items} in all"
            )
        count = counts.pop()
        self.labels += getattr(parsed.message, "labels", ())
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
            raise ResponseError("the answers to the parts of a batch hold different tensors")
        for name, array in arrays.items():
            whole = self._arrays[name]
            if array.shape[1:] != whole.shape[1:]:
                raise ResponseError(f"{name}: the parts of a batch differ in shape")
            whole[self._done : self._done + count] = array

    def array(self, name: str) -> NDArray[Any]:
        """A tensor of the whole batch, read-only.

        Raises:
            ResponseError: the answers lack it.
        """
        array = self.find(name)
        if array is None:
            raise ResponseError(f"the answer lacks {name}")
        return array

    def data(self) -> NDArray[Any]:
        """The images of the whole batch, or the items of another modality, read-only.

        Raises:
            ResponseError: the answers lack them.
        """
        items = self.find("items")
        return self.array("images") if items is None else items

    def find(self, name: str) -> NDArray[Any] | None:
        """A tensor of the whole batch, read-only, or None where the answers lack it."""
        if self._done != self._items:
            raise ResponseError(f"the answers have {self._done} rows of {self._items}")
        array = self._arrays.get(name)
        if array is not None:
            array.flags.writeable = False
        return array


@contextmanager
def in_memory() -> Iterator[None]:
    """Turns a failure to allocate a whole batch into TooLargeError."""
    try:
        yield
    except (MemoryError, ValueError) as error:  # numpy's ValueError: beyond the address space
        raise TooLargeError(f"the result does not fit into memory: {error}") from error


def send(spec: BatchSpec, ref: ModelRef, budget: CallBudget) -> Plan[BatchReply]:
    """The plan of a batch: the first call alone, then the others, of the version that answered.

    So two models are never mixed in one result when a new version is loaded meanwhile, or another
    server has another version.
    """
    step = budget.items_per_call(spec)
    reply = BatchReply(spec.items, budget.progress)
    yield CallGroup((spec.call(ref, 0, min(step, spec.items)),), reply.take)
    starts = range(step, spec.items, step)
    if starts:
        stops = itertools.chain(starts[1:], (spec.items,))
        pinned = ref._replace(version=reply.message.version)
        yield CallGroup(
            (spec.call(pinned, start, stop) for start, stop in zip(starts, stops, strict=True)),
            reply.take,
        )
    return reply
