"""Checks where ONNX graphs keep their tensors.

ONNX Runtime would read other files from wherever the graph says, relative to the working directory
of the server. So a graph may refer to one file, whose content is given to ONNX Runtime, and to its
bytes alone. The bytes are walked as the protobuf message `onnx.ModelProto`, since the server has
no onnx package; only the fields that lead to tensors are entered.

Encoding: https://protobuf.dev/programming-guides/encoding/, fields:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeGuard

from latens_serving.engine.errors import EngineError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT: Final = 10
_DEEPEST: Final = 100  # protobuf's own limit
_MOST_FIELDS: Final = 5_000_000

# By message: the fields that lead to tensors, and their messages.
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA: Final = 13
_KEY, _VALUE = 1, 2
_DATA_LOCATION: Final = 14


def refuse_external_data(graph: bytes) -> None:
    """Checks that every tensor of a graph lies in the graph.

    Raises:
        EngineError: one lies in another file, or the bytes are no protobuf message.
    """
    _Walk(None, 0).visit(memoryview(graph), "Model", 0)


def check_external_data(graph: bytes, file: str, size: int) -> None:
    """Checks that every tensor of a graph lies in the graph, or inside one file.

    Args:
        graph: the ONNX graph.
        file: the name of the file.
        size: its bytes.

    Raises:
        EngineError: a tensor lies elsewhere, or the bytes are no protobuf message.
    """
    _Walk(file, size).visit(memoryview(graph), "Model", 0)


class _Walk:
    """One walk over a graph, of a bounded number of fields."""

    def __init__(self, file: str | None, size: int) -> None:
        self._fields_left = _MOST_FIELDS
        self._file = file
        self._size = size

    def visit(self, message: memoryview, kind: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise EngineError(
                f"no ONNX graph (protobuf): messages are nested more than {_DEEPEST} deep"
            )
        inner = _FIELDS[kind]
        place: dict[bytes, bytes] = {}
        for field, value in self._fields(message):
            is_external = field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
            if kind == "Tensor" and is_external and self._file is None:
                raise EngineError("the graph keeps tensors in other files (external data)")
            if kind == "Tensor" and field == _EXTERNAL_DATA and isinstance(value, memoryview):
                self._note(value, place)
            if field in inner and isinstance(value, memoryview):
                self.visit(value, inner[field], depth + 1)
        if place:
            self._check(place)

    def _note(self, entry: memoryview, place: dict[bytes, bytes]) -> None:
        """Adds a `StringStringEntryProto` to what a tensor says of its place."""
        found = {field: bytes(value) for field, value in self._fields(entry) if _is_bytes(value)}
        key = found.get(_KEY, b"")
        if key in place:
            raise EngineError("the graph gives a tensor two places (external data)")
        place[key] = found.get(_VALUE, b"")

    def _check(self, place: dict[bytes, bytes]) -> None:
        """Refuses a tensor that does not lie inside the file."""
        assert self._file is not None
        if place.get(b"location") != self._file.encode():
            raise EngineError(f"the graph keeps tensors in another file than {self._file}")
        try:
            offset, length = (int(place.get(key, b"0")) for key in (b"offset", b"length"))
        except ValueError as error:
            raise EngineError("the graph gives a tensor no place (external data)") from error
        if min(offset, length) < 0 or offset + length > self._size:
            raise EngineError(f"the graph keeps tensors beyond the end of {self._file}")

    def _fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """The fields of a message; numbers of fixed size are given as bytes."""
        position, end = 0, len(message)
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise EngineError(f"the graph has more than {_MOST_FIELDS} fields")
            tag, position = _varint(message, position)
            wire_type = tag & 7
            if wire_type == _VARINT:
                value, position = _varint(message, position)
                yield tag >> 3, value
                continue
            if wire_type == _BYTES:
                size, position = _varint(message, position)
            elif wire_type in _FIXED_SIZES:
                size = _FIXED_SIZES[wire_type]
            else:
                raise EngineError(f"no ONNX graph (protobuf): unexpected wire type {wire_type}")
            if size > end - position:
                raise EngineError("no ONNX graph (protobuf): a field is longer than its message")
            yield tag >> 3, message[position : position + size]
            position += size


def _is_bytes(value: int | memoryview) -> TypeGuard[memoryview]:
    return isinstance(value, memoryview)


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A varint, and the position behind it."""
    value = 0
    for shift, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise EngineError("no ONNX graph (protobuf): a number is cut off or too long")
