"""Strict reading of requests in JSON: protobuf's JSON form, without what its parser overlooks.

`google.protobuf.json_format` discards characters that are no base64, and names the field at fault
only in a sentence. Here names, enum values and base64 are checked against the descriptor first.
"""

from __future__ import annotations

import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NoReturn, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from latens_serving.errors import InvalidInputError, TooLargeError

MAX_SYNTAX: Final = 1 << 16
"""Quotes, commas, colons, opening brackets and Unicode escapes of a request. The largest list in
the contract's requests, `axes`, needs seven per entry."""
_SYNTAX: Final = b'"{[,:'
_SLICE_BYTES: Final = 1 << 20  # a multiple of 4: base64 is decoded in whole quadruples
_KINDS: Final = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}
_FAILED_FIELD: Final = re.compile(r"Failed to parse (\w+) field: ")
_FAILED_AT: Final = re.compile(r" at \"?\w+\.([\w.\[\]]+)")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")

_Text = TypeVar("_Text", bytes, str)


def count_syntax(body: bytes) -> int:
    """How many characters of JSON's syntax and Unicode escapes a body has, inside strings too.

    An upper bound of the values that a parser would make of it, at the cost of a copy.
    """
    return sum(
        len(part) - len(part.translate(None, _SYNTAX)) + part.count(b"\\u")
        for part in _slices(body, b"")
    )


def read_json(body: bytes, message_class: type[Message]) -> Message:
    """The request that a body holds. Other threads get their turn between its slices.

    Raises:
        TooLargeError: it has more values than a request can need.
        InvalidInputError: it is not the JSON form of the message.
    """
    if (count := count_syntax(body)) > MAX_SYNTAX:
        raise TooLargeError.at(
            "request",
            f"expected at most {MAX_SYNTAX} quotes, commas, colons and brackets, got {count}",
        )
    fields = _object(body)
    binary: list[tuple[tuple[str | int, ...], bytes]] = []
    _check(fields, cast(Descriptor, message_class.DESCRIPTOR), (), binary)
    message = message_class()
    try:
        json_format.ParseDict(fields, message)
    except (json_format.ParseError, ValueError, TypeError) as error:
        raise _named(str(error)) from None
    for path, content in binary:
        _set(message, path, content)
    return message


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except RecursionError:
        raise InvalidInputError.at("request", "the JSON is nested too deeply") from None
    except ValueError as error:  # of UTF-8 too
        raise InvalidInputError.at("request", f"expected JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInputError.at("request", f"expected a JSON object, got {_kind(value)}")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the field {twice[:63]!r} comes twice in one object")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number; protobuf's form of it is the string")


def _check(
    fields: dict[str, Any],
    descriptor: Descriptor,
    path: tuple[str | int, ...],
    binary: list[tuple[tuple[str | int, ...], bytes]],
) -> None:
    """Checks an object against a message type; takes the values of bytes fields out of it."""
    for key, value in list(fields.items()):
        field = _field(descriptor, key)
        if field is None:
            raise InvalidInputError.at(
                _dotted((*path, key[:63])), f"{descriptor.name} has no such field"
            )
        for place, item in _items(field, value, (*path, field.name)):
            if item is None:  # as if the field were absent
                continue
            if field.message_type is not None:
                _expect(dict, item, place)
                _check(item, field.message_type, place, binary)
            elif field.enum_type is not None:
                _check_enum(field.enum_type, item, place)
            elif field.type == FieldDescriptor.TYPE_STRING:
                _expect(str, item, place)
            elif field.type == FieldDescriptor.TYPE_BYTES:
                content = _bytes(item, place)
                if not field.is_repeated:
                    binary.append((place, content))
                    del fields[key]


def _field(descriptor: Descriptor, key: str) -> FieldDescriptor | None:
    return descriptor.fields_by_camelcase_name.get(key) or descriptor.fields_by_name.get(key)


def _items(
    field: FieldDescriptor, value: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if not field.is_repeated:
        yield path, value
    elif value is not None:
        _expect(list, value, path)
        for index, item in enumerate(value):
            yield (*path, index), item


def _check_enum(enum: EnumDescriptor, value: Any, path: tuple[str | int, ...]) -> None:
    known = enum.values_by_name
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and value in known):
        return
    raise InvalidInputError.at(
        _dotted(path), f"expected one of {', '.join(known)}, got {_shown(value)}"
    )


def _bytes(value: Any, path: tuple[str | int, ...]) -> bytes:
    """The content of a bytes field: base64, standard or URL-safe, with padding or without."""
    _expect(str, value, path)
    padding = "" if value.endswith("=") else "=" * (-len(value) % 4)
    try:
        return b"".join(
            binascii.a2b_base64(part.encode("ascii").translate(_URL_SAFE), strict_mode=True)
            for part in _slices(value, padding)
        )
    except ValueError as error:
        raise InvalidInputError.at(_dotted(path), f"expected base64: {error}") from None


def _expect(kind: type, value: Any, path: tuple[str | int, ...]) -> None:
    if not isinstance(value, kind):
        raise InvalidInputError.at(_dotted(path), f"expected {_KINDS[kind]}, got {_kind(value)}")


def _named(text: str) -> InvalidInputError:
    """The failure of the library's parser, which names the field in its sentence alone."""
    names = _FAILED_FIELD.findall(text)
    if names:
        return InvalidInputError.at(".".join(names), _FAILED_FIELD.sub("", text).rstrip("."))
    found = _FAILED_AT.search(text)
    return InvalidInputError.at(found[1] if found else "request", text)


def _set(message: Any, path: tuple[str | int, ...], content: bytes) -> None:
    *parents, name = path
    for step in parents:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    setattr(message, str(name), content)


def _slices(content: _Text, end: _Text) -> Iterator[_Text]:
    """The content in parts, with something added to the last one."""
    last = max(0, len(content) - 1) // _SLICE_BYTES * _SLICE_BYTES
    for at in range(0, last, _SLICE_BYTES):
        yield content[at : at + _SLICE_BYTES]
    yield content[last:] + end


def _dotted(path: tuple[str | int, ...]) -> str:
    """`images.data`, `axes[3].attribute`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")


def _shown(value: Any) -> str:
    return repr(value[:63]) if isinstance(value, str) else _kind(value)
