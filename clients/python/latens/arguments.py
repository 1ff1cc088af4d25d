"""Converts what callers pass to what the contract takes, or raises InvalidInputError.

Only what must be known to build a request is checked here, sizes that the caller chooses among it.
Other shapes, and values, are checked by the server alone, so that there is one set of rules.
"""

from __future__ import annotations

import math
import operator
import secrets
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import axes
from latens.errors import invalid
from latens.models import Model
from latens.picture_rows import PictureRows, PictureSources, sources_in
from latens.v1 import latens_pb2 as pb

MAX_SEED = 2**64 - 1

_IMAGE_DTYPES: dict[np.dtype[Any], pb.DataType] = {
    np.dtype(np.float32): pb.DATA_TYPE_FLOAT32,
    np.dtype(np.uint8): pb.DATA_TYPE_UINT8,
    np.dtype(np.float16): pb.DATA_TYPE_FLOAT16,
}


Images: TypeAlias = "NDArray[Any] | PictureSources"
"""Images as callers pass them."""
ImageRows: TypeAlias = "NDArray[Any] | PictureRows"
"""Images as calls take them: a slice is an array."""


def batch(field: str, value: ArrayLike) -> NDArray[Any]:
    """An array of real numbers with the item as its first axis.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(field, f"expected an array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise invalid(field, f"expected real numbers, got {array.dtype}")
    if not array.ndim:
        raise invalid(field, "expected a batch with the item as its first axis, got one number")
    return array


def images(field: str, value: Any) -> Images:
    """A batch of images: pictures, or an array with floating types other than float16 as float32.

    Raises:
        InvalidInputError: it is neither, or a file does not exist.
    """
    return sources_in(field, value) or pixels(field, value)


def points(field: str, value: Any) -> Images:
    """A batch of latents or images.

    Raises:
        InvalidInputError: it is no array of real numbers, and names no pictures.
    """
    return sources_in(field, value) or batch(field, value)


def pixels(field: str, value: ArrayLike) -> NDArray[Any]:
    """An array of images: uint8 and float16 as they are, other floating types as float32.

    Raises:
        InvalidInputError: it is no array of either.
    """
    array = batch(field, value)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise invalid(field, f"expected uint8 or floating-point pixels, got {array.dtype}")
    return latents(array)


def latents(array: NDArray[Any]) -> NDArray[Any]:
    """Latents: float16 as they are, other real types as float32."""
    return array if array.dtype == np.float16 else array.astype(np.float32, copy=False)


def codes(field: str, array: NDArray[Any]) -> NDArray[np.int64]:
    """Codes as int64.

    Raises:
        InvalidInputError: they are no whole numbers.
    """
    if array.dtype.kind not in "iu":
        raise invalid(field, f"expected codes, whole numbers, got {array.dtype}")
    return array.astype(np.int64, copy=False)


def masks(field: str, value: ArrayLike) -> NDArray[np.uint8]:
    """Masks, nonzero where a pixel is missing: `[n, channels, height, width]` or fewer axes.

    Raises:
        InvalidInputError: it is no array of booleans or whole numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "bui" or array.ndim < 2:
        raise invalid(field, f"expected booleans or uint8, got {array.dtype}, {array.ndim} axes")
    missing: NDArray[np.uint8] = (array != 0).view(np.uint8)
    return missing


def image_rows(images: Images, model: Model) -> ImageRows:
    """Images for a model: pictures fitted to it, arrays with their channel axis."""
    if isinstance(images, PictureSources):
        return PictureRows(images, model)
    return with_channel(images, model)


def with_channel(array: NDArray[Any], model: Model) -> NDArray[Any]:
    """Adds the channel axis that images of a model with one channel may lack."""
    one_channel = array.ndim == 3 and model.image_shape[0] == 1
    if one_channel and axes.fits(model.image_axes[1:], array.shape[1:]):
        return array[:, np.newaxis]
    return array


def seed(value: int | None) -> int:
    """A seed; one is chosen where none is given, so that a retry or a split changes nothing.

    Raises:
        InvalidInputError: it is no whole number in 0..2^64 - 1.
    """
    if value is None:
        return secrets.randbits(32)
    chosen = _whole("seed", value)
    if not 0 <= chosen <= MAX_SEED:
        raise invalid("seed", f"expected 0 to 2^64 - 1, got {value}")
    return chosen


def positive(field: str, value: int) -> int:
    """A count that fits into 64 bits.

    Raises:
        InvalidInputError: it is no whole number above 0.
    """
    count = _whole(field, value)
    if not 0 < count < 2**63:
        raise invalid(field, f"expected a whole number above 0, got {value}")
    return count


def _whole(field: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise invalid(field, f"expected a whole number, got {value!r}") from None


def number(field: str, value: Any) -> float:
    """A real number.

    Raises:
        InvalidInputError: it is none, or text.
    """
    if isinstance(value, (str, bytes)):
        raise invalid(field, f"expected a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise invalid(field, f"expected a number, got {value!r}") from None


def text(field: str, value: Any) -> str:
    """A name.

    Raises:
        InvalidInputError: it is no text.
    """
    if not isinstance(value, str):
        raise invalid(field, f"expected text, got {value!r}")
    return value


def image_dtype(value: DTypeLike) -> tuple[np.dtype[Any], pb.DataType]:
    """An element type for the images returned, and its name in the contract.

    Raises:
        InvalidInputError: another element type.
    """
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    if dtype not in _IMAGE_DTYPES:
        raise invalid("image_dtype", f"expected float32, float16 or uint8, got {value}")
    return dtype, _IMAGE_DTYPES[dtype]


def row_bytes(array: ImageRows) -> int:
    """The bytes of one item of a batch in a message."""
    return math.prod(array.shape[1:]) * array.itemsize
