"""Sample: draws of the prior, decoded."""

from __future__ import annotations

import math

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.service import validation
from latens_serving.service.arguments import check_latents, decoded, seed_of
from latens_serving.service.noise import draw_prior
from latens_serving.service.offload import DRAWS, offload


async def sample(
    request: pb.SampleRequest, model: LoadedModel, call: CallContext
) -> pb.SampleResponse:
    """Draws the rows `first_row` and up of the seed's sequence, and decodes them."""
    dtype = validation.image_dtype_of(request.image_dtype)
    temperature = validation.temperature_of(request)
    count = validation.count_of(request.count)
    shape = model.spec.usual_latent_shape
    check_latents(count, "count", model, shape)
    call.rows = count
    seed = seed_of(request)
    latents = await offload(
        call.rows * math.prod(shape) > DRAWS,
        draw_prior,
        shape,
        seed=seed,
        first_row=request.first_row,
        rows=call.rows,
        temperature=temperature,
    )
    images = await decoded(model, latents, dtype, call)
    return pb.SampleResponse(
        images=to_message(images), latents=to_message(latents), seed=seed, version=model.version
    )
