"""Sample: draws of the prior, decoded."""

from __future__ import annotations

import math

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import Shape, SpecError
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import Labels, LoadedModel
from latens_serving.service import scalars
from latens_serving.service.arguments import (
    check_latents,
    decoded,
    refuse_codes,
    refuse_without_prior,
    seed_of,
)
from latens_serving.service.labels import labels_in_turn, labels_of
from latens_serving.service.noise import draw_prior
from latens_serving.service.offload import DRAWS, offload


async def sample(
    request: pb.SampleRequest, model: LoadedModel, call: CallContext
) -> pb.SampleResponse:
    """Draws the rows `first_row` and up of the seed's sequence, and decodes them."""
    refuse_codes(model, "Sample")
    refuse_without_prior(model)
    dtype = scalars.image_dtype_of(request.image_dtype, model)
    temperature = scalars.temperature_of(request)
    count = scalars.count_of(request.count)
    shape = _latent_shape_of(request, model)
    check_latents(count, "count", model, shape)
    call.rows = count
    labels = _labels_of(request, count, model)
    seed = seed_of(request)
    latents = await offload(
        call.rows * math.prod(shape) > DRAWS,
        draw_prior,
        shape,
        seed=seed,
        first_row=request.first_row,
        rows=call.rows,
        temperature=temperature,
        fitted=model.fitted_prior,
    )
    data = await decoded(model, latents, dtype, call, labels)
    response = pb.SampleResponse(latents=to_message(latents), seed=seed, version=model.version)
    if labels is not None:
        response.labels.extend(labels.tolist())
    getattr(response, model.spec.data_field).CopyFrom(to_message(data))
    return response


def _labels_of(request: pb.SampleRequest, count: int, model: LoadedModel) -> Labels | None:
    """The class of each row: the request's; without any, the classes in turn."""
    if model.spec.label_count is None or request.labels:
        return labels_of(request.labels, count, model)
    return labels_in_turn(request.first_row, count, model.spec.label_count)


def _latent_shape_of(request: pb.SampleRequest, model: LoadedModel) -> Shape:
    """The shape of the latents to draw: the request's, where the model leaves a choice."""
    spec, shape = model.spec, tuple(request.latent_shape)
    if not shape and not spec.is_free:
        return spec.usual_latent_shape
    try:
        spec.check_latent_shape(shape)
    except SpecError as error:
        usual = list(spec.usual_latent_shape)
        raise InvalidInputError.at("latent_shape", f"{error}; usual is {usual}") from error
    return shape
