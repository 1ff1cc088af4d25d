"""From messages to arrays that the engine may be given; every fault named with its field."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens.tensors import TensorError, TensorFields, to_array
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import Axis, SpecError, described
from latens_serving.errors import InvalidInputError, TooLargeError
from latens_serving.models.model import LoadedModel, smallest_row_bytes
from latens_serving.models.pixels import as_floats
from latens_serving.service.offload import COPIES, offload

MAX_TEMPERATURE = 100.0

# A tensor as the contract has it, or an array that a front end read from one.
Given: TypeAlias = TensorFields | NDArray[Any]

Check: TypeAlias = Callable[[Given, str, LoadedModel], NDArray[Any]]

_ONE = np.float32(1).view(np.uint32)
_BYTE = np.dtype(np.uint8)


async def checked(check: Check, given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """The array that a check gives; large ones are checked away from the event loop."""
    return await offload(math.prod(given.shape) > COPIES, check, given, field, model)


def images_of(given: Given, field: str, model: LoadedModel) -> NDArray[np.float32]:
    """Images float32 `[n, *image_shape]` in [0, 1]; raises as `pixels_of` does."""
    return as_floats(pixels_of(given, field, model))


def pixels_of(given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """Images `[n, *image_shape]` as a model encodes them: float32 in [0, 1], or UINT8 as given.

    Raises:
        InvalidInputError: of another shape or type, no rows, or values that are no pixels.
        TooLargeError: more rows than a call may carry.
    """
    return check_pixels(shaped_images_of(given, field, model), field)


def check_pixels(array: NDArray[Any], field: str) -> NDArray[Any]:
    """The array itself, UINT8 or float32, if its values are pixels.

    Raises:
        InvalidInputError: a value is not in [0, 1].
    """
    if array.dtype == _BYTE:
        return array
    # One look at the bits does for nearly all: those of 0 to 1 are in the numbers' own order, and
    # NaN, infinity and whatever has a sign come after them.
    if np.maximum.reduce(array.view(np.uint32), axis=None) <= _ONE:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also when either is NaN
        got = _non_finite(array) or f"{low:g} to {high:g}"
        raise InvalidInputError.at(f"{field}.data", f"expected values in [0, 1], got {got}")
    return array


def shaped_images_of(given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """Images of the model's shape, whatever their values; raises as `pixels_of` does."""
    array = _rows_of(given, field, "images")
    spec, row = model.spec, array.shape[1:]
    if row != spec.usual_data_shape:  # most calls have it, and cost no more
        with _refused(f"{field}.shape", "images", spec.data_axes, array.shape):
            spec.check_data_shape(row)
    return _limited(array, field, row, model)


def latents_of(given: Given, field: str, model: LoadedModel) -> NDArray[np.float32]:
    """Latents float32 `[n, *latent_shape]`, finite; raises as `images_of` does."""
    array = _rows_of(given, field, "latents")
    spec, data_shape = model.spec, model.spec.usual_data_shape
    if array.shape[1:] != spec.usual_latent_shape:
        with _refused(f"{field}.shape", "latents", spec.latent_sizes, array.shape):
            data_shape = spec.data_shape_of(array.shape[1:])
    array = _limited(array, field, data_shape, model)
    if array.dtype == np.uint8:
        expected = "expected FLOAT32 or FLOAT16 for latents"
        raise InvalidInputError.at(f"{field}.dtype", f"{expected}, got UINT8")
    array = array.astype(np.float32, copy=False)
    if got := _non_finite(array):
        raise InvalidInputError.at(f"{field}.data", f"expected finite values, got {got}")
    return array


def image_dtype_of(code: int) -> int:
    """The element type in which the caller wants images; FLOAT32 unless said."""
    if code == pb.DATA_TYPE_UNSPECIFIED:
        return pb.DATA_TYPE_FLOAT32
    if code not in pb.DataType.values():
        raise InvalidInputError.at("image_dtype", f"expected FLOAT32, FLOAT16 or UINT8, got {code}")
    return code


