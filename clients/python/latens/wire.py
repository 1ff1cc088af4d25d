"""A codec for messages that carry tensors, without protobuf's copies of them.

protobuf copies a `bytes` field when a message is filled, when it is serialized, when it is parsed
and at each read. Here the small fields of a message go through protobuf, and its tensors are
written and read by hand: one join of headers and array memory, one walk over tags to views of the
bytes received. protobuf allows fields in any order, so the result is an ordinary message. Messages
that are not in the form that serializers write are left to protobuf's own parser.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from latens import tensors
from latens.v1 import latens_pb2 as pb

MessageT = TypeVar("MessageT", bound=Message)
Arrays = dict[str, NDArray[Any]]
Payload = bytes | memoryview

_IS_LITTLE_ENDIAN = sys.byteorder == "little"
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_SHORT = [bytes((value,)) for value in range(0x80)]
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


class Parsed(NamedTuple):
    """A message without its tensors, and the tensors by field name.

    The arrays are read-only views over the bytes received.
    """

    message: Any
    arrays: Arrays


class _Unusual(Exception):  # noqa: N818  (not an error: protobuf parses the message instead)
    """The bytes are not in the form that is parsed by hand."""


def serialize(message: Message, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of `message` with each array as the `Tensor` field of its name.

    Args:
        message: the message; the fields that `arrays` names are not set in it.
        arrays: float32, float16, uint8 or int64 by field path; `starts.latents` is the field
            `latents` of the field `starts`.

    Raises:
        TypeError: an array is of another element type.
    """
    parts: list[bytes | memoryview] = [message.SerializeToString()]
    for path, array in arrays.items():
        parts.append(head(message.DESCRIPTOR, path, array.dtype, array.shape))
        parts.append(_plain(array).data)
    return b"".join(parts)


