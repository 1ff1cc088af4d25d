"""Messages with a tensor, read and written on the hot path.

Calls of one client differ in their tensor's data and in nothing else. So what surrounds the data
is remembered: a message with the same bytes around as many bytes of data means the same, and is
read by comparing those; an answer of the same shape is written around the arrays' memory. Whatever
is new goes through `latens.wire`, and through protobuf itself where that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from latens import wire

MessageT = TypeVar("MessageT", bound=Message)
Payload = bytes | memoryview
Part = bytes | memoryview

_KNOWN = 64
_LONGEST_SURROUNDINGS = 512


class _Form(NamedTuple):
    """A request that came before, but for the data of its tensor."""

    before: bytes
    after: bytes
    message: Any
    dtype: np.dtype[Any]
    size: int
    shape: tuple[int, ...]


class RequestReader(Generic[MessageT]):
    """Reads requests of one type, which have one tensor that matters."""

    def __init__(self, kind: type[MessageT], field: str) -> None:
        """Makes a reader; `field` names the tensor."""
        self._kind = kind
        self._field = field
        self._forms: dict[int, _Form] = {}

    def read(self, payload: Payload) -> tuple[MessageT, Any]:
        """The message without its tensor, not to be changed, and the tensor.

        The tensor is a read-only array over `payload`, or an empty `Tensor` when there is none.

        Raises:
            DecodeError: the bytes are no such message.
            tensors.TensorError: the tensor contradicts itself.
        """
        form = self._forms.get(len(payload))
        if form is not None:
            before, after, message, dtype, size, shape = form
            start = len(before)
            if payload[:start] == before and payload[len(payload) - len(after) :] == after:
                return message, np.frombuffer(payload, dtype, size, start).reshape(shape)
        return self._read_anew(payload)

    def _read_anew(self, payload: Payload) -> tuple[MessageT, Any]:
        message, arrays = wire.parse(self._kind, payload)
        array = arrays.get(self._field)
        if array is None:
            return message, getattr(message, self._field)
        self._remember(payload, message, array)
        return message, array

    def _remember(self, payload: Payload, message: MessageT, array: NDArray[Any]) -> None:
        whole = np.frombuffer(payload, np.uint8)
        start = array.ctypes.data - whole.ctypes.data
        end = start + array.nbytes
        if not (array.nbytes and start >= 0 and end <= len(payload)):
            return  # protobuf parsed it, into memory of its own
        around = len(payload) - array.nbytes
        if around > _LONGEST_SURROUNDINGS:
            return
        if len(self._forms) >= _KNOWN and len(payload) not in self._forms:
            self._forms.clear()
        before, after = bytes(payload[:start]), bytes(payload[end:])
        self._forms[len(payload)] = _Form(
            before, after, message, array.dtype, array.size, array.shape
        )


class AnswerWriter:
    """Writes answers of one type: small fields, and arrays as tensors."""

    def __init__(self, kind: type[Message], fields: Sequence[str]) -> None:
        """Makes a writer; `fields` names the tensors, in the order of `write`."""
        self._kind = kind
        self._fields = fields
        self._known: dict[Hashable, tuple[list[Part], int]] = {}

    def write(
        self, key: Hashable, small: Callable[[], Message], arrays: Sequence[NDArray[Any] | None]
    ) -> tuple[list[Part], int]:
        """The parts of a message, in the order of their bytes, and their size.

        Args:
            key: stands for all but the arrays' elements: their shapes and types, which of them are
                absent, and the small fields. None if that is not worth remembering.
            small: makes the other fields; asked when the key is new.
            arrays: C-contiguous; None for a field that is absent.
        """
        known = self._known.get(key)
        if known is None:
            known = self._compose(small(), arrays)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            if key is not None:
                self._known[key] = known
        heads, size = known
        parts = heads.copy()
        place = 1
        for array in arrays:
            if array is not None:
                parts[place] = array.data
                place += 2
        return parts, size

    def _compose(
        self, small: Message, arrays: Sequence[NDArray[Any] | None]
    ) -> tuple[list[Part], int]:
        """Heads, each before an empty place for the data, and the small fields at the end."""
        parts: list[Part] = []
        size = 0
        for field, array in zip(self._fields, arrays, strict=True):
            if array is None:
                continue
            head = wire.head(self._kind.DESCRIPTOR, field, array.dtype, array.shape)
            parts += (head, b"")
            size += len(head) + array.nbytes
        parts.append(small.SerializeToString())
        return parts, size + len(parts[-1])
