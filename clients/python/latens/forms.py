"""Answers that were seen before, but for the elements of their tensors.

The answers to calls of one kind differ in their tensors' elements and in little else. What
surrounds the elements is remembered: a message with the same bytes around as many bytes of elements
means the same, and is read by comparing those. Whatever is new goes through `latens.wire`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from latens import wire

_KNOWN = 64
_LONGEST_SURROUNDINGS = 512


class _Form(NamedTuple):
    """A message without the elements of its tensors, and where in it they are."""

    message: Message
    surroundings: tuple[tuple[int, int, bytes], ...]
    """From where to where, and what is there."""
    tensors: tuple[tuple[str, tuple[int, ...], np.dtype[Any], int], ...]
    """The field, the shape, the element type, and where the elements begin."""


class Reader:
    """Reads messages of one type, as `latens.wire.parse` does. Threads may share one."""

    def __init__(self, kind: type[Message]) -> None:
        self._kind = kind
        self._forms: dict[int, _Form] = {}  # by the length of the message

    def read(self, payload: bytes) -> wire.Parsed:
        """The message in `payload`, not to be changed, its tensors as read-only views over it.

        Raises:
            DecodeError: the bytes are no such message.
            tensors.TensorError: a tensor contradicts itself.
        """
        form = self._forms.get(len(payload))
        if form is None:
            return self._read_anew(payload)
        for start, stop, expected in form.surroundings:
            if payload[start:stop] != expected:
                return self._read_anew(payload)
        arrays: wire.Arrays = {}
        for name, shape, dtype, place in form.tensors:
            arrays[name] = np.ndarray(shape, dtype, payload, place)
        return wire.Parsed(form.message, arrays)

    def _read_anew(self, payload: bytes) -> wire.Parsed:
        parsed = wire.parse(self._kind, payload)
        form = _form_of(payload, parsed)
        if form is not None:
            if len(self._forms) >= _KNOWN:
                self._forms.clear()
            self._forms[len(payload)] = form
        return parsed


def _form_of(payload: bytes, parsed: wire.Parsed) -> _Form | None:
    """The form of a message, or None where it is not worth remembering."""
    around = len(payload) - sum(array.nbytes for array in parsed.arrays.values())
    if not parsed.arrays or around > _LONGEST_SURROUNDINGS:
        return None
    begin = _address(np.frombuffer(payload, np.uint8))
    places = {name: _address(array) - begin for name, array in parsed.arrays.items()}
    surroundings = []
    position = 0
    for name in sorted(places, key=places.__getitem__):
        place = places[name]
        if not position < place < len(payload) or not parsed.arrays[name].nbytes:
            return None  # protobuf parsed it, into memory of its own, or it is empty
        surroundings.append((position, place, payload[position:place]))
        position = place + parsed.arrays[name].nbytes
    surroundings.append((position, len(payload), payload[position:]))
    tensors = tuple(
        (name, array.shape, array.dtype, places[name]) for name, array in parsed.arrays.items()
    )
    return _Form(parsed.message, tuple(surroundings), tensors)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
