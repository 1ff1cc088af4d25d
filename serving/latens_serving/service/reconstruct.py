"""Reconstruct: data to data, and what was lost on the way."""

from __future__ import annotations

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle import likelihood
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.models.pixels import as_pixels
from latens_serving.service import scalars, validation
from latens_serving.service.arguments import (
    attribute_shift,
    drawn,
    refuse_codes,
    seed_of,
    tensors_in,
)
from latens_serving.service.labels import labels_of
from latens_serving.service.offload import COPIES, DRAWS, offload


async def reconstruct(
    request: pb.ReconstructRequest, model: LoadedModel, call: CallContext
) -> pb.ReconstructResponse:
    """Encodes, perhaps draws, perhaps shifts, decodes, and compares with the data given."""
    dtype = scalars.image_dtype_of(request.image_dtype, model)
    field = model.spec.data_field
    given = validation.tensor_of(tensors_in(request, "images", "items"), field, model)
    data = await validation.checked(validation.floats_of, given, field, model)
    shift = attribute_shift(request.attributes, model)
    if request.HasField("draw"):
        refuse_codes(model, "draw")
    call.rows = len(data)
    labels = labels_of(request.labels, len(data), model)
    posterior = await model.encode(data, call.deadline, labels)
    response = pb.ReconstructResponse(version=model.version)
    latents = posterior.mean
    if request.HasField("draw"):
        response.seed = seed_of(request.draw)
        latents = await drawn(posterior, response.seed, request.draw.first_row)
    if shift is not None:
        latents = latents + shift
    decoded = await model.decode(latents, call.deadline, labels)
    error = await offload(
        decoded.size > DRAWS,
        likelihood.reconstruction_error,
        data,
        decoded,
        model.spec,
    )
    converted = await offload(decoded.size > COPIES, as_pixels, decoded, dtype)
    getattr(response, field).CopyFrom(to_message(converted))
    getattr(response, model.spec.latent_field).CopyFrom(to_message(latents))
    response.reconstruction.CopyFrom(to_message(error))
    if posterior.log_var is not None and model.spec.gives_kl:
        kl = await offload(
            latents.size > DRAWS, likelihood.kl_to_prior, posterior.mean, posterior.log_var
        )
        response.kl.CopyFrom(to_message(kl))
    return response
