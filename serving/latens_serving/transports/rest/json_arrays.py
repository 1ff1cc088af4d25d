"""Arrays of numbers as nested lists of JSON, in both directions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from latens_serving.errors import InvalidInputError, TooLargeError

Floats = NDArray[np.float32]

_BYTES_OF_A_NUMBER = 24
"""The longest that JSON makes of a float32."""


def read(content: bytes, names: Collection[str]) -> dict[str, Floats]:
    """The arrays of an object, float32, by name.

    Args:
        content: the bytes of the object.
        names: all fields that it must have; it may have no other.

    Raises:
        InvalidInputError: it is no such object, or a field is no array of numbers.
    """
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.at("request", "the body is no JSON") from error
    if not isinstance(given, dict):
        raise InvalidInputError.at("request", "expected a JSON object")
    for name in given:
        if name not in names:
            expected = " and ".join(names)
            raise InvalidInputError.at(name[:40], f"no such field; expected {expected}")
    for name in names:
        if name not in given:
            raise InvalidInputError.at(name, "expected nested lists of numbers, got nothing")
    return {name: _array(name, given[name]) for name in names}


def write(
    arrays: Mapping[str, NDArray[Any] | None], facts: Mapping[str, Any], most: int
) -> Response:
    """An object of arrays and facts; those that are None are left out.

    Raises:
        TooLargeError: more than `most` bytes.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    numbers = sum(array.size for array in given.values())
    if numbers * _BYTES_OF_A_NUMBER > most:
        raise TooLargeError.at(
            "response",
            f"expected at most {most // _BYTES_OF_A_NUMBER} numbers as JSON, got {numbers}; "
            "ask for fewer rows or for a picture, or call over gRPC",
        )
    content = {**facts, **{name: array.tolist() for name, array in given.items()}}
    return Response(json.dumps(content), media_type="application/json")


def _array(name: str, value: Any) -> Floats:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # lists of several lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise InvalidInputError.at(name, "expected nested lists of numbers, of one shape")
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the elements
        return array.astype(np.float32)
