"""Traverse: lines through base points, each along one coordinate or attribute."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.paths import along_coordinate, along_direction, values_between
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import Shape
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import LoadedModel
from latens_serving.service import scalars
from latens_serving.service.arguments import (
    check_latents,
    decoded,
    direction_of,
    end_rows,
    latent_shape_of,
    refuse_codes,
)
from latens_serving.service.labels import labels_of
from latens_serving.service.offload import COPIES, offload

Floats = NDArray[np.float32]
_Line = Callable[[Floats, Floats], Floats]
"""From points `[n, *latent_shape]` and values to `[n, steps, *latent_shape]`."""

_START, _STOP = -3.0, 3.0


async def traverse(
    request: pb.TraverseRequest, model: LoadedModel, call: CallContext
) -> pb.TraverseResponse:
    """Decodes the lines; all is checked before anything is encoded."""
    refuse_codes(model, "Traverse")
    dtype = scalars.image_dtype_of(request.image_dtype, model)
    steps = scalars.steps_of(request)
    bases, are_data = _bases_of(request, model)
    shape = latent_shape_of(bases, are_data, model)
    axes = _axes_of(request, model, shape)
    check_latents(len(bases) * len(axes) * steps, "steps", model, shape)
    values = _values_of(request, steps)
    lines_along = [_line_of(axis, place, model, shape) for place, axis in enumerate(axes)]
    labels = labels_of(request.labels, len(bases), model)
    if are_data:
        bases = (await model.encode(bases, call.deadline, labels)).mean
    size = len(bases) * len(axes) * steps * math.prod(shape)
    lines = await offload(size > COPIES, _lines_through, bases, values, lines_along)
    points = lines.reshape(-1, *shape)
    call.rows = len(points)
    of_points = None if labels is None else np.repeat(labels, len(axes) * steps)
    data = await decoded(model, points, dtype, call, of_points)
    shaped = data.reshape(*lines.shape[:3], *data.shape[1:])
    response = pb.TraverseResponse(latents=to_message(lines), axes=axes, version=model.version)
    getattr(response, model.spec.data_field).CopyFrom(to_message(shaped))
    return response


def _lines_through(bases: Floats, values: Floats, lines: Sequence[_Line]) -> Floats:
    return np.stack([line(bases, values) for line in lines], axis=1)


def _axes_of(
    request: pb.TraverseRequest, model: LoadedModel, shape: Shape
) -> list[pb.TraversalAxis]:
    size = math.prod(shape)
    check_latents(len(request.axes) or size, "axes", model, shape)
    return list(request.axes) or [pb.TraversalAxis(coordinate=unit) for unit in range(size)]


def _bases_of(request: pb.TraverseRequest, model: LoadedModel) -> tuple[NDArray[Any], bool]:
    if not request.HasField("bases"):
        if model.spec.is_free:
            raise InvalidInputError.at(
                "bases", "expected latents or images: the model has no one size, got none"
            )
        return np.zeros((1, *model.spec.usual_latent_shape), np.float32), False
    return end_rows(request.bases, "bases", model)


def _values_of(request: pb.TraverseRequest, steps: int) -> Floats:
    start = request.start if request.HasField("start") else _START
    stop = request.stop if request.HasField("stop") else _STOP
    for name, value in (("start", start), ("stop", stop)):
        if not math.isfinite(value):
            raise InvalidInputError.at(name, f"expected a finite value, got {value}")
    return values_between(start, stop, steps)


def _line_of(axis: pb.TraversalAxis, place: int, model: LoadedModel, shape: Shape) -> _Line:
    """What an axis makes of base points: a coordinate is set, a direction is added."""
    match axis.WhichOneof("direction"):
        case "coordinate":
            unit = _unit_of(axis.coordinate, place, math.prod(shape))
            return partial(along_coordinate, unit)
        case "attribute":
            field = f"axes[{place}].attribute"
            return partial(along_direction, direction_of(axis.attribute, field, model))
        case _:
            raise InvalidInputError.at(
                f"axes[{place}]", "expected a coordinate or an attribute, got neither"
            )


def _unit_of(coordinate: int, place: int, size: int) -> int:
    if not 0 <= coordinate < size:
        raise InvalidInputError.at(
            f"axes[{place}].coordinate", f"expected 0 to {size - 1}, got {coordinate}"
        )
    return coordinate
