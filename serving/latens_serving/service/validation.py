"""From messages to arrays that the engine may be given; every fault named with its field."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens.tensors import TensorError, TensorFields, code_of, to_array
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import Axis, SpecError, described
from latens_serving.errors import InvalidInputError, TooLargeError
from latens_serving.models.model import LoadedModel, smallest_row_bytes
from latens_serving.models.pixels import as_floats
from latens_serving.service.offload import COPIES, offload

# A tensor as the contract has it, or an array that a front end read from one.
Given: TypeAlias = TensorFields | NDArray[Any]

# The tensors of a request by field: those that are present.
Tensors: TypeAlias = Mapping[str, Given]

Check: TypeAlias = Callable[[Given, str, LoadedModel], NDArray[Any]]

_ONE = np.float32(1).view(np.uint32)
_BYTE = np.dtype(np.uint8)


def tensor_of(tensors: Tensors, wanted: str, model: LoadedModel) -> Given:
    """The tensor of the field that the model takes.

    Args:
        tensors: of the request.
        wanted: the field, which depends on the modality, or on whether there is a codebook.
        model: for the error.

    Raises:
        InvalidInputError: another field is given, or none.
    """
    if len(tensors) == 1 and wanted in tensors:  # nearly all calls
        return tensors[wanted]
    for field in tensors:
        if field != wanted:
            expected = f"expected {wanted} for model {model.name}"
            raise InvalidInputError.at(field, f"{expected}, got {field}")
    raise InvalidInputError.at(wanted, f"expected {wanted}, none given")


async def checked(check: Check, given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """The array that a check gives; large ones are checked away from the event loop."""
    return await offload(math.prod(given.shape) > COPIES, check, given, field, model)


def floats_of(given: Given, field: str, model: LoadedModel) -> NDArray[np.float32]:
    """Data as float32 `[n, *data_shape]`; raises as `data_of` does."""
    return as_floats(data_of(given, field, model))


def data_of(given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """Data `[n, *data_shape]` as a model encodes them.

    Images are float32 in [0, 1], or UINT8 as given; items are float32 in the model's range.

    Raises:
        InvalidInputError: of another shape or type, no rows, or values that are not in the range.
        TooLargeError: more rows than a call may carry.
    """
    shaped = shaped_data_of(given, field, model)
    return (
        check_pixels(shaped, field) if model.spec.is_image else _check_items(shaped, field, model)
    )


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


def _check_items(array: NDArray[Any], field: str, model: LoadedModel) -> NDArray[np.float32]:
    if array.dtype == _BYTE:
        expected = "expected FLOAT32 or FLOAT16 for items"
        raise InvalidInputError.at(f"{field}.dtype", f"{expected}, got UINT8")
    if got := _non_finite(array):
        raise InvalidInputError.at(f"{field}.data", f"expected finite values, got {got}")
    if model.spec.data_range is not None:
        low, high = model.spec.data_range
        least, most = float(array.min()), float(array.max())
        if least < low or most > high:
            expected = f"expected values in [{low:g}, {high:g}]"
            raise InvalidInputError.at(f"{field}.data", f"{expected}, got {least:g} to {most:g}")
    return array


def shaped_data_of(given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """Data of the model's shape, whatever their values; raises as `data_of` does."""
    spec = model.spec
    array = _rows_of(given, field, spec.data_field)
    _refuse_codes(array, field, spec.data_field)
    row = array.shape[1:]
    if row != spec.usual_data_shape:  # most calls have it, and cost no more
        with _refused(f"{field}.shape", spec.data_field, spec.data_axes, array.shape):
            spec.check_data_shape(row)
    return _limited(array, field, row, model)


def latents_of(given: Given, field: str, model: LoadedModel) -> NDArray[Any]:
    """Latents float32 `[n, *latent_shape]`, finite, or the model's codes, int64.

    Raises as `data_of` does.
    """
    spec, data_shape = model.spec, model.spec.usual_data_shape
    array = _rows_of(given, field, spec.latent_field)
    if array.shape[1:] != spec.usual_latent_shape:
        with _refused(f"{field}.shape", spec.latent_field, spec.latent_sizes, array.shape):
            data_shape = spec.data_shape_of(array.shape[1:])
    array = _limited(array, field, data_shape, model)
    if spec.codebook_size is not None:
        return _check_codes(array, field, spec.codebook_size)
    _refuse_codes(array, field, "latents")
    if array.dtype == np.uint8:
        expected = "expected FLOAT32 or FLOAT16 for latents"
        raise InvalidInputError.at(f"{field}.dtype", f"{expected}, got UINT8")
    array = array.astype(np.float32, copy=False)
    if got := _non_finite(array):
        raise InvalidInputError.at(f"{field}.data", f"expected finite values, got {got}")
    return array


def _check_codes(array: NDArray[Any], field: str, size: int) -> NDArray[np.int64]:
    if array.dtype != np.int64:
        name = pb.DataType.Name(code_of(array.dtype)).removeprefix("DATA_TYPE_")
        raise InvalidInputError.at(f"{field}.dtype", f"expected INT64 for codes, got {name}")
    least, most = int(array.min()), int(array.max())
    if least < 0 or most >= size:
        expected = f"expected codes from 0 to {size - 1}"
        raise InvalidInputError.at(f"{field}.data", f"{expected}, got {least} to {most}")
    return array


def _refuse_codes(array: NDArray[Any], field: str, what: str) -> None:
    if array.dtype == np.int64:
        types = "FLOAT32, FLOAT16 or UINT8" if what == "images" else "FLOAT32 or FLOAT16"
        raise InvalidInputError.at(f"{field}.dtype", f"expected {types} for {what}, got INT64")


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
