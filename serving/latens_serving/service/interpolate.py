"""Interpolate: paths between pairs of end points, decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latens import paths
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import Labels, LoadedModel
from latens_serving.service import scalars
from latens_serving.service.arguments import (
    check_latents,
    decoded,
    end_rows,
    latent_shape_of,
    refuse_codes,
)
from latens_serving.service.labels import labels_of
from latens_serving.service.offload import DRAWS, offload


async def interpolate(
    request: pb.InterpolateRequest, model: LoadedModel, call: CallContext
) -> pb.InterpolateResponse:
    """Walks from each start to its end in equal steps."""
    refuse_codes(model, "Interpolate")
    dtype = scalars.image_dtype_of(request.image_dtype, model)
    steps = scalars.steps_of(request)
    spherical = scalars.mode_of(request.mode) == pb.INTERPOLATION_MODE_SPHERICAL
    starts, ends, labels = await _end_points(request, steps, model, call)
    walk = paths.spherical_path if spherical else paths.linear_path
    path = await offload(starts.size * steps > DRAWS, walk, starts, ends, steps)
    points = path.reshape(-1, *starts.shape[1:])
    call.rows = len(points)
    of_points = None if labels is None else np.repeat(labels, steps)
    data = await decoded(model, points, dtype, call, of_points)
    shaped = data.reshape(len(path), steps, *data.shape[1:])
    response = pb.InterpolateResponse(latents=to_message(path), version=model.version)
    getattr(response, model.spec.data_field).CopyFrom(to_message(shaped))
    return response


async def _end_points(
    request: pb.InterpolateRequest, steps: int, model: LoadedModel, call: CallContext
) -> tuple[NDArray[np.float32], NDArray[np.float32], Labels | None]:
    """The latents at both ends and the class of each path; all is checked before any encoding."""
    given = [end_rows(getattr(request, side), side, model) for side in ("starts", "ends")]
    (starts, _), (ends, _) = given
    if len(starts) != len(ends):
        expected = f"expected as many rows as starts has, {len(starts)}"
        raise InvalidInputError.at("ends", f"{expected}, got {len(ends)}")
    shapes = [latent_shape_of(rows, are_data, model) for rows, are_data in given]
    if shapes[0] != shapes[1]:
        raise InvalidInputError.at(
            "ends", f"expected latents of shape {list(shapes[0])} as starts, got {list(shapes[1])}"
        )
    check_latents(len(starts) * steps, "steps", model, shapes[0])
    labels = labels_of(request.labels, len(starts), model)
    latents = [
        (await model.encode(rows, call.deadline, labels)).mean if are_data else rows
        for rows, are_data in given
    ]
    return latents[0], latents[1], labels
