"""Reads messages of one type fast, by remembering what surrounds their tensors.

Messages of one kind differ in their tensors' elements and in little else. The bytes around the
elements are remembered: a message of the same length with the same bytes around its elements means
the same, and is read by comparing them. New messages go through `latens.wire`. The client reads
responses this way, the server requests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from latens import wire

_MAX_LAYOUTS = 64
_MAX_SURROUNDING_BYTES = 512


class _Layout(NamedTuple):
    """A message without the elements of its tensors, and where they are in its bytes."""

    message: Message
    surroundings: tuple[tuple[int, int, bytes], ...]
    """Begin, end and content of each piece between the elements."""
    tensors: tuple[tuple[str, tuple[int, ...], np.dtype[Any], int], ...]
    """Field, shape, element type, and where the elements begin."""


class MessageReader:
    """Reads messages of one type, as `latens.wire.parse` does. Threads may share a reader."""

    def __init__(self, kind: type[Message]) -> None:
        self._kind = kind
        self._layouts: dict[int, _Layout] = {}  # by the length of the message

    def read(self, payload: wire.Payload) -> wire.Parsed:
        """Parses a message.

        Returns:
            The message without its tensors, which must not be changed, and the tensors as
            read-only views over `payload`.

        Raises:
            DecodeError: the bytes are no such message.
            tensors.TensorError: a tensor contradicts itself.
        """
        layout = self._layouts.get(len(payload))
        if layout is None:
            return self._parse(payload)
        for start, stop, expected in layout.surroundings:
            if payload[start:stop] != expected:
                return self._parse(payload)
        arrays: wire.Arrays = {}
        for name, shape, dtype, place in layout.tensors:
            arrays[name] = np.ndarray(shape, dtype, payload, place)
        return wire.Parsed(layout.message, arrays)

    def _parse(self, payload: wire.Payload) -> wire.Parsed:
        parsed = wire.parse(self._kind, payload)
        layout = _layout_of(payload, parsed)
        if layout is not None:
            if len(self._layouts) >= _MAX_LAYOUTS and len(payload) not in self._layouts:
                self._layouts.clear()
            self._layouts[len(payload)] = layout
        return parsed


def _layout_of(payload: wire.Payload, parsed: wire.Parsed) -> _Layout | None:
    """The layout of a message, or None where it is not worth remembering."""
    around = len(payload) - sum(array.nbytes for array in parsed.arrays.values())
    if not parsed.arrays or around > _MAX_SURROUNDING_BYTES:
        return None
    begin = _memory_address(np.frombuffer(payload, np.uint8))
    places = {name: _memory_address(array) - begin for name, array in parsed.arrays.items()}
    surroundings = []
    position = 0
    for name in sorted(places, key=places.__getitem__):
        place = places[name]
        if not position < place < len(payload) or not parsed.arrays[name].nbytes:
            return None  # empty, or parsed by protobuf into memory of its own
        surroundings.append((position, place, bytes(payload[position:place])))
        position = place + parsed.arrays[name].nbytes
    surroundings.append((position, len(payload), bytes(payload[position:])))
    tensors = tuple(
        (name, array.shape, array.dtype, places[name]) for name, array in parsed.arrays.items()
    )
    return _Layout(parsed.message, tuple(surroundings), tensors)


def _memory_address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
