"""From what callers pass to what the contract takes; the first place that can say no.

Only what must be known to build a request is checked here. Shapes and values are the server's to
judge, so that there is one judge.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens.errors import ErrorDetails, FieldViolation, InvalidInputError
from latens.models import Model
from latens.v1 import latens_pb2 as pb

MAX_SEED = 2**64 - 1

_IMAGE_DTYPES: dict[np.dtype[Any], pb.DataType] = {
    np.dtype(np.float32): pb.DATA_TYPE_FLOAT32,
    np.dtype(np.uint8): pb.DATA_TYPE_UINT8,
    np.dtype(np.float16): pb.DATA_TYPE_FLOAT16,
}


def invalid(field: str, description: str) -> InvalidInputError:
    """The error of a field, as the server would have said it."""
    details = ErrorDetails("INVALID_INPUT", {}, (FieldViolation(field, description),))
    return InvalidInputError(f"{field}: {description}", details=details)


def images(field: str, value: ArrayLike) -> NDArray[Any]:
    """A batch of images: uint8 and float16 as they are, any other floating type as float32.

    Raises:
        InvalidInputError: it is no array of either.
    """
    array = np.asarray(value)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise invalid(field, f"expected uint8 or floating-point pixels, got {array.dtype}")
    return _batch(field, _floats(array))


def latents(field: str, value: ArrayLike) -> NDArray[Any]:
    """A batch of latents: float16 as it is, any other real type as float32.

    Raises:
        InvalidInputError: it is no array of one.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise invalid(field, f"expected real numbers, got {array.dtype}")
    return _batch(field, _floats(array))


def masks(field: str, value: ArrayLike) -> NDArray[np.uint8]:
    """Masks, true or not 0 where a pixel is missing: `[n, channels, height, width]` and the like.

    Raises:
        InvalidInputError: it is no array of truth values or whole numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "bui" or array.ndim < 2:
        raise invalid(field, f"expected booleans or uint8, got {array.dtype}, {array.ndim} axes")
    missing: NDArray[np.uint8] = (array != 0).view(np.uint8)
    return missing


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype == np.float16 else array.astype(np.float32, copy=False)


def _batch(field: str, array: NDArray[Any]) -> NDArray[Any]:
    if not array.ndim:
        raise invalid(field, "expected a batch with the item as its first axis, got one number")
    return array


def with_channel(array: NDArray[Any], model: Model) -> NDArray[Any]:
    """Images of a model with one channel may come without that axis: `[n, height, width]`."""
    if array.ndim == 3 and model.image_shape[0] == 1 and array.shape[1:] == model.image_shape[1:]:
        return array[:, np.newaxis]
    return array


def seed(value: int | None) -> int:
    """A seed; one is chosen where none is given, so that a retry or a split changes nothing."""
    if value is None:
        return secrets.randbits(32)
    if not 0 <= value <= MAX_SEED:
        raise invalid("seed", f"expected 0 to 2^64 - 1, got {value}")
    return value


def positive(field: str, value: int) -> int:
    """A count that the wire can carry."""
    if not 0 < value < 2**63:
        raise invalid(field, f"expected a whole number above 0, got {value}")
    return value


def image_dtype(value: DTypeLike) -> tuple[np.dtype[Any], pb.DataType]:
    """An element type for the images returned, and its name in the contract."""
    dtype = np.dtype(value)
    if dtype not in _IMAGE_DTYPES:
        raise invalid("image_dtype", f"expected float32, float16 or uint8, got {dtype}")
    return dtype, _IMAGE_DTYPES[dtype]


def row_bytes(array: NDArray[Any]) -> int:
    """What one item of a batch takes on the wire."""
    return math.prod(array.shape[1:]) * array.itemsize


def image_bytes(model: Model, dtype: np.dtype[Any]) -> int:
    """What one image of a model takes on the wire."""
    return math.prod(model.image_shape) * dtype.itemsize


def latent_bytes(model: Model) -> int:
    """What one latent of a model takes on the wire."""
    return 4 * model.latent_size
