"""A bound on the number of values in a binary message, found without parsing it.

The parser makes an object of every embedded message: 8 MiB of empty ones keep every other thread
waiting for a third of a second.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from latens_serving.errors import InvalidInputError, TooLargeError

MAX_VALUES: Final = 1 << 16
_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_NOT_PACKED: Final = frozenset(
    (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE)
)


def check_values(body: bytes, descriptor: Descriptor) -> None:
    """Counts fields and packed elements at every depth of the message type.

    Raises:
        TooLargeError: more than a request can need.
        InvalidInputError: it is no message of any type.
    """
    parts: list[tuple[int, int, Descriptor]] = [(0, len(body), descriptor)]
    values = 0
    while parts:
        at, end, part = parts.pop()
        while at < end:
            values += 1
            tag, at = _varint(body, at, end)
            if tag & 7 != _BYTES:
                at = _after_scalar(body, at, end, tag & 7)
            else:
                size, at = _varint(body, at, end)
                if size > end - at:
                    raise _damaged()
                field = part.fields_by_number.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    parts.append((at, at + size, field.message_type))
                elif field is not None and field.is_repeated and field.type not in _NOT_PACKED:
                    values += size
                at += size
            if values > MAX_VALUES:
                raise TooLargeError.at("request", f"expected at most {MAX_VALUES} values")


def _after_scalar(body: bytes, at: int, end: int, kind: int) -> int:
    if kind == _VARINT:
        return _varint(body, at, end)[1]
    if kind in (_GROUP, _END_GROUP):  # its fields are counted like those around it
        return at
    width = {_FIXED64: 8, _FIXED32: 4}.get(kind)
    if width is None:
        raise _damaged()
    return at + width


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise _damaged()
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _damaged()


def _damaged() -> InvalidInputError:
    return InvalidInputError.at("request", "the bytes are no protobuf message")