def count_of(count: int) -> int:
    """How many rows to sample; `check_rows` says whether a call may carry them."""
    if count < 1:
        raise InvalidInputError.at("count", f"expected at least 1, got {count}")
    return count


def temperature_of(request: pb.SampleRequest) -> float:
    """The standard deviation of the latents to draw; 1 unless said."""
    temperature = request.temperature if request.HasField("temperature") else 1.0
    if not 0 <= temperature <= MAX_TEMPERATURE:
        expected = f"expected a value in [0, {MAX_TEMPERATURE:g}]"
        raise InvalidInputError.at("temperature", f"{expected}, got {temperature:g}")
    return temperature


def steps_of(request: pb.InterpolateRequest | pb.TraverseRequest) -> int:
    """The points of a path, both ends included."""
    if request.steps < 2:
        raise InvalidInputError.at("steps", f"expected at least 2, got {request.steps}")
    return request.steps


def mode_of(code: int) -> int:
    """The shape of a path; LINEAR unless said."""
    if code not in pb.InterpolationMode.values():
        raise InvalidInputError.at("mode", f"expected LINEAR or SPHERICAL, got {code}")
    return code or pb.INTERPOLATION_MODE_LINEAR


def check_rows(rows: int, field: str, model: LoadedModel, data_shape: Sequence[int]) -> None:
    """Refuses more rows of that shape than one call may carry.

    Raises:
        TooLargeError: names the limit.
    """
    size, most = smallest_row_bytes(model.spec, data_shape), model.limits.max_message_bytes
    if size > most:
        raise TooLargeError.at(
            field,
            f"one row of {list(data_shape)} with its latents takes {size} bytes, "
            f"a message holds {most} (--max-message-bytes)",
        )
    limit = model.limits.rows_of(model.spec.row_bytes(data_shape))
    if rows > limit:
        raise TooLargeError.at(
            field, f"a call to {model.name} may carry {limit} rows, got {rows}; split it"
        )


def _rows_of(given: Given, field: str, what: str) -> NDArray[Any]:
    array = given if isinstance(given, np.ndarray) else _read(given, field, what)
    if array.ndim and array.shape[0] == 0:
        raise InvalidInputError.at(f"{field}.shape", "expected at least 1 row, got 0")
    return array


@contextlib.contextmanager
def _refused(field: str, what: str, axes: Sequence[Axis], shape: tuple[int, ...]) -> Iterator[None]:
    """Turns the refusal of a shape into one of the field: the whole shape, or the axis."""
    try:
        yield
    except SpecError as error:
        is_fixed = not any(axis.is_free for axis in axes)
        if is_fixed or len(shape) != 1 + len(axes):
            expected = f"expected {what} of shape [n, {described(axes)}]"
            raise InvalidInputError.at(field, f"{expected}, got {list(shape)}") from error
        raise InvalidInputError.at(field, str(error)) from error


def _limited(
    array: NDArray[Any], field: str, data_shape: Sequence[int], model: LoadedModel
) -> NDArray[Any]:
    # Most calls carry a few rows of the usual shape, and need no arithmetic.
    if array.shape[0] > model.limits.usual_rows or data_shape != model.spec.usual_data_shape:
        check_rows(array.shape[0], f"{field}.shape", model, data_shape)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _read(message: TensorFields, field: str, what: str) -> NDArray[Any]:
    if not (message.shape or message.data or message.dtype):
        raise InvalidInputError.at(field, f"expected {what}, none given")
    try:
        return to_array(message)
    except TensorError as error:
        raise InvalidInputError.at(f"{field}.{error.field}", str(error)) from error


def _non_finite(array: NDArray[Any]) -> str:
    """Where the first value that is not finite is; empty if all are."""
    if np.isfinite(array).all():
        return ""
    place = np.argwhere(~np.isfinite(array))[0]
    return f"{array[tuple(place)]} at {[int(index) for index in place]}"
