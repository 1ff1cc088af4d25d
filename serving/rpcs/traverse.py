"""Traverse: lines through base points, each along one coordinate or attribute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from numpy.typing import NDArray

from serving import validation
from serving.calls import CallContext
from serving.errors import InvalidInputError
from serving.model import LoadedModel
from serving.rpcs.arguments import decoded, direction_of, end_rows

Floats = NDArray[np.float32]

_START, _STOP = -3.0, 3.0


async def traverse(
    request: pb.TraverseRequest, model: LoadedModel, call: CallContext
) -> pb.TraverseResponse:
    """Decodes the lines; all is checked before anything is encoded."""
    dtype = validation.image_dtype_of(request.image_dtype)
    steps = validation.steps_of(request)
    axes = _axes_of(request, model)
    bases, are_images = _bases_of(request, model)
    validation.check_rows(len(bases) * len(axes) * steps, "steps", model)
    values = _values_of(request, steps)
    moves = [_Move(axis, place, model) for place, axis in enumerate(axes)]
    if are_images:
        bases = (await model.encode(bases, call.deadline)).mean
    lines = np.stack([move.along(bases, values) for move in moves], axis=1)
    points = lines.reshape(-1, *model.contract.latent_shape)
    call.rows = len(points)
    images = await decoded(model, points, dtype, call)
    shaped = images.reshape(*lines.shape[:3], *images.shape[1:])
    return pb.TraverseResponse(
        images=to_message(shaped),
        latents=to_message(lines),
        axes=axes,
        version=model.version,
    )


def _axes_of(request: pb.TraverseRequest, model: LoadedModel) -> list[pb.TraversalAxis]:
    size = math.prod(model.contract.latent_shape)
    validation.check_rows(max(len(request.axes), 1), "axes", model)
    return list(request.axes) or [pb.TraversalAxis(coordinate=unit) for unit in range(size)]


def _bases_of(request: pb.TraverseRequest, model: LoadedModel) -> tuple[NDArray[Any], bool]:
    if not request.HasField("bases"):
        return np.zeros((1, *model.contract.latent_shape), np.float32), False
    return end_rows(request.bases, "bases", model)


def _values_of(request: pb.TraverseRequest, steps: int) -> Floats:
    start = request.start if request.HasField("start") else _START
    stop = request.stop if request.HasField("stop") else _STOP
    for name, value in (("start", start), ("stop", stop)):
        if not math.isfinite(value):
            raise InvalidInputError.at(name, f"expected a finite value, got {value}")
    return np.linspace(start, stop, steps, dtype=np.float32)


class _Move:
    """One axis: a coordinate to set, or a direction to add."""

    def __init__(self, axis: pb.TraversalAxis, place: int, model: LoadedModel) -> None:
        self._shape = model.contract.latent_shape
        self._unit: int | None = None
        self._direction: NDArray[np.float64] | None = None
        match axis.WhichOneof("direction"):
            case "coordinate":
                self._unit = _unit_of(axis.coordinate, place, math.prod(self._shape))
            case "attribute":
                field = f"axes[{place}].attribute"
                self._direction = direction_of(axis.attribute, field, model)
            case _:
                raise InvalidInputError.at(
                    f"axes[{place}]", "expected a coordinate or an attribute, got neither"
                )

    def along(self, bases: Floats, values: Floats) -> Floats:
        """Latents `[n, steps, *latent_shape]`."""
        lines = np.repeat(bases[:, None], len(values), axis=1)
        if self._unit is not None:
            lines.reshape(len(bases), len(values), -1)[:, :, self._unit] = values
        if self._direction is not None:
            steps = values.reshape(-1, *[1] * len(self._shape))
            lines += (steps * self._direction).astype(np.float32)
        return lines


def _unit_of(coordinate: int, place: int, size: int) -> int:
    if not 0 <= coordinate < size:
        raise InvalidInputError.at(
            f"axes[{place}].coordinate", f"expected 0 to {size - 1}, got {coordinate}"
        )
    return coordinate
