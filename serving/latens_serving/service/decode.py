"""Decode: latents to data, shifted along attributes first if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.service import scalars, validation
from latens_serving.service.arguments import attribute_shift, decoded
from latens_serving.service.labels import labels_of


# Not frozen, as a call makes one: each field of a frozen one is set by a call.
@dataclass(slots=True)
class DecodedRows:
    """The arrays of an answer: data `[n, *data_shape]` of the element type asked for."""

    version: str
    data: NDArray[Any]
    latents: NDArray[np.float32] | None = None
    """What was decoded `[n, *latent_shape]`, if attributes were added."""
    data_field: str = "images"
    """What the data are called in the answer."""

    def message(self) -> pb.DecodeResponse:
        response = pb.DecodeResponse(version=self.version)
        getattr(response, self.data_field).CopyFrom(to_message(self.data))
        if self.latents is not None:
            response.latents.CopyFrom(to_message(self.latents))
        return response


async def decode(
    request: pb.DecodeRequest, tensors: validation.Tensors, model: LoadedModel, call: CallContext
) -> DecodedRows:
    """Decodes the latents or codes in `tensors`; those in `request` are not read."""
    spec = model.spec
    dtype = scalars.image_dtype_of(request.image_dtype, model)
    latents = validation.tensor_of(tensors, spec.latent_field, model)
    checked = await validation.checked(validation.latents_of, latents, spec.latent_field, model)
    shift = attribute_shift(request.attributes, model)
    call.rows = len(checked)
    labels = labels_of(request.labels, call.rows, model)
    points = checked if shift is None else checked + shift
    data = await decoded(model, points, dtype, call, labels)
    return DecodedRows(model.version, data, None if shift is None else points, spec.data_field)
