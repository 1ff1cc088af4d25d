"""Tensors as bytes with their shape and element type beside them; never a pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from latens_serving.errors import InvalidInputError

MEDIA_TYPE: Final = "tensor/binary"
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "uint8": np.dtype("u1"),
}
_BFLOAT16: Final = "bfloat16"
_MOST_AXES: Final = 8


def read(content: bytes, shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """The tensor; bfloat16 as float32, which holds each of its values.

    Raises:
        InvalidInputError: the type is unknown, or the bytes are not as many as the shape says.
    """
    bits = np.dtype("<u2") if dtype == _BFLOAT16 else _DTYPES.get(dtype)
    if bits is None:
        known = ", ".join([*_DTYPES, _BFLOAT16])
        raise InvalidInputError.at("dtype", f"expected {known}, got {dtype[:20]!r}")
    if not 1 <= len(shape) <= _MOST_AXES:
        raise InvalidInputError.at("shape", f"expected 1 to {_MOST_AXES} axes, got {len(shape)}")
    expected = math.prod(shape) * bits.itemsize
    if len(content) != expected:
        raise InvalidInputError.at(
            "request", f"expected {expected} bytes for {dtype} {list(shape)}, got {len(content)}"
        )
    if 0 in shape:
        raise InvalidInputError.at("shape", "expected at least 1 element")
    array = np.frombuffer(content, bits).reshape(shape)
    if dtype == _BFLOAT16:
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array


def dtype_of(wanted: str) -> str:
    """The element type of an answer to a caller of that type: half precision, or float32."""
    return "float16" if wanted == "float16" else "float32"


def answer(array: NDArray[Any], dtype: str) -> Response:
    """A tensor as diffusers reads it: its shape and its type are headers."""
    written = np.ascontiguousarray(array, _DTYPES[dtype])
    headers = {"shape": json.dumps(list(written.shape)), "dtype": dtype}
    return Response(written.tobytes(), media_type=MEDIA_TYPE, headers=headers)
