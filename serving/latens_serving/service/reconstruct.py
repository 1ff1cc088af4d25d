"""Reconstruct: images to images, and what was lost on the way."""

from __future__ import annotations

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle import likelihood
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.models.pixels import as_pixels
from latens_serving.service import validation
from latens_serving.service.arguments import attribute_shift, drawn, seed_of
from latens_serving.service.offload import COPIES, DRAWS, offload


async def reconstruct(
    request: pb.ReconstructRequest, model: LoadedModel, call: CallContext
) -> pb.ReconstructResponse:
    """Encodes, perhaps draws, perhaps shifts, decodes, and compares with the images given."""
    dtype = validation.image_dtype_of(request.image_dtype)
    images = await validation.checked(validation.images_of, request.images, "images", model)
    shift = attribute_shift(request.attributes, model)
    call.rows = len(images)
    posterior = await model.encode(images, call.deadline)
    response = pb.ReconstructResponse(version=model.version)
    latents = posterior.mean
    if request.HasField("draw"):
        response.seed = seed_of(request.draw)
        latents = await drawn(posterior, response.seed, request.draw.first_row)
    if shift is not None:
        latents = latents + shift
    decoded = await model.decode(latents, call.deadline)
    error = await offload(
        decoded.size > DRAWS,
        likelihood.reconstruction_error,
        images,
        decoded,
        model.spec,
    )
    pixels = await offload(decoded.size > COPIES, as_pixels, decoded, dtype)
    response.images.CopyFrom(to_message(pixels))
    response.latents.CopyFrom(to_message(latents))
    response.reconstruction.CopyFrom(to_message(error))
    if posterior.log_var is not None and model.spec.gives_kl:
        kl = await offload(
            latents.size > DRAWS, likelihood.kl_to_prior, posterior.mean, posterior.log_var
        )
        response.kl.CopyFrom(to_message(kl))
    return response
