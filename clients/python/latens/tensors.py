"""Conversions between numpy arrays and the contract's `Tensor`, without needless copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latens.v1 import latens_pb2 as pb

# Little-endian on every machine, as the contract demands.
_CODES: dict[np.dtype[Any], pb.DataType] = {
    np.dtype("<f4"): pb.DATA_TYPE_FLOAT32,
    np.dtype("u1"): pb.DATA_TYPE_UINT8,
    np.dtype("<f2"): pb.DATA_TYPE_FLOAT16,
    np.dtype("<i8"): pb.DATA_TYPE_INT64,
}
DTYPES: dict[int, np.dtype[Any]] = {code: dtype for dtype, code in _CODES.items()}

MAX_RANK = 8


class TensorFields(Protocol):
    """The fields of a `Tensor`: the message itself, or an object with the same fields."""

    @property
    def dtype(self) -> int: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def data(self) -> bytes | memoryview: ...


class TensorError(ValueError):
    """A `Tensor` that contradicts itself.

    Attributes:
        field: the invalid field of the tensor: `dtype`, `shape` or `data`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def to_message(array: NDArray[Any]) -> pb.Tensor:
    """The `Tensor` of an array of any shape; float32, float16, uint8 or int64.

    Raises:
        TypeError: the array is of another element type.
    """
    code = code_of(array.dtype)
    little_endian = np.ascontiguousarray(array, dtype=DTYPES[code])
    return pb.Tensor(dtype=code, shape=array.shape, data=little_endian.tobytes())


def code_of(dtype: np.dtype[Any]) -> pb.DataType:
    """The contract's name for an element type, whatever its byte order.

    Raises:
        TypeError: there is none.
    """
    code = _CODES.get(dtype.newbyteorder("<"))
    if code is None:
        raise TypeError(f"tensors are float32, float16, uint8 or int64, not {dtype}")
    return code


def to_array(message: TensorFields) -> NDArray[Any]:
    """A read-only array over the message's bytes.

    The shape's product is computed in unbounded integers before anything is allocated, so that no
    shape can overflow.

    Raises:
        TensorError: the element type is not known, a dimension is negative, or the bytes are not
            as many as the shape demands.
    """
    dtype = DTYPES.get(message.dtype)
    if dtype is None:
        known = "FLOAT32, FLOAT16, UINT8 or INT64"
        raise TensorError("dtype", f"expected {known}, got {_dtype_name(message.dtype)}")
    shape = tuple(message.shape)
    if len(shape) > MAX_RANK:
        raise TensorError("shape", f"expected at most {MAX_RANK} axes, got {len(shape)}")
    if any(length < 0 for length in shape):
        raise TensorError("shape", f"expected no negative dimension, got {list(shape)}")
    data = message.data  # each read of a bytes field makes a new object
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise TensorError(
            "data", f"expected {expected} bytes for shape {list(shape)}, got {len(data)}"
        )
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:  # numpy multiplies the lengths of an empty array, too
        raise TensorError("shape", f"expected a smaller shape, got {list(shape)}") from error


def _dtype_name(code: int) -> str:
    names = {value: name for name, value in pb.DataType.items()}
    return names.get(code, str(code)).removeprefix("DATA_TYPE_")
