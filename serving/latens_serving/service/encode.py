"""Encode: data to the parameters of their posteriors, and a draw of them if asked for."""

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
from latens_serving.service.arguments import drawn, refuse_codes, seed_of
from latens_serving.service.labels import labels_of
from latens_serving.service.offload import COPIES


# Not frozen, as a call makes one: each field of a frozen one is set by a call.
@dataclass(slots=True)
class EncodedRows:
    """The arrays of an answer, `[n, *latent_shape]` each."""

    version: str
    mean: NDArray[Any]
    """The codes of a model with a codebook; then `are_codes` is true."""
    log_var: NDArray[np.float32] | None
    latents: NDArray[np.float32] | None = None
    """Drawn, if the request asked for it; then `seed` is the draw's."""
    seed: int = 0
    are_codes: bool = False

    def message(self) -> pb.EncodeResponse:
        if self.are_codes:
            return pb.EncodeResponse(codes=to_message(self.mean), version=self.version)
        response = pb.EncodeResponse(mean=to_message(self.mean), version=self.version)
        if self.log_var is not None:
            response.log_var.CopyFrom(to_message(self.log_var))
        if self.latents is not None:
            response.latents.CopyFrom(to_message(self.latents))
            response.seed = self.seed
        return response


async def encode(
    request: pb.EncodeRequest, tensors: validation.Tensors, model: LoadedModel, call: CallContext
) -> EncodedRows:
    """Encodes the data in `tensors`; those in `request` are not read."""
    field = model.spec.data_field
    data = validation.tensor_of(tensors, field, model)
    if isinstance(data, np.ndarray) and data.size <= COPIES:
        checked = validation.data_of(data, field, model)
    else:
        checked = await validation.checked(validation.data_of, data, field, model)
    draws = request.HasField("draw")
    if draws:
        refuse_codes(model, "draw")
    call.rows = checked.shape[0]
    labels = labels_of(request.labels, call.rows, model)
    rows = await model.encode(checked, call.deadline, labels)
    if not draws:
        return EncodedRows(model.version, rows.mean, rows.log_var, are_codes=model.spec.has_codes)
    seed = seed_of(request.draw)
    latents = await drawn(rows, seed, request.draw.first_row)
    return EncodedRows(model.version, rows.mean, rows.log_var, latents, seed)
