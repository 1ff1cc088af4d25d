"""Encode: images to the parameters of their posteriors, and a draw of them if asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.service import validation
from latens_serving.service.arguments import drawn, seed_of
from latens_serving.service.offload import COPIES


# Not frozen, as a call makes one: each field of a frozen one is set by a call.
@dataclass(slots=True)
class EncodedRows:
    """The arrays of an answer, `[n, *latent_shape]` each."""

    version: str
    mean: NDArray[np.float32]
    log_var: NDArray[np.float32] | None
    latents: NDArray[np.float32] | None = None
    """Drawn, if the request asked for it; then `seed` is the draw's."""
    seed: int = 0

    def message(self) -> pb.EncodeResponse:
        response = pb.EncodeResponse(mean=to_message(self.mean), version=self.version)
        if self.log_var is not None:
            response.log_var.CopyFrom(to_message(self.log_var))
        if self.latents is not None:
            response.latents.CopyFrom(to_message(self.latents))
            response.seed = self.seed
        return response


async def encode(
    request: pb.EncodeRequest, images: validation.Given, model: LoadedModel, call: CallContext
) -> EncodedRows:
    """Encodes `images`; `request.images` is not read."""
    if isinstance(images, np.ndarray) and images.size <= COPIES:
        checked = validation.pixels_of(images, "images", model)
    else:
        checked = await validation.checked(validation.pixels_of, images, "images", model)
    call.rows = checked.shape[0]
    rows = await model.encode(checked, call.deadline)
    if not request.HasField("draw"):
        return EncodedRows(model.version, rows.mean, rows.log_var)
    seed = seed_of(request.draw)
    latents = await drawn(rows, seed, request.draw.first_row)
    return EncodedRows(model.version, rows.mean, rows.log_var, latents, seed)
