"""Messages with a tensor, read and written without copies of their elements.

Calls of one client differ in their tensor's elements and in nothing else. So requests are read by
`latens.message_reader`, which remembers what surrounds the elements, and an answer of the same
shape as before is written around the arrays' memory. New messages go through `latens.wire`, and
through protobuf itself where that does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from numpy.typing import NDArray

from latens import wire
from latens.message_reader import MessageReader

MessageT = TypeVar("MessageT", bound=Message)
Payload = bytes | memoryview
Part = bytes | memoryview

_KNOWN = 64


class RequestReader(Generic[MessageT]):
    """Reads requests of one type."""

    def __init__(self, kind: type[MessageT]) -> None:
        """Reads messages of type `kind`."""
        self._reader = MessageReader(kind)

    def read(self, payload: Payload) -> tuple[MessageT, wire.Arrays]:
        """The message without its tensors, not to be changed, and the tensors by field.

        The tensors are read-only arrays over `payload`.

        Raises:
            DecodeError: the bytes are no such message.
            tensors.TensorError: the tensor contradicts itself.
        """
        return self._reader.read(payload)


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
