"""Arrays of numbers as nested lists of JSON, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from latens_serving.errors import InvalidInputError, TooLargeError

MOST_BYTES: Final = 1 << 20
"""Of a body: the parser keeps the interpreter to itself, about 15 ms for so many."""
_MOST_NUMBERS: Final = 1 << 20
"""Of an answer."""


def read(content: bytes, names: Sequence[str], instead: str = "") -> dict[str, NDArray[Any]]:
    """The arrays of an object by name: `codes` int64, others float32.

    Args:
        content: the bytes of the object.
        names: all fields that it must have; it may have no other.
        instead: a field that may stand in place of the first.

    Raises:
        InvalidInputError: it is no such object, or a field is no array of numbers.
    """
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.at("request", "the body is no JSON") from error
    if not isinstance(given, dict):
        raise InvalidInputError.at("request", "expected a JSON object")
    if instead and instead in given:
        names = [instead, *names[1:]]
    for name in given:
        if name not in names:
            expected = " and ".join(names)
            raise InvalidInputError.at(name[:40], f"no such field; expected {expected}")
    for name in names:
        if name not in given:
            raise InvalidInputError.at(name, "expected nested lists of numbers, got nothing")
    return {name: _array(name, given[name]) for name in names}


def write(arrays: Mapping[str, NDArray[Any] | None], facts: Mapping[str, Any]) -> Response:
    """An object of arrays and facts; those that are None are left out.

    Raises:
        TooLargeError: more numbers than an answer may have.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    numbers = sum(array.size for array in given.values())
    if numbers > _MOST_NUMBERS:
        raise TooLargeError.at(
            "response",
            f"expected at most {_MOST_NUMBERS} numbers as JSON, got {numbers}; "
            "ask for fewer rows or for a picture, or call over gRPC",
        )
    fields = [f"{json.dumps(name)}: {json.dumps(fact)}" for name, fact in facts.items()]
    fields += [f"{json.dumps(name)}: {_text(array)}" for name, array in given.items()]
    return Response(f"{{{', '.join(fields)}}}", media_type="application/json")


def _text(array: NDArray[Any]) -> str:
    """An array as JSON, a line at a time, so that other threads have their turns between."""
    if array.ndim <= 1:
        return json.dumps(array.tolist())
    return f"[{', '.join(map(_text, array))}]"


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # lists of several lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise InvalidInputError.at(name, "expected nested lists of numbers, of one shape")
    if name == "codes":
        if array.dtype.kind == "f":
            raise InvalidInputError.at(name, "expected whole numbers")
        return array.astype(np.int64)
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the elements
        return array.astype(np.float32)
