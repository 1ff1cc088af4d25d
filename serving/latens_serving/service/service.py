"""The service itself: messages in, messages out, and no transport.

Each method is the RPC of its name. Failures that callers are told about are raised as
`latens_serving.errors.LatensError`. Every front end uses the same object.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latens import paths
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.admission import Door
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository
from latens_serving.service import latent_math, validation
from latens_serving.service.arguments import attribute_shift, decoded, end_rows, seed_of
from latens_serving.service.inpaint import inpaint
from latens_serving.service.model_messages import description, page_of
from latens_serving.service.reconstruct import reconstruct
from latens_serving.service.score import score
from latens_serving.service.traverse import traverse


class _NamesModel(Protocol):
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """What Encode answers, as arrays `[n, *latent_shape]`."""

    version: str
    mean: NDArray[np.float32]
    log_var: NDArray[np.float32] | None
    latents: NDArray[np.float32] | None = None
    """Drawn, if the request asked for it; then `seed` is the draw's."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """What Decode answers: images `[n, *image_shape]` of the element type that was asked for."""

    version: str
    images: NDArray[Any]
    latents: NDArray[np.float32] | None = None
    """What was decoded `[n, *latent_shape]`, if attributes were added."""


class LatentService:
    """`latens.v1.LatentService` over the models of a repository."""

    def __init__(self, models: Repository, door: Door) -> None:
        self._models = models
        self._door = door

    async def encode(self, request: pb.EncodeRequest, call: CallContext) -> pb.EncodeResponse:
        rows = await self.encode_rows(request, request.images, call)
        response = pb.EncodeResponse(mean=to_message(rows.mean), version=rows.version)
        if rows.log_var is not None:
            response.log_var.CopyFrom(to_message(rows.log_var))
        if rows.latents is not None:
            response.latents.CopyFrom(to_message(rows.latents))
            response.seed = rows.seed
        return response

    async def encode_rows(
        self, request: pb.EncodeRequest, images: validation.Given, call: CallContext
    ) -> EncodedRows:
        """Encode without messages around its arrays; `request.images` is not looked at."""
        with self._model(request, call) as model:
            checked = validation.pixels_of(images, "images", model)
            call.rows = len(checked)
            rows = await model.encode(checked, call.deadline)
            if not request.HasField("draw"):
                return EncodedRows(model.version, rows.mean, rows.log_var)
            seed = seed_of(request.draw)
            drawn = latent_math.draw_posterior(
                rows.mean, rows.log_var, seed=seed, first_row=request.draw.first_row
            )
            return EncodedRows(model.version, rows.mean, rows.log_var, drawn, seed)

    async def decode(self, request: pb.DecodeRequest, call: CallContext) -> pb.DecodeResponse:
        rows = await self.decode_rows(request, request.latents, call)
        response = pb.DecodeResponse(images=to_message(rows.images), version=rows.version)
        if rows.latents is not None:
            response.latents.CopyFrom(to_message(rows.latents))
        return response

    async def decode_rows(
        self, request: pb.DecodeRequest, latents: validation.Given, call: CallContext
    ) -> DecodedRows:
        """Decode without messages around its arrays; `request.latents` is not looked at."""
        with self._model(request, call) as model:
            dtype = validation.image_dtype_of(request.image_dtype)
            checked = validation.latents_of(latents, "latents", model)
            shift = attribute_shift(request.attributes, model)
            call.rows = len(checked)
            points = checked if shift is None else checked + shift
            images = await decoded(model, points, dtype, call)
            shifted = None if shift is None else points
            return DecodedRows(model.version, images, shifted)

    async def sample(self, request: pb.SampleRequest, call: CallContext) -> pb.SampleResponse:
        with self._model(request, call) as model:
            dtype = validation.image_dtype_of(request.image_dtype)
            temperature = validation.temperature_of(request)
            call.rows = validation.count_of(request.count, model)
            response = pb.SampleResponse(seed=seed_of(request), version=model.version)
            latents = latent_math.draw_prior(
                model.contract.latent_shape,
                seed=response.seed,
                first_row=request.first_row,
                rows=call.rows,
                temperature=temperature,
            )
            images = await decoded(model, latents, dtype, call)
            response.latents.CopyFrom(to_message(latents))
            response.images.CopyFrom(to_message(images))
            return response

    async def interpolate(
        self, request: pb.InterpolateRequest, call: CallContext
    ) -> pb.InterpolateResponse:
        with self._model(request, call) as model:
            dtype = validation.image_dtype_of(request.image_dtype)
            steps = validation.steps_of(request)
            spherical = validation.mode_of(request.mode) == pb.INTERPOLATION_MODE_SPHERICAL
            starts, ends = await self._end_points(request, steps, model, call)
            walk = paths.spherical_path if spherical else paths.linear_path
            path = walk(starts, ends, steps)
            points = path.reshape(-1, *model.contract.latent_shape)
            call.rows = len(points)
            images = await decoded(model, points, dtype, call)
            return pb.InterpolateResponse(
                images=to_message(images.reshape(len(path), steps, *images.shape[1:])),
                latents=to_message(path),
                version=model.version,
            )

    async def reconstruct(
        self, request: pb.ReconstructRequest, call: CallContext
    ) -> pb.ReconstructResponse:
        with self._model(request, call) as model:
            return await reconstruct(request, model, call)

    async def traverse(self, request: pb.TraverseRequest, call: CallContext) -> pb.TraverseResponse:
        with self._model(request, call) as model:
            return await traverse(request, model, call)

    async def inpaint(self, request: pb.InpaintRequest, call: CallContext) -> pb.InpaintResponse:
        with self._model(request, call) as model:
            return await inpaint(request, model, call)

    async def score(self, request: pb.ScoreRequest, call: CallContext) -> pb.ScoreResponse:
        with self._model(request, call) as model:
            return await score(request, model, call)

    async def get_model(
        self, request: pb.GetModelRequest, call: CallContext
    ) -> pb.GetModelResponse:
        with self._model(request, call):
            entry = self._models.entry(request.model, request.version)
            return pb.GetModelResponse(model=description(entry))

    async def list_models(
        self, request: pb.ListModelsRequest, call: CallContext
    ) -> pb.ListModelsResponse:
        del call
        entries, next_token = page_of(self._models.entries(), request.page_size, request.page_token)
        return pb.ListModelsResponse(
            models=[description(entry) for entry in entries],
            next_page_token=next_token,
            default_model=self._models.default_name,
        )

    def _model(
        self, request: _NamesModel, call: CallContext
    ) -> AbstractContextManager[LoadedModel]:
        return self._door.enter(request.model, request.version, call)

    async def _end_points(
        self, request: pb.InterpolateRequest, steps: int, model: LoadedModel, call: CallContext
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The latents at both ends; all is checked before anything is encoded."""
        given = [end_rows(getattr(request, side), side, model) for side in ("starts", "ends")]
        (starts, _), (ends, _) = given
        if len(starts) != len(ends):
            expected = f"expected as many rows as starts has, {len(starts)}"
            raise InvalidInputError.at("ends", f"{expected}, got {len(ends)}")
        validation.check_rows(len(starts) * steps, "steps", model)
        latents = [
            (await model.encode(rows, call.deadline)).mean if are_images else rows
            for rows, are_images in given
        ]
        return latents[0], latents[1]
