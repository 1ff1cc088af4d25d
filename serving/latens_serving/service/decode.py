"""Decode: latents to images, shifted along attributes first if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.service import validation
from latens_serving.service.arguments import attribute_shift, decoded


# Not frozen, as a call makes one: each field of a frozen one is set by a call.
@dataclass(slots=True)
class DecodedRows:
    """The arrays of an answer: images `[n, *image_shape]` of the element type asked for."""

    version: str
    images: NDArray[Any]
    latents: NDArray[np.float32] | None = None
    """What was decoded `[n, *latent_shape]`, if attributes were added."""

    def message(self) -> pb.DecodeResponse:
        response = pb.DecodeResponse(images=to_message(self.images), version=self.version)
        if self.latents is not None:
            response.latents.CopyFrom(to_message(self.latents))
        return response


async def decode(
    request: pb.DecodeRequest, latents: validation.Given, model: LoadedModel, call: CallContext
) -> DecodedRows:
    """Decodes `latents`; `request.latents` is not read."""
    dtype = validation.image_dtype_of(request.image_dtype)
    checked = await validation.checked(validation.latents_of, latents, "latents", model)
    shift = attribute_shift(request.attributes, model)
    call.rows = len(checked)
    points = checked if shift is None else checked + shift
    images = await decoded(model, points, dtype, call)
    return DecodedRows(model.version, images, None if shift is None else points)