@functools.lru_cache(256)
def head(owner: Descriptor, path: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The bytes before the elements of a tensor that is a field of a message.

    Args:
        owner: the type of the message.
        path: of the field, as for `serialize`.
        dtype: of the elements.
        shape: of the tensor.

    Raises:
        TypeError: tensors cannot have elements of that type.
    """
    fields: list[Any] = []
    inside: Any = owner
    for name in path.split("."):
        fields.append(inside.fields_by_name[name])
        inside = fields[-1].message_type
    count = math.prod(shape) * dtype.itemsize
    written = _tensor_head(tensors.code_of(dtype), shape, count)
    for field in reversed(fields):
        size = varint(len(written) + count)
        written = _tag(field.number, _LENGTH_DELIMITED) + size + written
    return written


def _tensor_head(code: int, shape: tuple[int, ...], count: int) -> bytes:
    """The bytes of a `Tensor` but for the `count` bytes of its elements, which come last."""
    written = b"\x08" + varint(code)
    if shape:
        lengths = b"".join(map(varint, shape))
        written += b"\x12" + varint(len(lengths)) + lengths
    return written + b"\x1a" + varint(count) if count else written


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array in C order and little-endian; itself where it is so already."""
    if array.flags.c_contiguous and array.dtype.isnative and _IS_LITTLE_ENDIAN:
        return array
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def parse(kind: type[MessageT], payload: Payload) -> Parsed:
    """The message in `payload`, its tensors as read-only views over it.

    Raises:
        DecodeError: the bytes are no such message.
        tensors.TensorError: a tensor contradicts itself; `field` is its path.
    """
    try:
        rest, bodies = _split(payload, _tensor_fields(kind))
        arrays = {name: _tensor(payload, *span) for name, span in bodies.items()}
    except _Unusual:
        return _parse_plainly(kind, payload)
    return Parsed(kind.FromString(rest), arrays)


def take_bytes(
    kind: type[MessageT], payload: Payload, number: int
) -> tuple[MessageT, tuple[int, int] | None]:
    """A message without one of its `bytes` fields, and where that field lies in `payload`.

    Args:
        kind: the type of the message.
        payload: its bytes.
        number: of the field, which may be repeated.

    Returns:
        The message, and begin and end of the field's content. If the field is absent, comes twice
        or is not in the form that serializers write, the whole message and None.

    Raises:
        DecodeError: the bytes are no such message.
    """
    try:
        rest, bodies = _split(payload, {number: ""})
    except _Unusual:
        return kind.FromString(bytes(payload)), None
    return kind.FromString(rest), bodies.get("")


def _parse_plainly(kind: type[MessageT], payload: Payload) -> Parsed:
    message = kind.FromString(bytes(payload))
    arrays: Arrays = {}
    for name in _tensor_fields(kind).values():
        if message.HasField(name):
            arrays[name] = _array_of(getattr(message, name), name)
            message.ClearField(name)
    return Parsed(message, arrays)


def _array_of(message: pb.Tensor, name: str) -> NDArray[Any]:
    try:
        return tensors.to_array(message)
    except tensors.TensorError as error:
        raise tensors.TensorError(f"{name}.{error.field}", str(error)) from error


_TENSOR_FIELDS: dict[str, dict[int, str]] = {}


def _tensor_fields(kind: type[Message]) -> dict[int, str]:
    """The names of a message type's tensor fields by number."""
    name = kind.DESCRIPTOR.full_name
    if name not in _TENSOR_FIELDS:
        _TENSOR_FIELDS[name] = {
            field.number: field.name
            for field in kind.DESCRIPTOR.fields
            if field.message_type is not None
            and field.message_type.full_name == pb.Tensor.DESCRIPTOR.full_name
        }
    return _TENSOR_FIELDS[name]


def _split(payload: Payload, wanted: Mapping[int, str]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The bytes of the other fields, and where each wanted one begins and ends."""
    rest: list[Payload] = []
    bodies: dict[str, tuple[int, int]] = {}
    position = 0
    while position < len(payload):
        start = position
        tag, position = read_varint(payload, position)
        body, position = _skip(payload, position, tag & 7)
        name = wanted.get(tag >> 3)
        if name is None:
            rest.append(payload[start:position])
        elif name in bodies or tag & 7 != _LENGTH_DELIMITED:
            raise _Unusual  # protobuf merges a field that comes twice
        else:
            bodies[name] = (body, position)
    return b"".join(rest), bodies


def _skip(payload: Payload, position: int, wire_type: int) -> tuple[int, int]:
    """Where the content of a field begins and ends."""
    if wire_type == _LENGTH_DELIMITED:
        length, position = read_varint(payload, position)
        end = position + length
    elif wire_type == _VARINT:
        _, end = read_varint(payload, position)
    elif wire_type in _FIXED_SIZES:
        end = position + _FIXED_SIZES[wire_type]
    else:
        raise _Unusual
    if end > len(payload):
        raise _Unusual
    return position, end


def _tensor(payload: Payload, position: int, end: int) -> NDArray[Any]:
    """The array of a tensor in the form that serializers write."""
    code = count = data = -1
    shape: list[int] = []
    last = 0
    while position < end:
        tag = payload[position]
        if tag <= last:
            raise _Unusual
        last = tag
        value, position = read_varint(payload, position + 1)
        if tag == 0x08:
            code = value
        elif tag == 0x12:
            stop = position + value
            while position < stop:
                length, position = read_varint(payload, position)
                shape.append(length)
            if position != stop:
                raise _Unusual  # the last number runs past its field
        elif tag == 0x1A:
            data, count = position, value
            position += value
        else:
            raise _Unusual
    if position != end:
        raise _Unusual
    return _view(payload, data, count, code, shape)


def _view(payload: Payload, data: int, count: int, code: int, shape: list[int]) -> NDArray[Any]:
    """The array of `count` bytes from `data` on, if type and shape agree with them."""
    dtype = tensors.DTYPES.get(code)
    if dtype is None or data < 0 or len(shape) > tensors.MAX_RANK:
        raise _Unusual
    elements, left = divmod(count, dtype.itemsize)
    if left or not elements or elements != math.prod(shape):
        raise _Unusual
    return np.frombuffer(payload, dtype, elements, data).reshape(shape)


def _tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    """A non-negative integer in base 128, least significant group first."""
    if value < 0x80:
        return _SHORT[value]
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def read_varint(payload: Payload, position: int) -> tuple[int, int]:
    """The integer at `position`, and where it ends."""
    if position < len(payload) and payload[position] < 0x80:
        return payload[position], position + 1
    value = shift = 0
    while True:
        if position >= len(payload) or shift > 63:
            raise _Unusual
        group = payload[position]
        position += 1
        value |= (group & 0x7F) << shift
        if group < 0x80:
            return value, position
        shift += 7


__all__ = ["Arrays", "DecodeError", "Parsed", "head", "parse", "serialize", "varint"]
